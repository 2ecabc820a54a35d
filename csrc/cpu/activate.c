/* activate.c -- out = act(in + bias), slope = act'(in + bias), element by element
 *
 * The plain form, for networks that go layer by layer through a backend; on the CPU they go in
 * blocks through all layers, by the kernels of dense.h. */
#include "dense.h"

static void run_rows(void *context, int64_t begin, int64_t end)
{
    const fa_activate_args *args = context;
    const fa_dtype dtype = fa_dtype_of(args->out->dtype);
    const int64_t N = args->out->shape[1];
    for (int64_t i = begin * N; i < end * N; i++) {
        const double bias = args->bias != NULL ? fa_get_real(dtype, args->bias, i % N) : 0.0;
        const double z = fa_get_real(dtype, fa_data(args->in), i) + bias;
        double slope;
        fa_put_real(dtype, fa_data(args->out), i, fa_activation_at(&args->activate, z, &slope));
        if (args->slope != NULL) fa_put_real(dtype, fa_data(args->slope), i, slope);
    }
}

fa_status fa_cpu_activate(const fa_activate_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_activate_args copy = *args;
    fa_parallel_for(args->out->shape[0], args->out->shape[1], run_rows, &copy);
    return FA_OK;
}
