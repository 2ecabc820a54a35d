/* head.c -- softmax and its logarithm of the outputs of every row, in place, and the largest
 *
 * In float64, whatever the dtype: of C outputs the layers before took many times the work. */
#include "head.h"

#include <math.h>
#include <string.h>

int64_t fa_largest(fa_dtype dtype, const void *row, int64_t C)
{
    int64_t best = 0;
    for (int64_t c = 1; c < C; c++) {
        const double value = fa_get_real(dtype, row, c), held = fa_get_real(dtype, row, best);
        if (value > held || (isnan(value) && !isnan(held))) best = c;
    }
    return best;
}

int fa_are_probabilities(fa_dtype dtype, const void *row, int64_t C)
{
    double sum = 0.0;
    for (int64_t c = 0; c < C; c++) {
        const double value = fa_get_real(dtype, row, c);
        if (!(value >= 0.0)) return 0;
        sum += value;
    }
    return fabs(sum - 1.0) < 1e-3;
}

void fa_apply_head(fa_dtype dtype, void *row, int64_t C, fa_head head)
{
    if (head == FA_RAW || C == 0) return;
    const double top = fa_get_real(dtype, row, fa_largest(dtype, row, C));
    double sum = 0.0;
    for (int64_t c = 0; c < C; c++) sum += exp(fa_get_real(dtype, row, c) - top);
    for (int64_t c = 0; c < C; c++) {
        const double z = fa_get_real(dtype, row, c) - top;
        fa_put_real(dtype, row, c, head == FA_SOFTMAX ? exp(z) / sum : z - log(sum));
    }
}

/* d z_C = +1 at plus, -1 at minus; of a softmax p, p_c (e_c - p); of its logarithm, e_c - p. */
double fa_pick_output(fa_dtype dtype, void *delta, const void *row, int64_t C,
                      const int64_t picked[2], fa_head head)
{
    const int64_t item = dtype == FA_FLOAT64 ? 8 : 4;
    double value = 0.0;
    if (delta != NULL) memset(delta, 0, (size_t)(C * item));
    for (int i = 0; i < 2; i++) {
        const double sign = i == 0 ? 1.0 : -1.0;
        if (picked[i] < 0) continue;
        const double chosen = fa_get_real(dtype, row, picked[i]);
        value += sign * chosen;
        for (int64_t c = 0; c < C && delta != NULL; c++) {
            const double own = c == picked[i] ? 1.0 : 0.0, z = fa_get_real(dtype, row, c);
            const double slope = head == FA_RAW       ? own
                                 : head == FA_SOFTMAX ? chosen * (own - z)
                                                      : own - exp(z);
            fa_put_real(dtype, delta, c, fa_get_real(dtype, delta, c) + sign * slope);
        }
    }
    return value;
}

static void run_rows(void *context, int64_t begin, int64_t end)
{
    const fa_head_args *args = context;
    const fa_dtype dtype = fa_dtype_of(args->out->dtype);
    const int64_t C = args->out->shape[1], item = dtype == FA_FLOAT64 ? 8 : 4;
    int64_t logits = 0;
    for (int64_t r = begin; r < end; r++) {
        char *const row = (char *)fa_data(args->out) + r * C * item;
        if (args->logits != NULL) logits |= !fa_are_probabilities(dtype, row, C);
        args->predicted[r] = fa_largest(dtype, row, C);
        fa_apply_head(dtype, row, C, args->head);
    }
    if (logits) __atomic_fetch_or(args->logits, 1, __ATOMIC_RELAXED);
}

fa_status fa_cpu_head(const fa_head_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_head_args copy = *args;
    fa_parallel_for(args->out->shape[0], args->out->shape[1], run_rows, &copy);
    return FA_OK;
}
