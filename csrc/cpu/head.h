/* head.h -- what comes behind the last layer: C outputs of one row, float32 or float64. */
#ifndef FA_CPU_HEAD_H
#define FA_CPU_HEAD_H

#include "cpu.h"

/* The class of the largest output. NaN counts as the largest, as torch has it. */
int64_t fa_largest(fa_dtype dtype, const void *row, int64_t C);

/* Whether a softmax would be applied to these outputs a second time. */
int fa_are_probabilities(fa_dtype dtype, const void *row, int64_t C);

/* Outputs z become softmax(z) or its logarithm. */
void fa_apply_head(fa_dtype dtype, void *row, int64_t C, fa_head head);

/* Outputs z behind the head: z[plus] - z[minus] (-1: none), and its gradient in the outputs before
 * the head into `delta` (C), unless that is NULL. */
double fa_pick_output(fa_dtype dtype, void *delta, const void *row, int64_t C,
                      const int64_t picked[2], fa_head head);

#endif /* FA_CPU_HEAD_H */
