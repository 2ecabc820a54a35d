/* dense.c -- _core.dense: layers in, a capsule out that the engines evaluate without Python. */
#include "dense.h"

#include "../checksum.h"
#include "borrow.h"
#include "specs.h"

static const char *const capsule_name = "fastattr.dense";

const fa_dense *fa_network_of(PyObject *capsule)
{
    return PyCapsule_IsValid(capsule, capsule_name) ? PyCapsule_GetPointer(capsule, capsule_name)
                                                    : NULL;
}

static void forget(PyObject *capsule)
{
    fa_dense_free(PyCapsule_GetPointer(capsule, capsule_name));
}

PyObject *fa_py_dense(PyObject *module, PyObject *args)
{
    const fa_state *state = PyModule_GetState(module);
    PyObject *items, *result = NULL;
    int head, wide, whole = 0;
    fa_error error;
    fa_status status = FA_EINVAL;
    fa_dense *network = NULL;
    fa_specs specs;
    if (!PyArg_ParseTuple(args, "O!ip|p:dense", &PyTuple_Type, &items, &head, &wide, &whole))
        return NULL;
    if (fa_specs_begin(&specs, state, items, head, wide) < 0) return NULL;
    if (specs.device.device_type > kDLCPU) { /* 0: there are no weights */
        PyErr_SetString(PyExc_ValueError, "layers: expected weights on the CPU");
        goto done;
    }
    status =
        fa_dense_new(&network, specs.dtype, specs.specs, specs.count, specs.head, whole, &error);
    if (status != FA_OK) {
        fa_raise(state, status, &error);
        goto done;
    }
    result = PyCapsule_New(network, capsule_name, forget);
    if (result == NULL) fa_dense_free(network);

done:
    fa_specs_end(&specs);
    return result;
}

PyObject *fa_py_dense_rows(PyObject *module, PyObject *capsule)
{
    (void)module;
    const fa_dense *network = fa_network_of(capsule);
    if (network == NULL) return PyErr_Format(PyExc_TypeError, "expected a network of _core.dense");
    return PyLong_FromLongLong(fa_dense_rows(network));
}

PyObject *fa_py_checksum(PyObject *module, PyObject *arrays)
{
    const fa_state *state = PyModule_GetState(module);
    uint64_t sum = 0;
    if (!PyTuple_Check(arrays)) return PyErr_Format(PyExc_TypeError, "arrays: expected a tuple");
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(arrays); i++) {
        fa_borrow array;
        if (fa_borrow_matrix(&array, state, PyTuple_GET_ITEM(arrays, i), "arrays", 0) < 0) {
            return NULL;
        }
        sum = fa_checksum(sum, fa_data(&array.tensor),
                          fa_numel(&array.tensor) * (array.tensor.dtype.bits / 8));
        fa_release(&array);
    }
    return PyLong_FromUnsignedLongLong(sum);
}
