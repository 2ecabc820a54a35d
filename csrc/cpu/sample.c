/* sample.c -- point[r] = base[m] + alpha (start - base[m]), start = input[e] + stdev[e] z
 *
 * SmoothGrad (Smilkov 2017): alpha 1. Expected Gradients (Erion 2021): m and alpha drawn.
 * GradientShap (Lundberg 2017): both. One pass that writes the point (and start, if it is
 * needed again); noise costs one Philox block for four normals. */
#include "../draws.h"
#include "wide.h"

#define FA_NOISE_BLOCK 64 /* normals made at a time: 16 Philox counters side by side */

#define FA_TEMPLATE "point_kernels.h"
#include "foreach_level.h"
#define FA_TEMPLATE "normals_kernels.h"
#include "foreach_level.h"
#define FA_TEMPLATE "sample_kernels.h"
#include "foreach_level.h"

static void describe(const fa_sample_args *args)
{
    for (int64_t r = 0; r < args->count; r++) {
        const int64_t e = (args->first + r) / (args->draws.draws + 1);
        if (args->index != NULL) args->index[r] = e;
        if (args->scalars != NULL) memcpy(args->scalars + 2 * r, args->target + 2 * e, 16);
    }
}

fa_status fa_cpu_sample(const fa_sample_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    const int64_t D = args->out->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    fa_sample_args copy = *args;
    if (args->index != NULL || args->scalars != NULL) describe(args);
    fa_parallel_for(args->count * blocks, (args->stdev != NULL ? 16 : 1) * fa_min(D, FA_BLOCK),
                    FA_KERNEL(args->out, sample), &copy);
    return FA_OK;
}
