/* context.cu -- devices, copies, errors. */
#include "context.h"

fa_status fa_cuda_check(cudaError_t result, const char *what, fa_error *error)
{
    if (result == cudaSuccess) return FA_OK;
    const fa_status status = result == cudaErrorMemoryAllocation ? FA_ENOMEM : FA_EDEVICE;
    return fa_fail(error, status, "cuda: %s: %s", what, cudaGetErrorString(result));
}

fa_device_scope::fa_device_scope(int32_t device_id, fa_error *error)
    : status(FA_OK), before(-1), changed(0)
{
    cudaError_t result = cudaGetDevice(&before);
    if (result == cudaSuccess && before != device_id) {
        result = cudaSetDevice(device_id);
        changed = result == cudaSuccess;
    }
    status = fa_cuda_check(result, "device", error);
}

fa_device_scope::~fa_device_scope()
{
    if (changed) (void)cudaSetDevice(before);
}

/* Where a device pointer lives: a copy on the default stream needs the right device. */
static fa_status device_of(int32_t *out, const void *device, fa_error *error)
{
    cudaPointerAttributes attributes;
    FA_TRY(fa_cuda_check(cudaPointerGetAttributes(&attributes, device), "pointer", error));
    *out = attributes.device;
    return FA_OK;
}

fa_status fa_cuda_upload(void *device, const void *host, int64_t bytes, void *stream,
                         fa_error *error)
{
    int32_t id;
    if (bytes <= 0) return FA_OK;
    FA_TRY(device_of(&id, device, error));
    const fa_device_scope scope(id, error);
    if (scope.status != FA_OK) return scope.status;
    return fa_cuda_check(cudaMemcpyAsync(device, host, (size_t)bytes, cudaMemcpyHostToDevice,
                                         static_cast<cudaStream_t>(stream)),
                         "upload", error);
}

fa_status fa_cuda_download(void *host, const void *device, int64_t bytes, void *stream,
                           fa_error *error)
{
    int32_t id;
    const cudaStream_t queue = static_cast<cudaStream_t>(stream);
    if (bytes <= 0) return FA_OK;
    FA_TRY(device_of(&id, device, error));
    const fa_device_scope scope(id, error);
    if (scope.status != FA_OK) return scope.status;
    FA_TRY(
        fa_cuda_check(cudaMemcpyAsync(host, device, (size_t)bytes, cudaMemcpyDeviceToHost, queue),
                      "download", error));
    return fa_cuda_check(cudaStreamSynchronize(queue), "download", error);
}

#ifdef CUDA_HOST_SHIM /* ordinary code, which any host has */

static fa_status has_code(int32_t, fa_error *) { return FA_OK; }

#else

namespace
{
/* Never launched: the runtime tells by it whether the library has code for a device. */
__global__ void probe_kernel() {}
} // namespace

static fa_status has_code(int32_t device_id, fa_error *error)
{
    cudaFuncAttributes attributes;
    const fa_device_scope scope(device_id, error);
    if (scope.status != FA_OK) return scope.status;
    const cudaError_t result = cudaFuncGetAttributes(&attributes, probe_kernel);
    if (result != cudaErrorNoKernelImageForDevice && result != cudaErrorInvalidDeviceFunction) {
        return fa_cuda_check(result, "device", error);
    }
    (void)cudaGetLastError();
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_id);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_id);
    return fa_fail(error, FA_EDEVICE,
                   "cuda:%d has compute capability %d.%d, and this build of fastattr is for %s; "
                   "rebuild with FASTATTR_CUDA_ARCHS=%d%d",
                   device_id, major, minor, FA_CUDA_ARCHS, major, minor);
}

#endif

fa_status fa_cuda_ready(int32_t device_id, fa_error *error)
{
    int count = 0;
    const cudaError_t result = cudaGetDeviceCount(&count);
    if (result != cudaSuccess || count == 0) {
        (void)cudaGetLastError();
        return fa_fail(error, FA_EDEVICE,
                       "no CUDA device: %s; move the model and inputs to the CPU",
                       result == cudaSuccess ? "none is visible" : cudaGetErrorString(result));
    }
    if (device_id < 0 || device_id >= count) {
        return fa_fail(error, FA_EDEVICE, "expected a device from cuda:0 to cuda:%d, got cuda:%d",
                       count - 1, device_id);
    }
    return has_code(device_id, error);
}
