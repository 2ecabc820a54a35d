#include "faults.h"

namespace
{

constexpr int size = 96;
constexpr unsigned all_lanes = 0xffffffffu;

/* out[t] = in of the next thread of the block */
template <bool B> __global__ void rotate_kernel(int *out)
{
    __shared__ int values[size];
    const int t = threadIdx.x;
    values[t] = t + 1;
    if (B) __syncthreads();
    out[t] = values[(t + 1) % size];
}

/* The same with a barrier too few: the last one orders nothing that matters. */
__global__ void rotate_late_kernel(int *out)
{
    __shared__ int values[size];
    const int t = threadIdx.x;
    values[t] = t + 1;
    out[t] = values[(t + 1) % size];
    __syncthreads();
}

__global__ void rotate_warp_kernel(int *out)
{
    __shared__ int values[32];
    const int t = threadIdx.x;
    values[t] = t + 1;
    out[t] = values[(t + 1) % 32];
}

__global__ void unequal_barriers_kernel(int *out)
{
    if (threadIdx.x < 32) {
        __syncthreads();
        out[0] = 1;
    } else {
        __syncthreads();
        out[1] = 1;
    }
}

__global__ void early_return_kernel(int *out)
{
    if (threadIdx.x >= 40) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}

__global__ void partial_shuffle_kernel(int *out)
{
    const int lane = threadIdx.x % 32;
    if (lane < 7) out[threadIdx.x] = __shfl_xor_sync(all_lanes, lane, 1);
}

__global__ void foreign_mask_kernel(int *out)
{
    out[threadIdx.x] = __shfl_sync(0x7fffffffu, (int)threadIdx.x, 0);
}

__global__ void unequal_shuffles_kernel(int *out)
{
    const int t = threadIdx.x;
    if (t % 2 == 0) {
        out[t] = __shfl_sync(all_lanes, t, 0);
    } else {
        out[t] = __shfl_sync(all_lanes, t, 1);
    }
}

__global__ void stale_shared_kernel(int *out)
{
    __shared__ int flag;
    if (blockIdx.x == 0 && threadIdx.x == 0) flag = 7;
    __syncthreads();
    if (threadIdx.x == 0) out[blockIdx.x] = flag;
}

__global__ void plain_increment_kernel(int *out)
{
    __shared__ int count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    count += 1;
    __syncthreads();
    if (threadIdx.x == 0) out[0] = count;
}

/* `run(out)` fills out (96), from -1. */
template <class Run> std::vector<int> numbers_of(Run run)
{
    device_array<int> out(std::vector<int>(size, -1));
    run(out.data());
    return out.get();
}

std::vector<int> rotated(int n)
{
    std::vector<int> wanted(size, -1);
    for (int t = 0; t < n; t++) wanted[size_t(t)] = (t + 1) % n + 1;
    return wanted;
}

template <class Kernel> std::vector<int> launched(Kernel kernel, int grid, int block)
{
    return numbers_of([=](int *out) { FA_LAUNCH(kernel, grid, block, 0, nullptr, out); });
}

} // namespace

bool fault_none() { return launched(rotate_kernel<true>, 3, size) == rotated(size); }
bool fault_missing_barrier() { return launched(rotate_kernel<false>, 3, size) == rotated(size); }
bool fault_dropped_barrier() { return launched(rotate_late_kernel, 3, size) == rotated(size); }
bool fault_missing_syncwarp() { return launched(rotate_warp_kernel, 1, 32) == rotated(32); }
bool fault_unequal_barriers() { return launched(unequal_barriers_kernel, 1, 64)[1] == 1; }
bool fault_early_return() { return launched(early_return_kernel, 1, 64)[0] == 1; }
bool fault_partial_shuffle() { return launched(partial_shuffle_kernel, 1, 64)[0] == 1; }
bool fault_foreign_mask() { return launched(foreign_mask_kernel, 1, 32)[31] == 0; }
bool fault_unequal_shuffles() { return launched(unequal_shuffles_kernel, 1, 32)[0] == 0; }
bool fault_stale_shared() { return launched(stale_shared_kernel, 8, 64)[7] == 7; }
bool fault_plain_increment() { return launched(plain_increment_kernel, 1, 64)[0] == 64; }
