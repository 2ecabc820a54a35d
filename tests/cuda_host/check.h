/* check.h -- checks that are counted, and arrays on the device. */
#ifndef CUDA_HOST_CHECK_H
#define CUDA_HOST_CHECK_H

#include <cstdio>
#include <vector>

#include <cuda_runtime.h>

#include "control.h"

inline long checks_made, checks_failed;

#define CHECK(condition)                                                            \
    do {                                                                            \
        checks_made++;                                                              \
        if (!(condition) && checks_failed++ < 20) {                                 \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                           \
    } while (0)

inline int finish_checks(const char *name)
{
    printf("%s: %ld checks, %ld failed; %lld grids, %lld waits\n", name, checks_made, checks_failed,
           (long long)cuda_host_launches(), (long long)cuda_host_waits());
    return checks_failed == 0 ? 0 : 1;
}

/* n elements of the device, from which `get` reads after all that was enqueued. */
template <class T> class device_array
{
  public:
    explicit device_array(size_t size) : n(size)
    {
        CHECK(cudaMalloc(&memory, n * sizeof(T)) == cudaSuccess);
    }
    explicit device_array(const std::vector<T> &from) : device_array(from.size())
    {
        CHECK(cudaMemcpy(memory, from.data(), n * sizeof(T), cudaMemcpyHostToDevice) ==
              cudaSuccess);
    }
    ~device_array() { CHECK(cudaFree(memory) == cudaSuccess); }
    device_array(const device_array &) = delete;
    device_array &operator=(const device_array &) = delete;

    T *data() const { return memory; }
    std::vector<T> get() const
    {
        std::vector<T> out(n);
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
        CHECK(cudaMemcpy(out.data(), memory, n * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
        return out;
    }

  private:
    size_t n;
    T *memory = nullptr;
};

#endif /* CUDA_HOST_CHECK_H */
