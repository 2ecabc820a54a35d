/* contribute.c -- sum[s] -= factor * gradient[r] * step[s], s the slot of row r
 *
 * The middle of a step (midpoint), and the end of a path (trapezoid). Bound by memory. */
#include "cpu.h"

#define FA_TEMPLATE "contribute_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_contribute(const fa_contribute_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_contribute_args copy = *args;
    fa_parallel_for(args->climbers.count, args->gradient->shape[1],
                    FA_KERNEL(args->gradient, contribute), &copy);
    return FA_OK;
}
