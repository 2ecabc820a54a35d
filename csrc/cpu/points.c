/* points.c -- point[r] = base[e] + alpha[k] * (input[e] - base[e]), e and k of row r
 *
 * One pass: reads input and base (cached while the row's example stays), writes out; bound
 * by the write. Also writes whose point it is: index (R) and scalars (R, 2). */
#include <string.h>

#include "cpu.h"

#define FA_TEMPLATE "points_kernels.h"
#include "foreach_level.h"

static void describe(const fa_points_args *args)
{
    for (int64_t r = 0; r < args->rows.count; r++) {
        const int64_t e = fa_row_at(&args->rows, args->rows.first + r).example;
        if (args->index != NULL) args->index[r] = e;
        if (args->scalars != NULL) memcpy(args->scalars + 2 * r, args->target + 2 * e, 16);
    }
}

fa_status fa_cpu_points(const fa_points_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    if (args->index != NULL || args->scalars != NULL) describe(args);
    fa_points_args copy = *args;
    fa_parallel_for(args->rows.count * args->out->shape[1], 1, FA_KERNEL(args->out, points), &copy);
    return FA_OK;
}
