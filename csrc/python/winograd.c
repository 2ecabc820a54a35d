/* winograd.c -- _core.winograd: a filter in, a capsule out, and images through it. */
#include "../cpu/winograd.h"

#include "borrow.h"

#define FA_MOST_SIDE (INT64_C(1) << 24) /* of an image: beyond memory, within arithmetic */

static const char *const capsule_name = "fastattr.winograd";

static void forget(PyObject *capsule)
{
    fa_winograd_free(PyCapsule_GetPointer(capsule, capsule_name));
}

static int check(const fa_borrow *got, const char *name, fa_dtype dtype, int64_t rows,
                 int64_t features)
{
    const DLTensor *tensor = &got->tensor;
    if (tensor->device.device_type != kDLCPU || fa_dtype_of(tensor->dtype) != dtype ||
        got->shape[0] != rows || (rows > 0 && got->shape[1] != features)) {
        PyErr_Format(
            PyExc_ValueError, "%s: expected (%lld, %lld) %s on the CPU, got (%lld, %lld) %s", name,
            (long long)rows, (long long)features, dtype == FA_FLOAT64 ? "float64" : "float32",
            (long long)got->shape[0], (long long)got->shape[1], fa_dtype_name(tensor->dtype));
        return -1;
    }
    return 0;
}

/* weight (out, in, 3, 3) contiguous, bias (out) or None */
PyObject *fa_py_winograd(PyObject *module, PyObject *args)
{
    const fa_state *state = PyModule_GetState(module);
    PyObject *weight_object, *bias_object, *result = NULL;
    fa_borrow weight = {0}, bias = {0};
    fa_winograd *filter = NULL;
    fa_error error;
    if (!PyArg_ParseTuple(args, "OO:winograd", &weight_object, &bias_object)) return NULL;
    if (fa_borrow_matrix(&weight, state, weight_object, "weight", 0) < 0) goto done;
    const fa_dtype dtype = fa_dtype_of(weight.tensor.dtype);
    const int64_t out = weight.shape[0], in = weight.shape[1] / 9;
    if ((dtype != FA_FLOAT32 && dtype != FA_FLOAT64) || out < 1 || in < 1) {
        PyErr_SetString(PyExc_ValueError, "weight: expected (out, in, 3, 3) of float32 or float64");
        goto done;
    }
    if (check(&weight, "weight", dtype, out, 9 * in) < 0) goto done;
    if (bias_object != Py_None && (fa_borrow_matrix(&bias, state, bias_object, "bias", 0) < 0 ||
                                   check(&bias, "bias", dtype, out, 1) < 0)) {
        goto done;
    }
    const fa_status status =
        fa_winograd_new(&filter, dtype, fa_data(&weight.tensor),
                        bias_object != Py_None ? fa_data(&bias.tensor) : NULL, out, in, &error);
    if (status != FA_OK) {
        fa_raise(state, status, &error);
        goto done;
    }
    result = PyCapsule_New(filter, capsule_name, forget);
    if (result == NULL) fa_winograd_free(filter);

done:
    fa_release(&bias);
    fa_release(&weight);
    return result;
}

/* (capsule, in (R, height, width, in), out (R, ..., out), height, width, padding) */
PyObject *fa_py_winograd_run(PyObject *module, PyObject *args)
{
    const fa_state *state = PyModule_GetState(module);
    PyObject *capsule, *from, *to, *result = NULL;
    long long height, width, padding;
    fa_borrow in = {0}, out = {0};
    fa_error error;
    if (!PyArg_ParseTuple(args, "OOOLLL:winograd_run", &capsule, &from, &to, &height, &width,
                          &padding)) {
        return NULL;
    }
    const fa_winograd *filter = PyCapsule_GetPointer(capsule, capsule_name);
    if (filter == NULL) return NULL;
    if (padding < 0 || padding > 2 || height < 3 - 2 * padding || width < 3 - 2 * padding ||
        height < 1 || width < 1 || height > FA_MOST_SIDE || width > FA_MOST_SIDE) {
        PyErr_SetString(PyExc_ValueError, "height: expected an image of 3 x 3 at least, padded");
        return NULL;
    }
    if (fa_borrow_matrix(&in, state, from, "in", 0) < 0 ||
        fa_borrow_matrix(&out, state, to, "out", 1) < 0) {
        goto done;
    }
    const int64_t grown = 2 * padding - 2;
    if (check(&in, "in", filter->dtype, in.shape[0], height * width * filter->in) < 0 ||
        check(&out, "out", filter->dtype, in.shape[0],
              (height + grown) * (width + grown) * filter->out) < 0) {
        goto done;
    }
    const fa_winograd_args call = {.out = fa_data(&out.tensor),
                                   .in = fa_data(&in.tensor),
                                   .rows = in.shape[0],
                                   .height = height,
                                   .width = width,
                                   .padding = padding};
    fa_status status;
    Py_BEGIN_ALLOW_THREADS
    status = fa_winograd_run(filter, &call, &error);
    Py_END_ALLOW_THREADS
    if (status != FA_OK) {
        fa_raise(state, status, &error);
    } else {
        result = Py_NewRef(Py_None);
    }

done:
    fa_release(&out);
    fa_release(&in);
    return result;
}
