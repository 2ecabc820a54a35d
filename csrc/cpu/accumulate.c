/* accumulate.c -- result[l, e] += weight[l, k] * gradient[r], e and k of row r
 *
 * In ascending row order, per element in ACC. The gradient is read from memory once for all
 * levels: a block of features passes over the rows of one example, its accumulators stay in
 * cache and are loaded once for FA_TOGETHER rows; bound by that read. Rows of weight 0, lead rows
 * among them, are not touched. */
#include "wide.h"

#define FA_TEMPLATE "accumulate_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_accumulate(const fa_accumulate_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    const fa_rows *rows = &args->rows;
    const int64_t D = args->gradient->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    const int64_t start = rows->first - rows->lead, stop = start + rows->count;
    if (stop <= 0) return FA_OK; /* lead rows only */
    const int64_t first_slot = start > 0 ? start / rows->nodes : 0;
    const int64_t slots = (stop - 1) / rows->nodes - first_slot + 1;
    fa_accumulate_args copy = *args;
    fa_parallel_for(slots * blocks, rows->nodes * fa_min(D, FA_BLOCK),
                    FA_KERNEL(args->gradient, accumulate), &copy);
    return FA_OK;
}
