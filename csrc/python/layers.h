/* layers.h -- networks that go layer by layer where their weights lie, as Python has them. */
#ifndef FA_PYTHON_LAYERS_H
#define FA_PYTHON_LAYERS_H

#include "../engine/layers.h"
#include "core.h"

/* Fill `run` for a capsule of _core.layers that was given memory. 1; 0, without an exception, if
 * the object is none; -1 with one if it is, but has no memory yet. */
int fa_layers_of(fa_layers_run *run, PyObject *capsule);

#endif /* FA_PYTHON_LAYERS_H */
