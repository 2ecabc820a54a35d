/* total.c -- out[i] (+)= sum over d of values[first + i, d], or of their squares
 *
 * In float64, in the order of sums.h. Reads T an element once, bound by memory. */
#include "cpu.h"
#include "sums.h"

#define FA_TEMPLATE "total_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_total(const fa_total_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_total_args copy = *args;
    fa_parallel_for(args->count, args->values->shape[1], FA_KERNEL(args->values, total), &copy);
    return FA_OK;
}
