/* combine.c -- result[e] += scale * (sum[s] + ...) over the slots of example e, in their order
 *
 * One addition a path, in ascending order, so that how paths are split into waves changes no
 * bit. Bound by memory. */
#include "cpu.h"

#define FA_TEMPLATE "combine_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_combine(const fa_combine_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_combine_args copy = *args;
    const int64_t D = args->result->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    fa_parallel_for(args->count * blocks, args->fan * fa_min(D, FA_BLOCK),
                    FA_KERNEL(args->result, combine), &copy);
    return FA_OK;
}
