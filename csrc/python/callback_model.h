/* callback_model.h -- a model that is a Python callable.
 *
 *   callable(rows, gradients, remaining) -> (values, predicted, gradients)
 *
 * The points, index and scalars of the batch lie in buffers that the callable knows; it is
 * told how many rows they hold. values (Q * R elements), predicted (R int64) or None, and a
 * tuple of T gradients (Q * R * D elements each) or Nones for all zero; contiguous, on the
 * engine's device, gradients in the dtype of the points. Any may be of any DLPack framework.
 *
 *   pull(examples, level): see fa_model; examples is a NumPy array (A) int64. */
#ifndef FA_CALLBACK_MODEL_H
#define FA_CALLBACK_MODEL_H

#include "borrow.h"

typedef struct {
    const fa_state *state;
    PyObject *callable;    /* borrowed from the caller for the length of the call */
    PyObject *pull;        /* the same, or NULL                                   */
    PyThreadState *thread; /* saved while the GIL is released                     */
    int64_t inputs;
    fa_borrow values, predicted, gradients[FA_MAX_INPUTS];
} fa_callback_model;

/* `out` for an engine that runs between fa_callback_begin and fa_callback_end, which release
 * and take the GIL. */
void fa_callback_init(fa_callback_model *self, fa_model *out, const fa_state *state,
                      PyObject *callable, PyObject *pull, int64_t inputs);
void fa_callback_begin(fa_callback_model *self);
void fa_callback_end(fa_callback_model *self);

/* function(examples, level), holding the GIL: 0, or -1 with an exception. */
int fa_call_pull(PyObject *function, const int64_t *active, int64_t count, int64_t level);

/* Memory ran out in one of the ways that Python and torch have of saying so. */
int fa_is_out_of_memory(PyObject *exception);

#endif /* FA_CALLBACK_MODEL_H */
