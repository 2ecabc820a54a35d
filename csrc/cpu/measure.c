/* measure.c -- |A m - A' m|_1, |A m|_1, sum A (x - x'), |A (x - x')|_1 per active example
 *
 * The products are those that finish.c writes, so that gaps speak of the reported values;
 * their sums are float64: 16 lanes inside blocks of 4096 features, lanes and blocks added
 * pairwise. The order is fixed by the number of features alone. Reads 2 ACC and 2 T an
 * element, bound by memory. */
#include <math.h>

#include "cpu.h"

#define FA_LANES 16
#define FA_SUM_BLOCK 4096

/* Block sums in a binary counter: partial[i] holds the sum of 2^i blocks if bit i is set. */
typedef struct {
    int64_t blocks;
    double partial[64][FA_MEASURES];
} fa_pairwise;

static double fa_sum_lanes(double *lanes)
{
    for (int64_t width = FA_LANES / 2; width > 0; width /= 2) {
        for (int64_t lane = 0; lane < width; lane++) lanes[lane] += lanes[lane + width];
    }
    return lanes[0];
}

static void fa_pairwise_add(fa_pairwise *sums, double *block)
{
    int level = 0;
    for (int64_t blocks = sums->blocks; blocks & 1; blocks >>= 1, level++) {
        for (int m = 0; m < FA_MEASURES; m++) block[m] += sums->partial[level][m];
    }
    for (int m = 0; m < FA_MEASURES; m++) sums->partial[level][m] = block[m];
    sums->blocks++;
}

static void fa_pairwise_total(const fa_pairwise *sums, double *out)
{
    double total[FA_MEASURES] = {0};
    int level = 0;
    for (int64_t blocks = sums->blocks; blocks != 0; blocks >>= 1, level++) {
        if (!(blocks & 1)) continue;
        for (int m = 0; m < FA_MEASURES; m++) total[m] += sums->partial[level][m];
    }
    for (int m = 0; m < FA_MEASURES; m++) out[m] += total[m];
}

#define FA_TEMPLATE "measure_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_measure(const fa_measure_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_measure_args copy = *args;
    fa_parallel_for(args->count, args->input->shape[1], FA_KERNEL(args->input, measure), &copy);
    return FA_OK;
}
