#include "faults.h"

namespace
{

__global__ void fill_kernel(float *out, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = 1.0f;
}

__global__ void shared_kernel(float *out, int shift)
{
    __shared__ float values[64];
    values[threadIdx.x + shift] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = values[63 - threadIdx.x];
}

__global__ void dynamic_kernel(float *out, int shift)
{
    FA_DYN_SHARED(float, values);
    values[threadIdx.x + shift] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = values[63 - threadIdx.x];
}

__global__ void local_kernel(float *out, int shift)
{
    float values[8];
    for (int i = 0; i < 8; i++) values[i] = (float)i;
    __syncthreads();
    values[shift] += 1.0f;
    out[threadIdx.x] = values[(shift + (int)threadIdx.x) % 8];
}

__global__ void load_kernel(float *out, const float4 *in) { out[0] = in[0].x; }

struct boxed {
    int unused;
    const float *in;
};

__global__ void boxed_kernel(float *out, boxed box) { out[0] = box.in[0]; }

__global__ void read_kernel(float *out, const float *in) { out[0] = in[0]; }

bool is_right(const device_array<float> &out) { return out.get()[0] == 1.0f; }

const std::vector<float> ones(64, 1.0f);

} // namespace

bool fault_beyond_the_end()
{
    device_array<float> out(ones);
    FA_LAUNCH(fill_kernel, 2, 64, 0, nullptr, out.data(), 65);
    return is_right(out);
}

bool fault_beyond_shared()
{
    device_array<float> out(ones);
    FA_LAUNCH(shared_kernel, 1, 64, 0, nullptr, out.data(), 1);
    return is_right(out);
}

bool fault_beyond_dynamic()
{
    device_array<float> out(ones);
    FA_LAUNCH(dynamic_kernel, 1, 64, 64 * sizeof(float), nullptr, out.data(), 1);
    return is_right(out);
}

bool fault_beyond_local()
{
    device_array<float> out(ones);
    FA_LAUNCH(local_kernel, 1, 64, 0, nullptr, out.data(), 8);
    return is_right(out);
}

bool fault_unaligned_load()
{
    device_array<float> out(ones), in(ones);
    FA_LAUNCH(load_kernel, 1, 1, 0, nullptr, out.data(),
              reinterpret_cast<const float4 *>(in.data() + 1));
    return is_right(out);
}

bool fault_host_pointer()
{
    device_array<float> out(ones);
    FA_LAUNCH(read_kernel, 1, 1, 0, nullptr, out.data(), ones.data());
    return is_right(out);
}

bool fault_host_pointer_inside()
{
    device_array<float> out(ones);
    const boxed box = {1, ones.data()};
    FA_LAUNCH(boxed_kernel, 1, 1, 0, nullptr, out.data(), box);
    return is_right(out);
}

bool fault_host_reads_device()
{
    device_array<float> in(ones);
    const volatile float *const there = in.data();
    return there[3] == 1.0f;
}

bool fault_freed_memory()
{
    device_array<float> out(ones);
    float *freed = nullptr;
    CHECK(cudaMalloc(&freed, 4) == cudaSuccess);
    CHECK(cudaFree(freed) == cudaSuccess);
    FA_LAUNCH(read_kernel, 1, 1, 0, nullptr, out.data(), freed);
    return is_right(out);
}

bool fault_many_threads()
{
    device_array<float> out(ones);
    FA_LAUNCH(fill_kernel, 1, 2048, 0, nullptr, out.data(), 64);
    if (cudaPeekAtLastError() != cudaSuccess) fprintf(stderr, "the launch was refused\n");
    return cudaGetLastError() == cudaSuccess;
}

bool fault_much_shared()
{
    device_array<float> out(ones);
    FA_LAUNCH(fill_kernel, 1, 64, 64 << 10, nullptr, out.data(), 64);
    if (cudaPeekAtLastError() != cudaSuccess) fprintf(stderr, "the launch was refused\n");
    return cudaGetLastError() == cudaSuccess;
}
