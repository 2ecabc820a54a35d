/* dense.h -- native networks of the CPU as Python has them: capsules. */
#ifndef FA_PYTHON_DENSE_H
#define FA_PYTHON_DENSE_H

#include "../engine/dense.h"
#include "core.h"

/* The network of a capsule, or NULL, without an exception, if it is none. */
const fa_dense *fa_network_of(PyObject *capsule);

#endif /* FA_PYTHON_DENSE_H */
