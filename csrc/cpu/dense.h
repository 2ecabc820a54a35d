/* dense.h -- what one layer does to a block of rows: products with packed weights, activations.
 *
 * The weights (K, N) of a product are packed once, in panels of two vectors of columns (the last
 * may have one), each row by row: the innermost loop reads them in order and a tile of the
 * product never leaves the registers. Sums run over k in order, from the bias on, so that a row's
 * bits depend neither on the rows beside it nor on threads. Blocks have rows `stride` elements
 * apart. M rows, N columns, K summed. */
#ifndef FA_CPU_DENSE_H
#define FA_CPU_DENSE_H

#include "cpu.h"

/* The value at z and the slope there; what the kernels compute, in float64. */
double fa_activation_at(const fa_activate *activate, double z, double *slope);

typedef struct {
    void *start, *end, *turn; /* (n) slopes at the first and the last node, and their difference */
    int32_t *node;            /* (n) the first node on the other side, or 0 */
} fa_sides;

typedef struct {
    int64_t width; /* elements of a vector: rows of blocks are padded to whole ones */
    int64_t (*packed)(int64_t N, int64_t K);
    /* weight[k * row + n * column] */
    void (*pack)(void *packed, const void *weight, int64_t row, int64_t column, int64_t N,
                 int64_t K);
    /* out = bias + a * packed; bias (padded) or NULL. `padded`: so are the rows of out. */
    void (*multiply)(void *out, int64_t out_stride, int padded, const void *a, int64_t stride,
                     const void *packed, const void *bias, int64_t M, int64_t N, int64_t K);
    /* In place on padded rows; gate, laid out alike, takes the slopes, and is NULL for the
     * identity and for ReLU. */
    void (*activate)(void *block, void *gate, int64_t stride, int64_t M, int64_t N,
                     const fa_activate *activate);
    /* delta *= slope, from the gate, or for ReLU from the activated block. */
    void (*gate)(void *delta, int64_t delta_stride, const void *block, const void *gate,
                 int64_t stride, int64_t M, int64_t N, const fa_activate *activate);
    double (*dot)(const void *a, const void *b, int64_t n);
    /* out = x a + y b */
    void (*blend)(void *out, double x, const void *a, double y, const void *b, int64_t n);

    /* Of dense_sweep.c, on padded rows: the sides of n units p + alpha d along ascending nodes,
     * whose slope is 1 where that is positive and `slope` elsewhere. Returns 0, or NaN if one of
     * the numbers is not finite. */
    double (*sides)(const fa_sides *out, const void *p, const void *d, const double *alpha,
                    int64_t nodes, double slope, int64_t n);
    /* u += x p_j columns[j], v += x d_j columns[j] with x = factor[j], for `count` units j. */
    void (*turn)(void *u, void *v, const void *columns, int64_t stride, const int32_t *units,
                 int64_t count, const void *factor, const void *p, const void *d);
    /* out[j] += sign factor[j] (columns[j] . vector), for `count` units j. */
    void (*project)(void *out, const void *columns, int64_t stride, const int32_t *units,
                    int64_t count, double sign, const void *factor, const void *vector);
    /* before[r] = running; running += weight[r] gradient[r], row by row. */
    void (*cumulate)(void *before, void *running, const void *gradient, int64_t stride,
                     const double *weight, int64_t rows);
} fa_dense_ops;

/* Of the CPU level of this process; float32 or float64. */
const fa_dense_ops *fa_cpu_dense(fa_dtype dtype);

#endif /* FA_CPU_DENSE_H */
