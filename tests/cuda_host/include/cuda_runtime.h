/* cuda_runtime.h -- stand-in for the CUDA runtime: .cu files compile with g++ and run on the CPU.
 *
 * One block runs at a time and of it one thread at a time, on a fiber of its own from the first
 * moment it has to wait (scheduler.cpp). What g++ cannot parse, launches and dynamic shared memory,
 * goes through cuhost::launch_kernel and cuhost::dyn_shared. */
#ifndef CUDA_HOST_CUDA_RUNTIME_H
#define CUDA_HOST_CUDA_RUNTIME_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#define CUDA_HOST_SHIM 1

#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

/* One copy serves all threads of the one block that runs. noinit: GCC puts it into a section of
 * its own, also inside templates, where a section attribute fails; see shared.ld. */
#define __shared__ static __attribute__((noinit))

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

/* T2, T3, T4 with the alignment that a vector load of the device needs. */
#define CUDA_HOST_VECTORS(T, name, align2, align4)                            \
    struct __align__(align2) name##2 { T x, y; };                             \
    struct name##3 { T x, y, z; };                                            \
    struct __align__(align4) name##4 { T x, y, z, w; };                       \
    static inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
    static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

CUDA_HOST_VECTORS(float, float, 8, 16)
CUDA_HOST_VECTORS(double, double, 16, 16)
CUDA_HOST_VECTORS(int, int, 8, 16)
CUDA_HOST_VECTORS(long long, longlong, 16, 16)
CUDA_HOST_VECTORS(short, short, 4, 8)
CUDA_HOST_VECTORS(unsigned short, ushort, 4, 8)

struct __align__(8) uint2 {
    unsigned x, y;
};
struct __align__(16) uint4 {
    unsigned x, y, z, w;
};
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

#include "cuda_host/api.h"
#include "cuda_host/collectives.h"
#include "cuda_host/intrinsics.h"
#include "cuda_host/launch.h"

#endif /* CUDA_HOST_CUDA_RUNTIME_H */
