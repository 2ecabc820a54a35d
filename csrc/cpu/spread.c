/* spread.c -- standard error sqrt(deviation / (n (n - 1))), its sum, |mean|_1 and sum of mean
 *
 * One pass, once a call. With one draw the standard error is not defined: NaN. */
#include <math.h>

#include "cpu.h"
#include "sums.h"

#define FA_TEMPLATE "spread_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_spread(const fa_spread_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_spread_args copy = *args;
    fa_parallel_for(args->mean->shape[0], args->mean->shape[1], FA_KERNEL(args->mean, spread),
                    &copy);
    return FA_OK;
}
