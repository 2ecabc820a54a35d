/* launch.h -- the CUDA syntax that only nvcc can parse, and the shapes of grids.
 *
 * Three macros are all that stands between these files and an ordinary C++ compiler: with
 * tests/cuda_host in place of the CUDA headers they run on a CPU. Kernels stay in anonymous
 * namespaces, take trivially copyable arguments by value, leave no thread behind before a
 * barrier, and never wait for another block. */
#ifndef FA_LAUNCH_H
#define FA_LAUNCH_H

#include <cuda_runtime.h>
#include <stdint.h>

#include "../csrc/half.h"

#ifdef CUDA_HOST_SHIM
#define FA_LAUNCH(kernel, grid, block, shared, stream, ...)                                   \
    ::cuhost::launch_kernel(#kernel, __FILE__, __LINE__, (grid), (block), (shared), (stream), \
                            kernel, ##__VA_ARGS__)
#define FA_DYN_SHARED(type, name) type *const name = static_cast<type *>(::cuhost::dyn_shared())
#define FA_UNROLL
#else
#define FA_LAUNCH(kernel, grid, block, shared, stream, ...) \
    kernel<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)
#define FA_DYN_SHARED(type, name)                                      \
    extern __shared__ __align__(16) unsigned char fa_dynamic_shared[]; \
    type *const name = reinterpret_cast<type *>(fa_dynamic_shared)
#define FA_UNROLL _Pragma("unroll")
#endif

/* Threads of a block; a power of two from 32 to 256. Tests on a CPU take fewer. */
#ifndef FA_THREADS
#define FA_THREADS 256
#endif

#define FA_MOST_BLOCKS_X 0x7fffffff
#define FA_MOST_BLOCKS_Y 65535

/* A matrix of rows and columns over a grid: threads lie along the columns of a row; where a row
 * has fewer of those than a block has threads, a block takes several rows. */
struct fa_shape {
    dim3 grid, block;
};

FA_HD int64_t fa_parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

static inline unsigned fa_at_most(int64_t blocks, int64_t most)
{
    return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

/* `each`: the columns that a thread takes, to share what it must know of the row. */
static inline fa_shape fa_shape_of(int64_t rows, int64_t columns, int64_t each)
{
    unsigned x = FA_THREADS;
    while (x > 1 && (int64_t)x / 2 >= columns) x /= 2;
    const unsigned y = FA_THREADS / x;
    return {dim3(fa_at_most(fa_parts(rows, y), FA_MOST_BLOCKS_X),
                 fa_at_most(fa_parts(columns, x * each), FA_MOST_BLOCKS_Y)),
            dim3(x, y)};
}

/* A list of `count` items over a grid. */
static inline fa_shape fa_line_of(int64_t count)
{
    return {dim3(fa_at_most(fa_parts(count, FA_THREADS), FA_MOST_BLOCKS_X)), dim3(FA_THREADS)};
}

#define FA_DEVICE __device__ static inline

FA_DEVICE int64_t fa_first_row() { return (int64_t)blockIdx.x * blockDim.y + threadIdx.y; }
FA_DEVICE int64_t fa_row_step() { return (int64_t)gridDim.x * blockDim.y; }
FA_DEVICE int64_t fa_first_column() { return (int64_t)blockIdx.y * blockDim.x + threadIdx.x; }
FA_DEVICE int64_t fa_column_step() { return (int64_t)gridDim.y * blockDim.x; }
FA_DEVICE int64_t fa_lower(int64_t a, int64_t b) { return a < b ? a : b; }
FA_DEVICE int64_t fa_upper(int64_t a, int64_t b) { return a < b ? b : a; }

/* A word that other blocks may be adding bits to. */
FA_DEVICE int64_t fa_glance(const int64_t *at)
{
#ifdef CUDA_HOST_SHIM
    return __atomic_load_n(at, __ATOMIC_RELAXED);
#else
    return *const_cast<const volatile int64_t *>(at);
#endif
}

/* Bits that are there already, as they mostly are, cost no atomic. */
FA_DEVICE void fa_add_bits(int64_t *at, int64_t bits)
{
    if ((fa_glance(at) & bits) == bits) return;
    (void)atomicOr(reinterpret_cast<unsigned long long *>(at), (unsigned long long)bits);
}

#endif /* FA_LAUNCH_H */
