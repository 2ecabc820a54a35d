/* exact.h -- Integrated Gradients without quadrature, where the integral has a closed form. */
#ifndef FA_EXACT_H
#define FA_EXACT_H

#include "dense.h"

/* One call. B examples, D features; everything in float64 and in the host's memory. */
typedef struct {
    const fa_dense *net; /* float64, raw outputs, fa_exact_applies                */
    int64_t examples;    /* B                                                     */
    const double *input; /* (B, D)                                                */
    const double *base;  /* (B, D) or, if base_rows is 1, (1, D)                  */
    int64_t base_rows;
    const int64_t *target; /* (B, 2) plus and minus (-1 = none)                   */
    double *values;        /* (B, D): integrals, times input - base if `multiply` */
    int multiply;
    double *output, *base_output; /* (B)                                                   */
    double *sums; /* (B, 3): sum A (x - x'), |A|_1, and a bound of its rounding errors     */
} fa_exact;
#define FA_EXACT_SUMS 3

/* Linear - any activation - Linear, or two layers of ReLU or LeakyReLU before the last Linear. */
int fa_exact_applies(const fa_dense *net);

fa_status fa_exact_run(fa_exact *job, fa_error *error);

#endif /* FA_EXACT_H */
