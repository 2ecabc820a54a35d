/* core.h -- what the files of the binding share: module state, errors, the NumPy API. */
#ifndef FA_CORE_H
#define FA_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../fastattr.h"

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL fastattr_array_api
#ifndef FA_IMPORTS_NUMPY /* module.c does, once */
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

typedef struct {
    PyObject *BackendError;
    PyObject *dlpack;         /* interned "__dlpack__"             */
    PyObject *exchange;       /* interned "__dlpack_c_exchange_api__" */
    PyObject *exchange_old;   /* its name before DLPack 1.3        */
    PyObject *dlpack_names;   /* ("max_version",)                  */
    PyObject *dlpack_version; /* (1, 1)                            */
} fa_state;

/* Set the Python exception of a status. FA_EMODEL: it is set already. Returns NULL. */
PyObject *fa_raise(const fa_state *state, fa_status status, const fa_error *error);

/* quadrature.c: "gauss_legendre", ... to fa_rule; -1 with a ValueError for other names. */
int fa_rule_from_name(const char *name);

/* stand_in.c: the backend for tensors on `device`. In tests another one may stand in for the
 * CPU's, whose work is done only when somebody waits for it: before others look at memory, which is
 * when fa_stand_in_wait is called; it returns the first of the two statuses that is none of FA_OK.
 */
fa_status fa_backend_of_tensors(const fa_backend **out, DLDevice device, fa_error *error);
fa_status fa_stand_in_open(fa_error *error);
fa_status fa_stand_in_wait(fa_status so_far, fa_error *error);

/* The exported functions, one file each. */
PyObject *fa_py_stand_in(PyObject *module, PyObject *unused);
PyObject *fa_py_integrate(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *fa_py_integrate_plan(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *fa_py_quadrature(PyObject *module, PyObject *args);
PyObject *fa_py_require_device(PyObject *module, PyObject *args);
PyObject *fa_py_cuda_backend(PyObject *module, PyObject *unused);
PyObject *fa_py_sample(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *fa_py_sample_scratch(PyObject *module, PyObject *args);
PyObject *fa_py_ascend(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *fa_py_ascend_plan(PyObject *module, PyObject *args);
PyObject *fa_py_forward(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *fa_py_drawn_references(PyObject *module, PyObject *args);
PyObject *fa_py_philox(PyObject *module, PyObject *args);
PyObject *fa_py_normal(PyObject *module, PyObject *bits);
PyObject *fa_py_noisy(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *fa_py_dense(PyObject *module, PyObject *args);
PyObject *fa_py_dense_rows(PyObject *module, PyObject *capsule);
PyObject *fa_py_dense_evaluate(PyObject *module, PyObject *args);
PyObject *fa_py_layers(PyObject *module, PyObject *args);
PyObject *fa_py_layers_bytes(PyObject *module, PyObject *args);
PyObject *fa_py_layers_bind(PyObject *module, PyObject *args);
PyObject *fa_py_checksum(PyObject *module, PyObject *arrays);
PyObject *fa_py_exact(PyObject *module, PyObject *args);
PyObject *fa_py_exact_applies(PyObject *module, PyObject *capsule);
PyObject *fa_py_gemm(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *fa_py_winograd(PyObject *module, PyObject *args);
PyObject *fa_py_winograd_run(PyObject *module, PyObject *args);
PyObject *fa_py_use_blas(PyObject *module, PyObject *wanted);

#endif /* FA_CORE_H */
