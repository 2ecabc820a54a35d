/* context.h -- what every operation does around its launches: device, stream, errors.
 *
 * The caller's current device is the same after each operation. Nothing waits, except
 * fa_cuda_download. */
#ifndef FA_CONTEXT_H
#define FA_CONTEXT_H

#include "../csrc/fastattr.h"
#include "floats.h"
#include "launch.h"

#ifndef FA_CUDA_ARCHS /* what the build was told: "90" or "75;80;..." */
#define FA_CUDA_ARCHS "a host stand-in"
#endif

#define FA_CUDA_DECLARE(op, doc) \
    fa_status fa_cuda_##op(const fa_##op##_args *args, void *stream, fa_error *error);
FA_OPS(FA_CUDA_DECLARE)
#undef FA_CUDA_DECLARE

/* Is there such a device, and has this library code for it? */
fa_status fa_cuda_ready(int32_t device_id, fa_error *error);

/* Small tables. The host's memory may be reused at once: the runtime stages what is pageable. */
fa_status fa_cuda_upload(void *device, const void *host, int64_t bytes, void *stream,
                         fa_error *error);
/* Waits for the stream: the host's memory is filled at return. */
fa_status fa_cuda_download(void *host, const void *device, int64_t bytes, void *stream,
                           fa_error *error);

/* A status and a sentence for what the runtime said; FA_OK for cudaSuccess. */
fa_status fa_cuda_check(cudaError_t result, const char *what, fa_error *error);

/* Makes a device current for the length of a scope. */
class fa_device_scope
{
  public:
    fa_device_scope(int32_t device_id, fa_error *error);
    ~fa_device_scope();
    fa_device_scope(const fa_device_scope &) = delete;
    fa_device_scope &operator=(const fa_device_scope &) = delete;
    fa_status status;

  private:
    int before, changed;
};

/* The body of an operation: `launch` in the element type of `like`, on the device of `like`. */
#define FA_RUN(op, like, launch, args, stream, error)                       \
    do {                                                                    \
        const fa_device_scope scope((like)->device.device_id, error);       \
        if (scope.status != FA_OK) return scope.status;                     \
        FA_DISPATCH(like, launch, args, static_cast<cudaStream_t>(stream)); \
        return fa_cuda_check(cudaGetLastError(), op, error);                \
    } while (0)

/* The same of an operation that is for float32 and float64 alone. */
#define FA_RUN_REAL(op, like, launch, args, stream, error)            \
    do {                                                              \
        const fa_device_scope scope((like)->device.device_id, error); \
        if (scope.status != FA_OK) return scope.status;               \
        if (fa_dtype_of((like)->dtype) == FA_FLOAT64) {               \
            launch<fa_f64>(args, static_cast<cudaStream_t>(stream));  \
        } else {                                                      \
            launch<fa_f32>(args, static_cast<cudaStream_t>(stream));  \
        }                                                             \
        return fa_cuda_check(cudaGetLastError(), op, error);          \
    } while (0)

#endif /* FA_CONTEXT_H */
