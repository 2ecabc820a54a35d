/* finish.c -- out[e] = result[level[e], e] * (input[e] - base[e]), |.| if asked
 *
 * One pass, once a call; bound by memory. */
#include "cpu.h"

#define FA_TEMPLATE "finish_kernels.h"
#include "foreach_level.h"

fa_status fa_cpu_finish(const fa_finish_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_finish_args copy = *args;
    fa_parallel_for(args->input->shape[0], args->input->shape[1], FA_KERNEL(args->input, finish),
                    &copy);
    return FA_OK;
}
