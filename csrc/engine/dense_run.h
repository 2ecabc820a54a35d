/* dense_run.h -- what the two ways of running a dense network share: rows, and whole lines. */
#ifndef FA_DENSE_RUN_H
#define FA_DENSE_RUN_H

#include "dense_block.h"

#define FA_FLOPS_PER_ELEMENT 64 /* threads are worth waking from 4 MFLOP on */

/* run->memory of at least `bytes`, for so many rows. */
fa_status fa_dense_reserve(fa_dense_run *run, int64_t bytes, int64_t rows, fa_error *error);

/* All of `count` pairs are outputs of the network; whether one asks for the predicted class. */
fa_status fa_dense_check_targets(const fa_dense *net, const int64_t *pairs, int64_t count,
                                 int *predicts, fa_error *error);

/* Called once, with whether any row of the outputs before the softmax was no probabilities. */
fa_status fa_dense_check_logits(fa_dense_run *run, int logits, fa_error *error);

/* What is wrong with such outputs. */
fa_status fa_dense_not_logits(fa_head head, fa_error *error);

/* (rows, columns) at `data`, in the network's dtype. */
void fa_dense_describe(DLTensor *out, int64_t shape[2], void *data, const fa_dense *net,
                       int64_t rows, int64_t columns);

/* dense_sweep.c: whether the network sums along lines, and how; see fa_model. */
int fa_dense_sweeps(const fa_dense *net);
fa_status fa_dense_sweep(void *run, const fa_lines *lines, fa_evaluation *out, fa_error *error);

#endif /* FA_DENSE_RUN_H */
