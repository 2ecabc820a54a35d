/* borrow.h -- one tensor argument, borrowed for the length of one call.
 *
 * The producer's object (or its capsule, which is never consumed) is held until release; its
 * own destructor gives the memory back. So the library owns no foreign memory and has no
 * DLPack deleter. Shape and strides are the producer's too: what outlives the GIL is copied. */
#ifndef FA_BORROW_H
#define FA_BORROW_H

#include "core.h"

typedef struct {
    PyObject *owner; /* strong: a capsule or the object itself; NULL = nothing borrowed */
    DLTensor tensor; /* validated, C-contiguous, collapsed to (rows, features)          */
    int64_t shape[2];
    void *stream; /* of a CUDA tensor: where its framework would enqueue work on it */
} fa_borrow;

/* The matrix (first axis, all others flattened) behind `object`: an exact ndarray, a tensor
 * whose type offers the DLPack exchange table, or anything with __dlpack__. A 1-d tensor
 * becomes (n, 1), a 0-d one (1, 1). With `writable`, read-only memory is refused. `name` is
 * the argument's, for messages. Returns 0, or -1 with an exception set. `borrow` need not be
 * initialised; after -1 there is nothing to release. */
int fa_borrow_matrix(fa_borrow *borrow, const fa_state *state, PyObject *object, const char *name,
                     int writable);

/* As above; besides, dtype and the number of elements must be the given ones. */
int fa_borrow_table(fa_borrow *borrow, const fa_state *state, PyObject *object, const char *name,
                    int writable, DLDataType dtype, int64_t numel);

void fa_release(fa_borrow *borrow); /* safe on a zeroed one */

#endif /* FA_BORROW_H */
