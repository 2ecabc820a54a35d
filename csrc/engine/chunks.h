/* chunks.h -- the inner loop of every engine: rows into buffers, model, sums; in bounded memory. */
#ifndef FA_CHUNKS_H
#define FA_CHUNKS_H

#include "../fastattr.h"

/* What evaluating rows takes. Buffers are in the backend's memory and are reused. */
typedef struct {
    const fa_backend *backend;
    void *stream;
    const fa_model *model;
    int64_t inputs;       /* T                                                           */
    DLTensor *points;     /* (T): (rows, D)                                              */
    int64_t *index;       /* (rows)                                                      */
    int64_t *scalars;     /* (Q, rows, 2)                                                */
    int64_t rows;         /* at most so many a chunk; lowered when memory runs out       */
    int64_t scalar_count; /* Q */
    int64_t unfinished;   /* what the model is told to remain, where that is not rows; or 0 */
} fa_chunks;

/* Rows first .. first + count - 1 of a pass. */
typedef struct {
    void *context;
    /* Write their points (T tensors of `count` rows), index and scalars. */
    fa_status (*generate)(void *context, DLTensor *points, int64_t first, int64_t count,
                          fa_error *error);
    /* Take the model's answer for them. Chunks come in ascending order. */
    fa_status (*consume)(void *context, const fa_evaluation *answer, int64_t first, int64_t count,
                         fa_error *error);
} fa_steps;

/* Rows 0 .. total - 1 in chunks of nearly equal size. A chunk for which the model has no memory
 * is halved, for the rest of the call, and asked for again: nothing was consumed. */
fa_status fa_run_rows(fa_chunks *chunks, const fa_steps *steps, int64_t total, int gradients,
                      fa_error *error);

#endif /* FA_CHUNKS_H */
