#include "call.h"

#include "native.h"

const DLDataType fa_int64 = {kDLInt, 64, 1};
const DLDataType fa_uint8 = {kDLUInt, 8, 1};
const DLDataType fa_float64 = {kDLFloat, 64, 1};

int fa_call_begin(fa_call *call, const fa_state *state, int64_t tensors)
{
    *call = (fa_call){.state = state, .capacity = tensors};
    call->borrows = PyMem_Calloc((size_t)tensors, sizeof(fa_borrow));
    call->views = PyMem_Calloc((size_t)tensors, sizeof(DLTensor));
    if (call->borrows != NULL && call->views != NULL) return 0;
    fa_call_end(call);
    PyErr_NoMemory();
    return -1;
}

void fa_call_end(fa_call *call)
{
    while (call->result_count > 0) Py_DECREF(call->results[--call->result_count]);
    while (call->used > 0) fa_release(&call->borrows[--call->used]);
    PyMem_Free(call->views);
    PyMem_Free(call->borrows);
    call->views = NULL;
    call->borrows = NULL;
}

static int fail(const char *name, int64_t t, const char *expected)
{
    PyErr_Format(PyExc_ValueError, "%s[%lld]: expected %s", name, (long long)t, expected);
    return -1;
}

/* a * b, or the largest number, which no tensor has, if that does not fit. */
static int64_t product(int64_t a, int64_t b)
{
    int64_t result = 0;
    return __builtin_mul_overflow(a, b, &result) ? INT64_MAX : result;
}

static DLTensor *borrow(fa_call *call, PyObject *object, const char *name, int writable)
{
    const DLDevice want = call->views[0].device;
    fa_borrow *slot = &call->borrows[call->used];
    DLTensor *view = &call->views[call->used];
    if (call->used == call->capacity) {
        PyErr_Format(PyExc_SystemError, "%s: a call borrows at most %lld tensors", name,
                     (long long)call->capacity);
        return NULL;
    }
    if (fa_borrow_matrix(slot, call->state, object, name, writable) < 0) return NULL;
    *view = slot->tensor;
    if (call->used++ > 0 && (view->device.device_type != want.device_type ||
                             view->device.device_id != want.device_id)) {
        PyErr_Format(PyExc_ValueError, "%s: expected device (%d, %d) like inputs[0], got (%d, %d)",
                     name, want.device_type, want.device_id, view->device.device_type,
                     view->device.device_id);
        return NULL;
    }
    return view;
}

DLTensor *fa_call_matrices(fa_call *call, PyObject *tuple, const char *name, int64_t count,
                           int writable)
{
    DLTensor *const first = &call->views[call->used];
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != count) {
        PyErr_Format(PyTuple_Check(tuple) ? PyExc_ValueError : PyExc_TypeError,
                     "%s: expected a tuple of %lld tensors", name, (long long)count);
        return NULL;
    }
    for (int64_t t = 0; t < count; t++) {
        if (borrow(call, PyTuple_GET_ITEM(tuple, t), name, writable) == NULL) return NULL;
    }
    return first;
}

int fa_call_expect(const DLTensor *tensor, const char *name, DLDataType dtype, int64_t numel)
{
    if (tensor->dtype.code != dtype.code || tensor->dtype.bits != dtype.bits) {
        PyErr_Format(PyExc_TypeError, "%s: expected %s, got %s", name, fa_dtype_name(dtype),
                     fa_dtype_name(tensor->dtype));
        return -1;
    }
    if (fa_numel(tensor) != numel) {
        PyErr_Format(PyExc_ValueError, "%s: expected %lld elements, got %lld", name,
                     (long long)numel, (long long)fa_numel(tensor));
        return -1;
    }
    return 0;
}

void *fa_call_table(fa_call *call, PyObject *object, const char *name, int writable,
                    DLDataType dtype, int64_t numel)
{
    static int64_t empty; /* what a table of no elements points to */
    const DLTensor *table = borrow(call, object, name, writable);
    if (table == NULL || fa_call_expect(table, name, dtype, numel) < 0) return NULL;
    if ((uintptr_t)fa_data(table) % sizeof(int64_t) != 0) { /* bytes of scratch hold such */
        PyErr_Format(PyExc_ValueError, "%s: expected memory aligned to 8 bytes", name);
        return NULL;
    }
    return numel > 0 ? fa_data(table) : (void *)&empty;
}

void *fa_call_result(fa_call *call, int64_t n, int type)
{
    npy_intp shape[1] = {n};
    PyObject *array = PyArray_ZEROS(1, shape, type, 0);
    if (array == NULL) return NULL;
    call->results[call->result_count++] = array;
    return PyArray_DATA((PyArrayObject *)array);
}

DLTensor *fa_call_inputs(fa_call *call, PyObject *tuple, const char *name, int64_t *count)
{
    *count = PyTuple_Check(tuple) ? PyTuple_GET_SIZE(tuple) : 0;
    if (*count < 1 || *count > FA_MAX_INPUTS) {
        PyErr_Format(PyTuple_Check(tuple) ? PyExc_ValueError : PyExc_TypeError,
                     "%s: expected a tuple of 1 to %d tensors", name, FA_MAX_INPUTS);
        return NULL;
    }
    DLTensor *const inputs = fa_call_matrices(call, tuple, name, *count, 0);
    for (int64_t t = 0; inputs != NULL && t < *count; t++) {
        if (fa_dtype_of(inputs[t].dtype) == FA_OTHER) {
            PyErr_Format(PyExc_TypeError, "%s[%lld]: expected a floating dtype, got %s", name,
                         (long long)t, fa_dtype_name(inputs[t].dtype));
            return NULL;
        }
        if (inputs[t].shape[0] != inputs[0].shape[0] || inputs[t].shape[0] > FA_MOST_ROWS) {
            fail(name, t, "as many rows as the first, at most 2**40");
            return NULL;
        }
    }
    return inputs;
}

DLTensor *fa_call_bases(fa_call *call, PyObject *tuple, const char *name, const DLTensor *inputs,
                        int64_t count, int64_t rows)
{
    DLTensor *const bases = fa_call_matrices(call, tuple, name, count, 0);
    for (int64_t t = 0; bases != NULL && t < count; t++) {
        const int64_t got = bases[t].shape[0];
        if ((rows >= 0 ? got != 1 && got != rows : got != bases[0].shape[0]) ||
            bases[t].shape[1] != inputs[t].shape[1] ||
            fa_dtype_of(bases[t].dtype) != fa_dtype_of(inputs[t].dtype)) {
            fail(name, t, "shape (B, ...) or (1, ...) and dtype of the input");
            return NULL;
        }
    }
    return bases;
}

DLTensor *fa_call_sums(fa_call *call, PyObject *tuple, const char *name, const DLTensor *inputs,
                       int64_t count, int64_t levels)
{
    DLTensor *const sums = fa_call_matrices(call, tuple, name, count, 1);
    for (int64_t t = 0; sums != NULL && t < count; t++) {
        const DLDataType dtype = {kDLFloat, (uint8_t)(inputs[t].dtype.bits == 64 ? 64 : 32), 1};
        if (fa_call_expect(&sums[t], name, dtype, product(levels, fa_numel(&inputs[t]))) < 0) {
            return NULL;
        }
    }
    return sums;
}

DLTensor *fa_call_buffers(fa_call *call, PyObject *tuple, const char *name, const DLTensor *inputs,
                          int64_t count, int64_t rows)
{
    const int64_t first = call->used;
    DLTensor *const buffers = fa_call_matrices(call, tuple, name, count, 1);
    for (int64_t t = 0; buffers != NULL && t < count; t++) {
        const int64_t D = inputs[t].shape[1];
        if (fa_call_expect(&buffers[t], name, inputs[t].dtype, product(rows, D)) < 0) return NULL;
        call->borrows[first + t].shape[0] = rows;
        call->borrows[first + t].shape[1] = D;
    }
    return buffers;
}

int fa_call_chunks(fa_call *call, fa_chunks *out, PyObject *points, PyObject *index,
                   PyObject *scalars, int64_t rows, int64_t pairs, const DLTensor *inputs,
                   int64_t count)
{
    fa_error error;
    if (rows < 1 || rows > FA_MOST_ROWS) {
        PyErr_Format(PyExc_ValueError, "rows: expected 1 to 2**40, got %lld", (long long)rows);
        return -1;
    }
    out->inputs = count;
    out->rows = rows;
    out->scalar_count = 1;
    out->stream = call->borrows[0].stream;
    out->points = fa_call_buffers(call, points, "points", inputs, count, rows);
    if (out->points == NULL) return -1;
    out->index = fa_call_table(call, index, "index", 1, fa_int64, rows);
    if (out->index == NULL) return -1;
    out->scalars = fa_call_table(call, scalars, "scalars", 1, fa_int64, 2 * pairs);
    if (out->scalars == NULL) return -1;
    const fa_status status = fa_backend_of_tensors(&out->backend, inputs[0].device, &error);
    if (status != FA_OK) fa_raise(call->state, status, &error);
    return status == FA_OK ? 0 : -1;
}

int fa_call_run(fa_call *call, fa_chunks *chunks, PyObject *evaluate,
                fa_status (*engine)(void *job, fa_error *error), void *job)
{
    fa_native network;
    fa_callback_model callback;
    fa_native_model native;
    fa_model interface;
    fa_error error;
    fa_status status;
    const int found = fa_native_of(&network, evaluate);
    if (found < 0) return -1;
    chunks->model = &interface;
    if (found) {
        if (fa_native_begin(&native, &interface, &network, call->pull, chunks->points,
                            chunks->inputs) < 0) {
            return -1;
        }
        status = fa_stand_in_wait(engine(job, &error), &error);
        fa_native_end(&native);
    } else {
        fa_callback_init(&callback, &interface, call->state, evaluate, call->pull, chunks->inputs);
        fa_callback_begin(&callback);
        status = fa_stand_in_wait(engine(job, &error), &error);
        fa_callback_end(&callback);
    }
    if (status != FA_OK) fa_raise(call->state, status, &error);
    return status == FA_OK ? 0 : -1;
}
