/* sample.h -- means of gradients over random draws, streamed: memory does not grow with them. */
#ifndef FA_SAMPLE_H
#define FA_SAMPLE_H

#include "chunks.h"

/* One call; memory as in fa_integration. */
typedef struct {
    fa_chunks chunks;
    int64_t examples;      /* B                                                             */
    const DLTensor *input; /* (T): (B, D)                                                   */
    const DLTensor *base;  /* (T): (M, D), (B, D) or (1, D)                                 */
    DLTensor *start;       /* (T): (rows, D), or NULL unless noise is multiplied            */
    DLTensor *mean;        /* (T): (B, D), zero at entry                                    */
    DLTensor *deviation;   /* (T): (B, D) float64, 0 at entry; the standard error at return */
    const double *stdev;   /* (T, B), or NULL: no noise                                     */
    int64_t *target;       /* (B, 2); plus is filled in if `predict`                        */
    void *scratch;         /* fa_sample_scratch() bytes                                     */
    fa_draws draws;
    int predict;
    int multiply; /* by start - base                                                        */
    int square;   /* the mean of squares                                                    */
    int variance; /* the variance of the draws in place of their mean                       */

    double *output; /* (B) f at the input, where draws do not reach                         */
    double *sums;   /* (B, 3) of fa_spread_args                                             */
} fa_sampling;

int64_t fa_sample_scratch(int64_t examples, int64_t draws);

fa_status fa_sample(fa_sampling *job, fa_error *error);

/* Forward only: out[r] = f(base[lead_base[r]]) as example lead_example[r] sees it, r < rows.
 * Tables and out are in the backend's memory. */
typedef struct {
    fa_chunks chunks;
    const DLTensor *base;  /* (T): (M, D) */
    const int64_t *target; /* (B, 2)      */
    const int64_t *lead_example, *lead_base;
    double *out;
    int64_t rows;
} fa_forwarding;

fa_status fa_forward(fa_forwarding *job, fa_error *error);

#endif /* FA_SAMPLE_H */
