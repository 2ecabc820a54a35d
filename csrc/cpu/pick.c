/* pick.c -- one scalar of every row's outputs, and its gradient in all of them; see head.h */
#include "head.h"

static void run_rows(void *context, int64_t begin, int64_t end)
{
    const fa_pick_args *args = context;
    const fa_dtype dtype = fa_dtype_of(args->out->dtype);
    const int64_t C = args->out->shape[1], item = dtype == FA_FLOAT64 ? 8 : 4;
    char *const delta = args->delta != NULL ? fa_data(args->delta) : NULL;
    for (int64_t r = begin; r < end; r++) {
        const int64_t *const asked = args->scalars + 2 * r;
        const int64_t picked[2] = {asked[0] >= 0 ? asked[0] : args->predicted[r], asked[1]};
        const char *const row = (const char *)fa_data(args->out) + r * C * item;
        const double value = fa_pick_output(dtype, delta != NULL ? delta + r * C * item : NULL, row,
                                            C, picked, args->head);
        fa_put_real(dtype, fa_data(args->values), r, value);
        if (args->picked != NULL) args->picked[r] = picked[0];
    }
}

fa_status fa_cpu_pick(const fa_pick_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_pick_args copy = *args;
    fa_parallel_for(args->out->shape[0], args->out->shape[1], run_rows, &copy);
    return FA_OK;
}
