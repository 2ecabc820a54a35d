/* dense_block.h -- some rows of a dense network, through all layers while they are in cache. */
#ifndef FA_DENSE_BLOCK_H
#define FA_DENSE_BLOCK_H

#include "dense.h"

typedef struct {
    const fa_dense *net;
    int64_t rows, capacity;
    int64_t given;      /* the layers before this one were run by the caller, who left its products,
                           bias included, in fa_block_outputs(b, given); 0: all, from `points`  */
    const char *points; /* (rows, D), if given is 0                                              */
    char *memory;       /* fa_block_row_bytes() for each of `capacity` rows                      */
    int checked;        /* a softmax is known not to be applied to probabilities                 */
    int logits;         /* out: a row was met that is no vector of probabilities                 */
} fa_block;

#define FA_BLOCK_ROWS 256
#define FA_BLOCK_BYTES (640 << 10) /* of a thread's activations: they stay in its second cache */

int64_t fa_block_row_bytes(const fa_dense *net);

/* Rows of a block that a cache holds, of at most `most`. */
int64_t fa_block_capacity(const fa_dense *net, int64_t most);

/* (rows, stride) of layer l: products before fa_block_forward, activations after it. */
char *fa_block_outputs(const fa_block *b, int64_t l);

/* Whether scalars need two rows of the last layer's weights only. */
int fa_block_is_sparse(const fa_block *b);

/* Through all layers and the head; `classes` = 0: but for the last product, if it is not needed. */
void fa_block_forward(fa_block *b, int classes);

/* The class with the largest output of a row, after a forward with `classes`. */
int64_t fa_block_predicted(const fa_block *b, int64_t r);

/* One scalar of every row after the forward: `pairs` (rows, 2), `predicted` (rows) for those that
 * ask for it. Writes `values` (rows), and, if `gradients`, `out` (rows, D); where a layer is given,
 * returns instead the gradients in its products, (rows, its stride) in the block's memory. */
char *fa_block_explain(const fa_block *b, const int64_t *pairs, const int64_t *predicted,
                       void *values, char *out, int gradients);

#endif /* FA_DENSE_BLOCK_H */
