/* finish.c -- out[e] = result[level[e], e] * (input[e] - base[e]), |.| if asked
 *
 * One pass, once a call; bound by memory. */
#include "wide.h"

#define FA_TEMPLATE "finish_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_finish(const fa_finish_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_finish_args copy = *args;
    const int64_t D = args->input->shape[1], runs = (D + FA_RUN - 1) / FA_RUN;
    fa_parallel_for(args->input->shape[0] * runs, fa_min(D, FA_RUN), FA_KERNEL(args->input, finish),
                    &copy);
    return FA_OK;
}
