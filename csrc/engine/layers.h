/* layers.h -- a native model, layer by layer through a backend: dense.h where the tensors live.
 *
 * Weights are read where they are, never copied; memory for the layers comes from the caller. */
#ifndef FA_ENGINE_LAYERS_H
#define FA_ENGINE_LAYERS_H

#include "dense.h"

typedef struct {
    const fa_backend *backend;
    DLDevice device;
    fa_dtype dtype; /* float32 or float64 */
    fa_head head;
    int64_t count;              /* layers                                                     */
    const fa_layer_spec *specs; /* weights and biases in the backend's memory; the last layer
                                   has at least one output                                    */
} fa_layers;

/* Bytes for `rows` rows of `pairs` scalars in all; INT64_MAX if they cannot be counted. */
int64_t fa_layers_bytes(const fa_layers *net, int64_t rows, int64_t pairs);

/* One call of it. */
typedef struct {
    const fa_layers *net;
    void *stream;
    void *memory; /* fa_layers_bytes(rows, pairs), aligned as the framework aligns     */
    int64_t rows, pairs;
    void *values, *gradients; /* where the answers go, or NULL: into `memory` */
    DLTensor answers[3];
    int64_t shapes[3][2];
    int checked; /* that a softmax is not applied to probabilities */
} fa_layers_run;

/* `out` asks `run`, which the caller filled but for answers, shapes and checked. */
void fa_layers_begin(fa_layers_run *run, fa_model *out);

#endif /* FA_ENGINE_LAYERS_H */
