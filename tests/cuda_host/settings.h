/* settings.h -- what a run may choose, from the environment or by the functions of control.h. */
#ifndef CUDA_HOST_SETTINGS_H
#define CUDA_HOST_SETTINGS_H

#include <cstdint>
#include <mutex>

#include <cuda_runtime.h>

namespace cuhost
{

struct settings {
    uint64_t seed;  /* CUDA_HOST_SEED: 0 is the plain order, any other draws one */
    bool deferred;  /* CUDA_HOST_DEFER: streams run as late as they may          */
    bool managed;   /* CUDA_HOST_MANAGED: host memory is the device's too        */
    bool ended;     /* CUDA_HOST_ABORT: the first report ends the process        */
    int processors; /* CUDA_HOST_PROCESSORS: multiprocessors of the device       */
    settings();
};

extern settings chosen;
extern std::recursive_mutex everything; /* one thread of the host at a time */

/* Numbers that the seed fixes. */
uint64_t draw();
void draw_from(uint64_t seed);

/* A permutation of 0..n-1 that takes no memory: i -> start + i step mod n. */
class order
{
  public:
    explicit order(uint64_t count);
    uint64_t next();

  private:
    uint64_t n, step, at;
};

/* A kernel or its caller broke a rule: one line on stderr. The device is lost, as on a GPU. */
void report(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int64_t report_count();

/* The status that cudaGetLastError gives; a launch failure stays. */
cudaError_t note(cudaError_t error);
cudaError_t lost(); /* cudaErrorLaunchFailure if the device is, else cudaSuccess */

} // namespace cuhost

#endif /* CUDA_HOST_SETTINGS_H */
