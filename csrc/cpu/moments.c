/* moments.c -- Welford's mean and squared deviations of the contributions, draw by draw
 *
 *   v = g (start - base[m]);  mean += (v - mean) / k;  deviation += (v - mean_old) (v - mean)
 *
 * In ACC, in the order of the draws; deviations in float64, where squares of the smallest
 * float32 gradients do not vanish, and never negative. Reads the gradient (and
 * start) once; the accumulators of a block of features stay in cache over an example's rows and
 * are loaded once for FA_TOGETHER of them. */
#include "../draws.h"
#include "wide.h"

/* gcc's analyzer does not see that loops over vectors and over what is left fill a buffer. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#pragma GCC diagnostic ignored "-Wanalyzer-use-of-uninitialized-value"
#endif

#define FA_TEMPLATE "moments_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_moments(const fa_moments_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    const int64_t rows = args->draws.draws + 1;
    const int64_t D = args->input->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    const int64_t examples = (args->first + args->count - 1) / rows - args->first / rows + 1;
    fa_moments_args copy = *args;
    fa_parallel_for(examples * blocks, fa_min(rows, args->count) * fa_min(D, FA_BLOCK),
                    FA_KERNEL(args->input, moments), &copy);
    return FA_OK;
}
