/* ascend.c -- next = clip(at + step_size u); sum -= gradient of f_t * (next - at)
 *
 * One pass over a slot: reads two gradients, the vertex and the sum, writes vertex and sum (and
 * the step, where the quadrature needs it again); bound by memory. Signs, clipping and
 * products are those of the formula in ACC, one rounding each. */
#include <math.h>
#include <string.h>

#include "cpu.h"

#define FA_TEMPLATE "ascend_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_ascend(const fa_ascend_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    const int64_t D = args->at->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    fa_ascend_args copy = *args;
    fa_parallel_for(args->climbers.count * args->climbers.fan * blocks, 4 * fa_min(D, FA_BLOCK),
                    FA_KERNEL(args->at, ascend), &copy);
    return FA_OK;
}
