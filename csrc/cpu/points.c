/* points.c -- point[r] = base[e] + alpha[k] * (input[e] - base[e]), e and k of row r
 *
 * Writes each point once and reads input and base from cache: a block of features makes its
 * points in all rows of the example before the next block; bound by the write. Points that the
 * caches cannot hold pass them by. Also writes whose point it is: index (R) and scalars (R, 2). */
#include "wide.h"

/* Rows of the chunk that share their example: one lead row, or the nodes. */
typedef struct {
    int64_t first, count;
} fa_span;

static inline fa_span fa_span_at(const fa_rows *rows, int64_t r)
{
    const int64_t start = rows->first - rows->lead;
    if (start + r < 0) return (fa_span){r, 1};
    const int64_t from = (start + r) / rows->nodes * rows->nodes - start;
    const int64_t first = from > 0 ? from : 0, stop = fa_min(from + rows->nodes, rows->count);
    return (fa_span){first, stop - first};
}

#define FA_TEMPLATE "point_kernels.h"
#include "foreach_level.h"
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
    const int64_t D = args->out->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    if (args->index != NULL || args->scalars != NULL) describe(args);
    fa_points_args copy = *args;
    fa_parallel_for(args->rows.count * blocks, fa_min(D, FA_BLOCK), FA_KERNEL(args->out, points),
                    &copy);
    return FA_OK;
}
