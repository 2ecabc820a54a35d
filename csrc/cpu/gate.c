/* gate.c -- out = delta * slope, element by element; see activate.c */
#include "cpu.h"

static void run_rows(void *context, int64_t begin, int64_t end)
{
    const fa_gate_args *args = context;
    const fa_dtype dtype = fa_dtype_of(args->out->dtype);
    const int64_t N = args->out->shape[1];
    for (int64_t i = begin * N; i < end * N; i++) {
        const double factor =
            args->slope != NULL ? fa_get_real(dtype, fa_data(args->slope), i) : 1.0;
        fa_put_real(dtype, fa_data(args->out), i,
                    fa_get_real(dtype, fa_data(args->delta), i) * factor);
    }
}

fa_status fa_cpu_gate(const fa_gate_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_gate_args copy = *args;
    fa_parallel_for(args->out->shape[0], args->out->shape[1], run_rows, &copy);
    return FA_OK;
}
