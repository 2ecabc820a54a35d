/* dense.h -- a native model: a chain of dense layers, h = act(W h + b), on the CPU.
 *
 * C outputs, D features of the input; everything of one dtype, float32 or float64. Rows go in
 * blocks through all layers while they are in cache, one block a thread at a time; a row's bits
 * depend neither on the rows beside it nor on threads. */
#ifndef FA_DENSE_H
#define FA_DENSE_H

#include "../cpu/dense.h"

typedef struct {
    int64_t in, out;
    const void *weight; /* (out, in), or NULL: an activation alone, in = out */
    const void *bias;   /* (out), or NULL                                    */
    fa_activate activate;
} fa_layer_spec;

typedef struct {
    int64_t in, out, stride;  /* stride: out in whole vectors                            */
    void *forward, *backward; /* packed weights; NULL without weights                    */
    void *bias;               /* (stride)                                                */
    const void *weight;       /* (out, in), of the last layer; of all if `whole`          */
    void *columns;            /* (in, stride) transposed, where dense_sweep.c needs it    */
    fa_activate activate;
} fa_layer;

typedef struct {
    fa_dtype dtype;
    const fa_dense_ops *ops;
    fa_head head;
    int64_t count;  /* layers */
    int64_t widest; /* stride */
    double flops;   /* of one row, forward and backward */
    fa_layer *layers;
} fa_dense;

static inline int64_t fa_dense_item(const fa_dense *net)
{
    return net->dtype == FA_FLOAT64 ? 8 : 4;
}

/* Copies what it needs; `whole`: all weights as they are, too, for exact.c. `specs` are consistent:
 * each layer takes what the one before gives. */
fa_status fa_dense_new(fa_dense **out, fa_dtype dtype, const fa_layer_spec *specs, int64_t count,
                       fa_head head, int whole, fa_error *error);
void fa_dense_free(fa_dense *net);

/* Rows of a chunk whose points and gradients stay in the caches. */
int64_t fa_dense_rows(const fa_dense *net);

/* One call of a network: its buffers, which grow to the largest chunk. */
typedef struct {
    const fa_dense *net;
    int64_t threads, bytes;
    void *memory; /* (bytes) */
    DLTensor values, gradients, predicted;
    int64_t shapes[3][2];
    int checked; /* that a softmax is not applied to probabilities */
} fa_dense_run;

/* `out` is valid until fa_dense_end. A chunk that finds no memory is FA_ENOMEM. */
void fa_dense_begin(fa_dense_run *run, fa_model *out, const fa_dense *net);
void fa_dense_end(fa_dense_run *run);

#endif /* FA_DENSE_H */
