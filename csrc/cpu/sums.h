/* sums.h -- sums over features in float64, in an order that only the number of features fixes.
 *
 * 16 interleaved lanes inside blocks of 4096 features; lanes and blocks are added pairwise.
 * Up to FA_MEASURES sums at a time. */
#ifndef FA_SUMS_H
#define FA_SUMS_H

#include "../fastattr.h"

#define FA_LANES 16
#define FA_SUM_BLOCK 4096 /* features */

/* Block sums in a binary counter: partial[i] holds the sum of 2^i blocks if bit i is set. */
typedef struct {
    int64_t blocks;
    double partial[64][FA_MEASURES];
} fa_pairwise;

static inline double fa_sum_lanes(double *lanes)
{
    for (int64_t width = FA_LANES / 2; width > 0; width /= 2) {
        for (int64_t lane = 0; lane < width; lane++) lanes[lane] += lanes[lane + width];
    }
    return lanes[0];
}

static inline void fa_pairwise_add(fa_pairwise *sums, double *block)
{
    int level = 0;
    for (int64_t blocks = sums->blocks; blocks & 1; blocks >>= 1, level++) {
        for (int m = 0; m < FA_MEASURES; m++) block[m] += sums->partial[level][m];
    }
    for (int m = 0; m < FA_MEASURES; m++) sums->partial[level][m] = block[m];
    sums->blocks++;
}

static inline void fa_pairwise_total(const fa_pairwise *sums, double *out)
{
    double total[FA_MEASURES] = {0};
    int level = 0;
    for (int64_t blocks = sums->blocks; blocks != 0; blocks >>= 1, level++) {
        if (!(blocks & 1)) continue;
        for (int m = 0; m < FA_MEASURES; m++) total[m] += sums->partial[level][m];
    }
    for (int m = 0; m < FA_MEASURES; m++) out[m] += total[m];
}

#endif /* FA_SUMS_H */
