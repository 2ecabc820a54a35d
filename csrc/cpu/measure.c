/* measure.c -- |A m - A' m|_1, |A m|_1, sum A (x - x'), |A (x - x')|_1 per active example
 *
 * The products are those that finish.c writes, so that gaps speak of the reported values;
 * their sums are float64: 16 lanes inside blocks of 4096 features, lanes and blocks added
 * pairwise. The order is fixed by the number of features alone. Reads 2 ACC and 2 T an
 * element, bound by memory. */
#include <math.h>

#include "sums.h"
#include "wide.h"

#define FA_TEMPLATE "measure_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_measure(const fa_measure_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_measure_args copy = *args;
    fa_parallel_for(args->count, args->group * args->input->shape[1],
                    FA_KERNEL(args->input, measure), &copy);
    return FA_OK;
}
