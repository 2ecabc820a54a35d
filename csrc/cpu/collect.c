/* collect.c -- ends[0, e] = value at alpha 1, ends[1, e] = value at alpha 0, in float64 */
#include "cpu.h"

static double value_at(const DLTensor *values, int64_t r)
{
    const void *data = fa_data(values);
    switch (fa_dtype_of(values->dtype)) {
    case FA_FLOAT32:
        return ((const float *)data)[r];
    case FA_FLOAT64:
        return ((const double *)data)[r];
    case FA_FLOAT16:
        return fa_float_of_half(((const fa_half *)data)[r]);
    default:
        return fa_float_of_bfloat(((const fa_bfloat *)data)[r]);
    }
}

fa_status fa_cpu_collect(const fa_collect_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    const int64_t *predicted = args->predicted != NULL ? fa_data(args->predicted) : NULL;
    for (int64_t r = 0; r < args->rows.count; r++) {
        const fa_row row = fa_row_at(&args->rows, args->rows.first + r);
        if (row.alpha == 1.0) args->ends[row.example] = value_at(args->values, r);
        if (row.alpha == 0.0) args->ends[args->examples + row.example] = value_at(args->values, r);
        if (predicted != NULL) args->target[2 * row.example] = predicted[r];
    }
    return FA_OK;
}
