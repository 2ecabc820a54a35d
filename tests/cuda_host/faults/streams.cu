#include "../../../cuda/cublas.h"
#include "faults.h"

namespace
{

constexpr int n = 64;

__global__ void add_kernel(float *out, const float *in)
{
    out[threadIdx.x] = in[threadIdx.x] + 1.0f;
}

cudaStream_t new_stream()
{
    cudaStream_t stream;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    return stream;
}

const std::vector<float> zeros(n, 0.0f);
const size_t bytes = n * sizeof(float);

} // namespace

/* The second stream adds before the first has. */
bool fault_missing_event()
{
    device_array<float> first(zeros), second(zeros), third(zeros);
    cudaStream_t one = new_stream(), two = new_stream();
    FA_LAUNCH(add_kernel, 1, n, 0, one, second.data(), first.data());
    FA_LAUNCH(add_kernel, 1, n, 0, two, third.data(), second.data());
    CHECK(cudaStreamSynchronize(two) == cudaSuccess);
    return third.get()[0] == 2.0f;
}

bool fault_missing_wait()
{
    device_array<float> in(zeros), out(zeros);
    std::vector<float> found(n, -1.0f);
    cudaStream_t stream = new_stream();
    FA_LAUNCH(add_kernel, 1, n, 0, stream, out.data(), in.data());
    CHECK(cudaMemcpyAsync(found.data(), out.data(), bytes, cudaMemcpyDeviceToHost, stream) ==
          cudaSuccess);
    const bool right = found[0] == 1.0f;
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    return right;
}

bool fault_reused_source()
{
    device_array<float> out(zeros);
    void *memory = nullptr;
    cudaStream_t stream = new_stream();
    CHECK(cudaMallocHost(&memory, bytes) == cudaSuccess);
    float *const source = static_cast<float *>(memory);
    source[0] = 1.0f;
    CHECK(cudaMemcpyAsync(out.data(), source, bytes, cudaMemcpyHostToDevice, stream) ==
          cudaSuccess);
    source[0] = 2.0f;
    const bool right = out.get()[0] == 1.0f;
    CHECK(cudaFreeHost(memory) == cudaSuccess);
    return right;
}

bool fault_wrong_kind()
{
    device_array<float> out(zeros);
    return cudaMemcpy(out.data(), zeros.data(), bytes, cudaMemcpyDeviceToDevice) == cudaSuccess;
}

bool fault_long_copy()
{
    device_array<float> out(zeros);
    const std::vector<float> longer(n + 1, 0.0f);
    return cudaMemcpy(out.data(), longer.data(), bytes + 4, cudaMemcpyHostToDevice) == cudaSuccess;
}

/* A is 8 x 8 in memory and is called 9 x 8. */
bool fault_wrong_leading()
{
    fa_error error;
    const fa_cublas *blas = nullptr;
    fa_cublas_handle handle = nullptr;
    device_array<float> a(zeros), b(zeros), out(std::vector<float>(72, 0.0f));
    const float one = 1.0f;
    CHECK(fa_cublas_open(&blas, &handle, nullptr, &error) == FA_OK);
    const int result = blas->sgemm(handle, FA_CUBLAS_PLAIN, FA_CUBLAS_PLAIN, 9, 8, 8, &one,
                                   a.data(), 8, b.data(), 8, &one, out.data(), 9);
    return result == FA_CUBLAS_SUCCESS;
}
