/* collect.c -- ends[0, e] = value at alpha 1, ends[1, e] = value at alpha 0, in float64 */
#include "cpu.h"

fa_status fa_cpu_collect(const fa_collect_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    const int64_t *predicted = args->predicted != NULL ? fa_data(args->predicted) : NULL;
    for (int64_t r = 0; r < args->rows.count; r++) {
        const fa_row row = fa_row_at(&args->rows, args->rows.first + r);
        if (row.alpha == 1.0) args->ends[row.example] = fa_value_at(args->values, r);
        if (row.alpha == 0.0)
            args->ends[args->examples + row.example] = fa_value_at(args->values, r);
        if (predicted != NULL) args->target[2 * row.example] = predicted[r];
    }
    return FA_OK;
}
