#include "kernels.h"

#include "../../../cuda/launch.h"

namespace
{

constexpr unsigned all_lanes = 0xffffffffu;

template <class T> __device__ T warp_sum(T value)
{
    for (int delta = 16; delta > 0; delta /= 2) {
        value += __shfl_down_sync(all_lanes, value, delta);
    }
    return value;
}

template <class T>
__global__ void row_sums_kernel(T *out, T *total, const T *in, int64_t R, int64_t D)
{
    __shared__ T parts[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int64_t r = blockIdx.x; r < R; r += gridDim.x) {
        T sum = 0;
        for (int64_t d = threadIdx.x; d < D; d += blockDim.x) sum += in[r * D + d];
        sum = warp_sum(sum);
        if (lane == 0) parts[warp] = sum;
        __syncthreads();
        if (warp == 0) {
            sum = warp_sum(lane < warps ? parts[lane] : T(0));
            if (lane == 0) {
                out[r] = sum;
                atomicAdd(total, sum);
            }
        }
        __syncthreads();
    }
}

__global__ void count_kernel(int *counts, const float *x, float limit, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int count = __syncthreads_count(i < n && x[i] > limit);
    if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

/* One block: offsets[i] = sum of counts[0..i-1], total[0] of all. */
__global__ void offsets_kernel(int *offsets, int *total, const int *counts, int blocks)
{
    FA_DYN_SHARED(int, sums);
    const int t = threadIdx.x, size = blockDim.x;
    int carry = 0;
    for (int start = 0; start < blocks; start += size) {
        const int own = start + t < blocks ? counts[start + t] : 0;
        sums[t] = own;
        __syncthreads();
        for (int reach = 1; reach < size; reach *= 2) {
            const int other = t >= reach ? sums[t - reach] : 0;
            __syncthreads();
            sums[t] += other;
            __syncthreads();
        }
        if (start + t < blocks) offsets[start + t] = carry + sums[t] - own;
        carry += sums[size - 1];
        __syncthreads();
    }
    if (t == 0) *total = carry;
}

__global__ void scatter_kernel(int *index, const int *offsets, const float *x, float limit, int n)
{
    __shared__ int before[32];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const bool chosen = i < n && x[i] > limit;
    const unsigned mask = __ballot_sync(all_lanes, chosen);
    if (lane == 0) before[warp] = __popc(mask);
    __syncthreads();
    if (warp == 0) {
        const int own = lane < warps ? before[lane] : 0;
        int sum = own;
        for (int delta = 1; delta < 32; delta *= 2) {
            const int other = __shfl_up_sync(all_lanes, sum, delta);
            if (lane >= delta) sum += other;
        }
        before[lane] = sum - own;
    }
    __syncthreads();
    const int rank = __popc(mask & ((1u << lane) - 1));
    if (chosen) index[offsets[blockIdx.x] + before[warp] + rank] = i;
}

__global__ void argmax_kernel(int *out, const float *in, int R, int D)
{
    const int lane = threadIdx.x % 32, r = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (r >= R) return; /* the whole warp */
    float best = -INFINITY;
    int where = D;
    for (int d = lane; d < D; d += 32) {
        const float value = in[(int64_t)r * D + d];
        if (value > best || where == D) {
            best = value;
            where = d;
        }
    }
    for (int bits = 16; bits > 0; bits /= 2) {
        const float value = __shfl_xor_sync(all_lanes, best, bits);
        const int other = __shfl_xor_sync(all_lanes, where, bits);
        if (value > best || (value == best && other < where)) {
            best = value;
            where = other;
        }
    }
    if (lane == 0) out[r] = where;
}

__global__ void histogram_kernel(unsigned *bins, const unsigned *x, int n)
{
    __shared__ unsigned own[64];
    for (int b = threadIdx.x; b < 64; b += blockDim.x) own[b] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        atomicAdd(&own[x[i] % 64], 1u);
    }
    __syncthreads();
    for (int b = threadIdx.x; b < 64; b += blockDim.x) atomicAdd(&bins[b], own[b]);
}

__global__ void scale_add_kernel(float4 *out, const float4 *x, const float4 *y, float a, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float4 p = __ldg(x + i), q = y[i];
    out[i] = make_float4(a * p.x + q.x, a * p.y + q.y, a * p.z + q.z, a * p.w + q.w);
}

__global__ void coordinates_kernel(int *out, dim3 extent)
{
    const unsigned x = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned y = blockIdx.y * blockDim.y + threadIdx.y;
    const unsigned z = blockIdx.z * blockDim.z + threadIdx.z;
    if (x >= extent.x || y >= extent.y || z >= extent.z) return;
    out[(z * extent.y + y) * extent.x + x] = (int)(x + 10 * y + 100 * z);
}

__global__ void mirror_kernel(double *out, const double *in, int n)
{
    FA_DYN_SHARED(double, tile);
    const int start = blockIdx.x * blockDim.x, t = threadIdx.x;
    const int size = min(n - start, (int)blockDim.x);
    if (t < size) tile[t] = in[start + t];
    __syncthreads();
    if (t < size) out[start + t] = tile[size - 1 - t];
}

__global__ void votes_kernel(unsigned *out, const int *in)
{
    const int lane = threadIdx.x, value = in[lane];
    const unsigned found[VOTES] = {
        __ballot_sync(all_lanes, value > 0),
        (unsigned)__any_sync(all_lanes, value > 90),
        (unsigned)__all_sync(all_lanes, value > -90),
        __match_any_sync(all_lanes, value % 3),
        (unsigned)__shfl_sync(all_lanes, value, 3, 8),
        (unsigned)__shfl_down_sync(all_lanes, value, 2, 8),
        (unsigned)__shfl_up_sync(all_lanes, value, 2, 8),
        (unsigned)__shfl_xor_sync(all_lanes, value, 1, 8),
        lane < 16 ? __ballot_sync(0x0000ffffu, value > 0) : __ballot_sync(0xffff0000u, value < 0),
    };
    __syncwarp();
    for (int v = 0; v < VOTES; v++) out[v * 32 + lane] = found[v];
}

unsigned grid_of(int64_t items, int block) { return unsigned((items + block - 1) / block); }

template <class T>
void launch_row_sums(T *out, T *total, const T *in, int64_t R, int64_t D, int block,
                     cudaStream_t stream)
{
    const unsigned grid = R < 100 ? (unsigned)R : 100;
    FA_LAUNCH(row_sums_kernel<T>, grid, block, 0, stream, out, total, in, R, D);
}

} // namespace

void row_sums(float *out, float *total, const float *in, int64_t R, int64_t D, int block,
              cudaStream_t stream)
{
    launch_row_sums(out, total, in, R, D, block, stream);
}

void row_sums(double *out, double *total, const double *in, int64_t R, int64_t D, int block,
              cudaStream_t stream)
{
    launch_row_sums(out, total, in, R, D, block, stream);
}

void compact(int *index, int *total, int *counts, int *offsets, const float *x, float limit, int n,
             int block, cudaStream_t stream)
{
    const int blocks = (int)grid_of(n, block);
    FA_LAUNCH(count_kernel, blocks, block, 0, stream, counts, x, limit, n);
    FA_LAUNCH(offsets_kernel, 1, 64, 64 * sizeof(int), stream, offsets, total, counts, blocks);
    FA_LAUNCH(scatter_kernel, blocks, block, 0, stream, index, offsets, x, limit, n);
}

void argmax(int *out, const float *in, int R, int D, cudaStream_t stream)
{
    FA_LAUNCH(argmax_kernel, grid_of(R, 4), 128, 0, stream, out, in, R, D);
}

void histogram(unsigned *bins, const unsigned *x, int n, int block, cudaStream_t stream)
{
    FA_LAUNCH(histogram_kernel, 3, block, 0, stream, bins, x, n);
}

void scale_add(float *out, const float *x, const float *y, float a, int n, cudaStream_t stream)
{
    FA_LAUNCH(scale_add_kernel, grid_of(n / 4, 64), 64, 0, stream, reinterpret_cast<float4 *>(out),
              reinterpret_cast<const float4 *>(x), reinterpret_cast<const float4 *>(y), a, n / 4);
}

void coordinates(int *out, dim3 extent, cudaStream_t stream)
{
    const dim3 block(4, 3, 2);
    const dim3 grid(grid_of(extent.x, 4), grid_of(extent.y, 3), grid_of(extent.z, 2));
    FA_LAUNCH(coordinates_kernel, grid, block, 0, stream, out, extent);
}

void mirror(double *out, const double *in, int n, int block, cudaStream_t stream)
{
    FA_LAUNCH(mirror_kernel, grid_of(n, block), block, block * sizeof(double), stream, out, in, n);
}

void votes(unsigned *out, const int *in, cudaStream_t stream)
{
    FA_LAUNCH(votes_kernel, 1, 32, 0, stream, out, in);
}
