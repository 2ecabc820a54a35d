/* devices.c -- _core.require_device and cuda_backend: what computes where. */
#include "../backend.h"
#include "core.h"

PyObject *fa_py_require_device(PyObject *module, PyObject *args)
{
    const fa_backend *backend;
    fa_error error;
    int type, id;
    if (!PyArg_ParseTuple(args, "ii:require_device", &type, &id)) return NULL;
    const fa_status status = fa_backend_for(&backend, (DLDevice){type, id}, &error);
    if (status != FA_OK) return fa_raise(PyModule_GetState(module), status, &error);
    Py_RETURN_NONE;
}

PyObject *fa_py_cuda_backend(PyObject *module, PyObject *unused)
{
    const fa_backend *backend;
    fa_error error;
    (void)module;
    (void)unused;
    if (fa_backend_cuda(&backend, &error) != FA_OK) {
        return Py_BuildValue("(Os)", Py_None, error.message);
    }
    if (backend->ready(0, &error) != FA_OK) {
        return Py_BuildValue("(ss)", backend->built_for, error.message);
    }
    return Py_BuildValue("(sO)", backend->built_for, Py_None);
}
