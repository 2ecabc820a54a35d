/* call.h -- what every engine's entry point does with its arguments.
 *
 * A call owns, until fa_call_end: borrowed tensors, the DLTensor views that engines read, and
 * result arrays. The first tensor borrowed fixes the device; the others must lie there too.
 * Functions that return a pointer return NULL with an exception set; later steps of a call
 * may be skipped then. */
#ifndef FA_CALL_H
#define FA_CALL_H

#include "../engine/chunks.h"
#include "callback_model.h"

#define FA_CALL_RESULTS 8
#define FA_MOST_ROWS (INT64_C(1) << 40) /* of any tensor: far beyond memory, within arithmetic */

typedef struct {
    const fa_state *state;
    int64_t used, capacity;
    fa_borrow *borrows; /* (capacity); never moved: views point into it */
    DLTensor *views;    /* (capacity), in the same order                */
    PyObject *results[FA_CALL_RESULTS];
    int result_count;
    PyObject *pull; /* borrowed: how the model pulls back, or NULL */
} fa_call;

/* `tensors` is the most that the call will borrow. 0, or -1 with an exception. */
int fa_call_begin(fa_call *call, const fa_state *state, int64_t tensors);
void fa_call_end(fa_call *call);

/* T tensors (rows, D) of a tuple, in a row; T from `count`. */
DLTensor *fa_call_matrices(fa_call *call, PyObject *tuple, const char *name, int64_t count,
                           int writable);

/* The data of a table of `numel` elements. */
void *fa_call_table(fa_call *call, PyObject *object, const char *name, int writable,
                    DLDataType dtype, int64_t numel);

/* Exact dtype and number of elements of tensor t of a tuple. 0, or -1 with an exception. */
int fa_call_expect(const DLTensor *tensor, const char *name, DLDataType dtype, int64_t numel);

/* A zeroed NumPy result (n,) of type NPY_DOUBLE, NPY_INT64 or NPY_UINT8: its data. */
void *fa_call_result(fa_call *call, int64_t n, int type);

/* Model inputs: a tuple of 1 to FA_MAX_INPUTS tensors of floating dtype, with `rows` rows each
 * (any number, but the same, if -1). */
DLTensor *fa_call_inputs(fa_call *call, PyObject *tuple, const char *name, int64_t *count);

/* Baselines like `inputs`: same dtype and features; 1 row, `rows` rows, or any number if -1. */
DLTensor *fa_call_bases(fa_call *call, PyObject *tuple, const char *name, const DLTensor *inputs,
                        int64_t count, int64_t rows);

/* Accumulators like `inputs`, (levels, rows of the input, D) of the accumulating type. */
DLTensor *fa_call_sums(fa_call *call, PyObject *tuple, const char *name, const DLTensor *inputs,
                       int64_t count, int64_t levels);

/* Row buffers like `inputs`, (rows, D) of the same type. */
DLTensor *fa_call_buffers(fa_call *call, PyObject *tuple, const char *name, const DLTensor *inputs,
                          int64_t count, int64_t rows);

/* The buffers of the chunk loop, and the backend of the call's device. `pairs` is the size of
 * `scalars`: one pair of classes for every row and scalar. 0 or -1. */
int fa_call_chunks(fa_call *call, fa_chunks *out, PyObject *points, PyObject *index,
                   PyObject *scalars, int64_t rows, int64_t pairs, const DLTensor *inputs,
                   int64_t count);

/* Run `engine(job)` with the GIL released; `evaluate` is a callable or a network of _core.dense. 0,
 * or -1 with an exception. */
int fa_call_run(fa_call *call, fa_chunks *chunks, PyObject *evaluate,
                fa_status (*engine)(void *job, fa_error *error), void *job);

extern const DLDataType fa_int64, fa_uint8, fa_float64;

#endif /* FA_CALL_H */
