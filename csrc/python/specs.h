/* specs.h -- the layers of a dense network as Python gives them, borrowed. */
#ifndef FA_SPECS_H
#define FA_SPECS_H

#include "../engine/dense.h"
#include "borrow.h"

typedef struct {
    fa_dtype dtype;
    DLDevice device; /* of all weights */
    fa_head head;
    int64_t count;
    fa_layer_spec *specs; /* (count) each takes what the one before gives */
    fa_borrow *borrows;   /* (2 count) weights and biases                 */
} fa_specs;

/* `items`: a tuple of (in, out, weight or None, bias or None, activation, a, b); `head` an fa_head;
 * dtype float64 if `wide`, else float32. 0, or -1 with an exception: then nothing is held. */
int fa_specs_begin(fa_specs *out, const fa_state *state, PyObject *items, int head, int wide);
void fa_specs_end(fa_specs *specs); /* safe on a zeroed one */

#endif /* FA_SPECS_H */
