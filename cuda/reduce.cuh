/* reduce.cuh -- sums over features in float64, added in the order of csrc/cpu/sums.h.
 *
 * 16 interleaved lanes inside blocks of 4096 features, lanes and blocks added pairwise: the same
 * tree as the CPU's, so the same bits, whatever the grid. A lane is a thread, so 16 threads work
 * on 4096 features and a block of threads on many such at a time; half a warp reads 16
 * consecutive elements. */
#ifndef FA_REDUCE_CUH
#define FA_REDUCE_CUH

#include "../csrc/cpu/sums.h"
#include "launch.h"

#define FA_SUM_GROUPS (FA_THREADS / FA_LANES)
#define FA_SUM_DEPTH 48 /* pairwise levels: 2^48 blocks of features */

/* The sum of block `blocks` joins those before it; see fa_pairwise_add. */
template <int M>
FA_DEVICE void fa_join_block(double (*partial)[M], int m, int64_t blocks, double sum)
{
    int level = 0;
    for (; blocks & 1; blocks >>= 1, level++) sum += partial[level][m];
    partial[level][m] = sum;
}

/* out[m] += the sum over d of what add(sums, d) adds to sums[m]; called by all threads of a
 * block, FA_THREADS. */
template <int M, typename Add> FA_DEVICE void fa_sum_features(double *out, int64_t D, Add add)
{
    __shared__ double block_sum[FA_SUM_GROUPS][M], partial[FA_SUM_DEPTH][M];
    const int lane = (int)threadIdx.x % FA_LANES, group = (int)threadIdx.x / FA_LANES;
    int64_t blocks = 0; /* added so far; counted by the threads 0..M-1 */
    for (int64_t first = 0; first < D; first += (int64_t)FA_SUM_GROUPS * FA_SUM_BLOCK) {
        const int64_t begin = first + (int64_t)group * FA_SUM_BLOCK;
        const int64_t end = fa_lower(begin + FA_SUM_BLOCK, D);
        double sums[M] = {};
        for (int64_t d = begin + lane; d < end; d += FA_LANES) add(sums, d);
        for (int m = 0; m < M; m++) {
            for (int width = FA_LANES / 2; width > 0; width /= 2) {
                sums[m] += __shfl_down_sync(0xffffffffu, sums[m], (unsigned)width, FA_LANES);
            }
            if (lane == 0) block_sum[group][m] = sums[m];
        }
        __syncthreads();
        const int64_t found = fa_lower(fa_parts(D - first, FA_SUM_BLOCK), FA_SUM_GROUPS);
        for (int64_t g = 0; threadIdx.x < M && g < found; g++, blocks++) {
            fa_join_block<M>(partial, (int)threadIdx.x, blocks, block_sum[g][threadIdx.x]);
        }
        __syncthreads();
    }
    double total = 0.0;
    for (int level = 0; threadIdx.x < M && blocks >> level != 0; level++) {
        if (blocks >> level & 1) total += partial[level][threadIdx.x];
    }
    if (threadIdx.x < M) out[threadIdx.x] += total;
}

#endif /* FA_REDUCE_CUH */
