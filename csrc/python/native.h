/* native.h -- what an engine takes for a callable and runs without Python: a network in blocks of
 * _core.dense, on the CPU, or one layer by layer of _core.layers. */
#ifndef FA_NATIVE_H
#define FA_NATIVE_H

#include "dense.h"
#include "layers.h"

typedef struct {
    const fa_dense *dense; /* or NULL: then layers */
    fa_layers_run layers;
    DLDevice device;
    fa_dtype dtype;
    int64_t features;
} fa_native;

/* 1; 0, without an exception, if the object is neither; -1 with one. */
int fa_native_of(fa_native *out, PyObject *capsule);

/* A model for an engine that runs between fa_native_begin and fa_native_end, which release and
 * take the GIL. Nothing of Python is touched between them but `pull`, once a level, and pending
 * signals, ten times a second. */
typedef struct {
    int dense;
    fa_dense_run run;
    fa_layers_run layers;
    fa_model network;
    PyObject *pull; /* as in fa_callback_model */
    PyThreadState *thread;
    double checked; /* seconds */
} fa_native_model;

/* 0, or -1 with an exception if the network does not take these inputs. */
int fa_native_begin(fa_native_model *self, fa_model *out, const fa_native *native, PyObject *pull,
                    const DLTensor *points, int64_t inputs);
void fa_native_end(fa_native_model *self);

#endif /* FA_NATIVE_H */
