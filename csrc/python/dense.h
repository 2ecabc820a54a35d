/* dense.h -- native networks as Python has them: a capsule that an engine takes for a callable. */
#ifndef FA_PYTHON_DENSE_H
#define FA_PYTHON_DENSE_H

#include "../engine/dense.h"
#include "core.h"

/* A model for an engine that runs between fa_native_begin and fa_native_end, which release and
 * take the GIL. Nothing of Python is touched between them but `pull`, once a level, and pending
 * signals, ten times a second.
 */
typedef struct {
    fa_dense_run run;
    fa_model network;
    PyObject *pull; /* as in fa_callback_model */
    PyThreadState *thread;
    double checked; /* seconds */
} fa_native_model;

/* The network of a capsule, or NULL, without an exception, if it is none. */
const fa_dense *fa_network_of(PyObject *capsule);

/* 0, or -1 with an exception if the network does not take these inputs. */
int fa_native_begin(fa_native_model *self, fa_model *out, const fa_dense *network, PyObject *pull,
                    const DLTensor *points, int64_t inputs);
void fa_native_end(fa_native_model *self);

#endif /* FA_PYTHON_DENSE_H */
