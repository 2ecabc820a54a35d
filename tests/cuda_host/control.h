/* control.h -- what a test may ask of the stand-in. */
#ifndef CUDA_HOST_CONTROL_H
#define CUDA_HOST_CONTROL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA_HOST_EXPORT __attribute__((visibility("default")))

CUDA_HOST_EXPORT void cuda_host_seed(uint64_t seed);  /* of the orders of threads, warps, blocks  */
CUDA_HOST_EXPORT void cuda_host_defer(int deferred);  /* streams run as late as they may          */
CUDA_HOST_EXPORT void cuda_host_manage(int managed);  /* all host memory is the device's too      */
CUDA_HOST_EXPORT void cuda_host_flush(void);          /* run all that was enqueued                */
CUDA_HOST_EXPORT void cuda_host_reset(void);          /* forget that the device was lost          */
CUDA_HOST_EXPORT int64_t cuda_host_reports(void);     /* rules broken so far                      */
CUDA_HOST_EXPORT int64_t cuda_host_launches(void);    /* grids run so far                         */
CUDA_HOST_EXPORT int64_t cuda_host_waits(void);       /* times a thread had to wait for others    */
CUDA_HOST_EXPORT int64_t cuda_host_allocations(void); /* alive                                   */

#ifdef __cplusplus
}
#endif
#endif /* CUDA_HOST_CONTROL_H */
