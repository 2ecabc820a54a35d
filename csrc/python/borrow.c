#include "borrow.h"

/* Where the first description of a tensor comes from, before it is checked. */
typedef struct {
    PyObject *owner;
    const DLTensor *tensor;
    DLTensor own; /* for sources that have no DLTensor of their own */
    int64_t shape[NPY_MAXDIMS], strides[NPY_MAXDIMS];
    int read_only;
} source;

static int from_ndarray(source *out, PyArrayObject *array, const char *name)
{
    const int item = (int)PyArray_ITEMSIZE(array);
    PyArray_Descr *descr = PyArray_DESCR(array);
    const char kind = descr->kind;
    if (item < 1 || item > 8 || strchr("biufc", kind) == NULL || !PyArray_ISNOTSWAPPED(array)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a numeric array in native byte order, got %R",
                     name, descr);
        return -1;
    }
    out->own = (DLTensor){
        .data = PyArray_DATA(array),
        .device = {kDLCPU, 0},
        .ndim = PyArray_NDIM(array),
        .dtype = {(uint8_t)(kind == 'b'   ? kDLBool
                            : kind == 'i' ? kDLInt
                            : kind == 'u' ? kDLUInt
                            : kind == 'f' ? kDLFloat
                                          : kDLComplex),
                  (uint8_t)(8 * item), 1},
        .shape = out->shape,
        .strides = out->strides,
    };
    for (int axis = 0; axis < out->own.ndim; axis++) {
        const npy_intp stride = PyArray_STRIDE(array, axis);
        out->shape[axis] = PyArray_DIM(array, axis);
        out->strides[axis] = stride / item;
        if (stride % item != 0 && out->shape[axis] > 1) {
            PyErr_Format(PyExc_ValueError, "%s: strides are not whole elements; pass a copy", name);
            return -1;
        }
    }
    out->tensor = &out->own;
    out->read_only = !PyArray_ISWRITEABLE(array);
    out->owner = Py_NewRef(array);
    return 0;
}

/* The table that the object's own type offers; not an inherited one, because a subclass may
 * be a wrapper without data. NULL without an exception if there is none. */
static const DLPackExchangeAPI *exchange_table(const fa_state *state, PyObject *object)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *dict = PyType_GetDict(Py_TYPE(object));
#else
    PyObject *dict = Py_XNewRef(Py_TYPE(object)->tp_dict);
#endif
    PyObject *capsule = dict != NULL ? PyDict_GetItemWithError(dict, state->exchange) : NULL;
    if (capsule == NULL && dict != NULL && !PyErr_Occurred()) {
        capsule = PyDict_GetItemWithError(dict, state->exchange_old);
    }
    const DLPackExchangeAPI *table = NULL;
    if (capsule != NULL && PyCapsule_IsValid(capsule, "dlpack_exchange_api")) {
        table = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
    }
    Py_XDECREF(dict);
    if (table == NULL || table->version.major != FA_DLPACK_MAJOR) return NULL;
    return table->dltensor_from_py_no_sync != NULL ? table : NULL;
}

static int from_table(source *out, const DLPackExchangeAPI *table, PyObject *object,
                      const char *name)
{
    out->own = (DLTensor){.data = NULL}; /* what an entry that writes nothing means: no dtype */
    if (table->dltensor_from_py_no_sync(object, &out->own) != 0) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError, "%s: %s gave no view of its memory", name,
                         Py_TYPE(object)->tp_name);
        }
        return -1;
    }
    out->tensor = &out->own;
    out->owner = Py_NewRef(object);
    return 0;
}

/* method(max_version=(1, 1)), or without the argument for producers before 1.0. */
static PyObject *ask_for_capsule(const fa_state *state, PyObject *method)
{
    PyObject *const args[1] = {state->dlpack_version};
    PyObject *capsule = PyObject_Vectorcall(method, args, 0, state->dlpack_names);
    if (capsule == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        capsule = PyObject_CallNoArgs(method);
    }
    return capsule;
}

static int from_capsule(source *out, const fa_state *state, PyObject *object, PyObject *method,
                        const char *name)
{
    out->owner = ask_for_capsule(state, method);
    if (out->owner == NULL) return -1;
    if (PyCapsule_IsValid(out->owner, "dltensor_versioned")) {
        const DLManagedTensorVersioned *managed =
            PyCapsule_GetPointer(out->owner, "dltensor_versioned");
        if (managed->version.major != FA_DLPACK_MAJOR) {
            PyErr_Format(PyExc_TypeError, "%s: expected DLPack version 1, got version %u", name,
                         managed->version.major);
            return -1;
        }
        out->read_only = (managed->flags & FA_DLPACK_READ_ONLY) != 0;
        out->tensor = &managed->dl_tensor;
        return 0;
    }
    if (PyCapsule_IsValid(out->owner, "dltensor")) {
        out->tensor = &((DLManagedTensor *)PyCapsule_GetPointer(out->owner, "dltensor"))->dl_tensor;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s: __dlpack__ of %s returned no DLPack capsule", name,
                 Py_TYPE(object)->tp_name);
    return -1;
}

/* The last door: NumPy's view of an object that has the buffer protocol and nothing else. What
 * NumPy cannot view it would read item by item into an array of its own: that is no door. */
static int from_buffer(source *out, PyObject *object, const char *name)
{
    PyObject *view = PyMemoryView_FromObject(object), *array = NULL;
    int result = -1, direct = 0;
    if (view != NULL) {
        const Py_buffer *buffer = PyMemoryView_GET_BUFFER(view);
        array = PyArray_FromAny(view, NULL, 0, 0, 0, NULL);
        direct = array != NULL &&
                 (buffer->len == 0 || PyArray_DATA((PyArrayObject *)array) == buffer->buf);
    }
    if (direct) {
        result = from_ndarray(out, (PyArrayObject *)array, name);
    } else if (!PyErr_Occurred() || !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Format(PyExc_TypeError, "%s: the buffer of %s is no array of numbers", name,
                     Py_TYPE(object)->tp_name);
    }
    Py_XDECREF(array);
    Py_XDECREF(view);
    return result;
}

static int find_source(source *out, const fa_state *state, PyObject *object, const char *name)
{
    if (PyArray_CheckExact(object)) return from_ndarray(out, (PyArrayObject *)object, name);
    const DLPackExchangeAPI *table = exchange_table(state, object);
    if (table != NULL) return from_table(out, table, object, name);
    if (PyErr_Occurred()) return -1;
    PyObject *method = PyObject_GetAttr(object, state->dlpack);
    if (method != NULL) {
        const int result = from_capsule(out, state, object, method, name);
        Py_DECREF(method);
        return result;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    PyErr_Clear();
    if (PyObject_CheckBuffer(object)) return from_buffer(out, object, name);
    PyErr_Format(PyExc_TypeError,
                 "%s: expected a NumPy array, a torch tensor, or an object with __dlpack__ or the "
                 "buffer protocol, got %s",
                 name, Py_TYPE(object)->tp_name);
    return -1;
}

/* Pinned memory is the host's, managed memory that of the device it was made for. */
static DLDevice where(const DLTensor *tensor)
{
    const DLDevice host = {kDLCPU, 0}, cuda = {kDLCUDA, tensor->device.device_id};
    switch (tensor->device.device_type) {
    case kDLCUDAHost:
        return host;
    case kDLCUDAManaged:
        return cuda;
    default:
        return tensor->device;
    }
}

static void collapse(fa_borrow *borrow, const DLTensor *tensor)
{
    const int64_t numel = fa_numel(tensor);
    borrow->shape[0] = tensor->ndim > 0 ? tensor->shape[0] : 1;
    borrow->shape[1] = 1;
    for (int32_t axis = 1; numel > 0 && axis < tensor->ndim; axis++) {
        borrow->shape[1] *= tensor->shape[axis];
    }
    if (numel == 0 && borrow->shape[0] > 0) borrow->shape[1] = 0;
    borrow->tensor = *tensor;
    borrow->tensor.device = where(tensor);
    borrow->tensor.data = numel > 0 ? fa_data(tensor) : NULL;
    borrow->tensor.byte_offset = 0;
    borrow->tensor.ndim = 2;
    borrow->tensor.shape = borrow->shape;
    borrow->tensor.strides = NULL;
}

/* torch._C._cuda_getCurrentRawStream(device), for versions of torch without the table. */
static PyObject *ask_torch(PyObject *object, int32_t device_id)
{
    PyObject *name = PyUnicode_InternFromString("torch");
    PyObject *torch = name != NULL ? PyImport_GetModule(name) : NULL, *type = NULL, *core = NULL;
    PyObject *answer = NULL;
    if (torch == NULL) goto done;
    type = PyObject_GetAttrString(torch, "Tensor");
    if (type == NULL || PyObject_IsInstance(object, type) != 1) goto done;
    core = PyObject_GetAttrString(torch, "_C");
    if (core == NULL) goto done;
    answer = PyObject_CallMethod(core, "_cuda_getCurrentRawStream", "i", (int)device_id);

done:
    Py_XDECREF(core);
    Py_XDECREF(type);
    Py_XDECREF(torch);
    Py_XDECREF(name);
    return answer;
}

/* The stream that the framework of `object` works on. One without a table and other than torch
 * has made its tensor ready for the default stream, NULL, when it gave the capsule. */
static int find_stream(void **out, const fa_state *state, PyObject *object, int32_t device_id)
{
    const DLPackExchangeAPI *table = exchange_table(state, object);
    if (table != NULL && table->current_work_stream != NULL) {
        if (table->current_work_stream(kDLCUDA, device_id, out) == 0) return 0;
        if (!PyErr_Occurred()) PyErr_SetString(state->BackendError, "no stream of the device");
        return -1;
    }
    PyObject *const answer = PyErr_Occurred() ? NULL : ask_torch(object, device_id);
    if (answer != NULL) *out = PyLong_AsVoidPtr(answer);
    Py_XDECREF(answer);
    return PyErr_Occurred() ? -1 : 0;
}

int fa_borrow_matrix(fa_borrow *borrow, const fa_state *state, PyObject *object, const char *name,
                     int writable)
{
    source from;
    fa_error error;
    from.owner = NULL;
    from.read_only = 0;
    borrow->owner = NULL;
    borrow->stream = NULL;
    if (find_source(&from, state, object, name) < 0) goto done;

    const fa_status status = fa_check_tensor(from.tensor, &error);
    if (status != FA_OK) {
        PyErr_Format(status == FA_ETYPE ? PyExc_TypeError : PyExc_ValueError, "%s: %s", name,
                     error.message);
        goto done;
    }
    if (!fa_is_contiguous(from.tensor)) {
        PyErr_Format(PyExc_ValueError, "%s: expected C-contiguous memory, got strides", name);
        goto done;
    }
    if (fa_numel(from.tensor) > 0 &&
        (uintptr_t)fa_data(from.tensor) % (from.tensor->dtype.bits / 8u)) {
        PyErr_Format(PyExc_ValueError, "%s: expected aligned memory; pass a copy", name);
        goto done;
    }
    if (writable && from.read_only) {
        PyErr_Format(PyExc_ValueError, "%s: expected writable memory, got read-only", name);
        goto done;
    }
    collapse(borrow, from.tensor);
    if (borrow->tensor.device.device_type == kDLCUDA &&
        find_stream(&borrow->stream, state, object, borrow->tensor.device.device_id) < 0) {
        goto done;
    }
    borrow->owner = Py_NewRef(from.owner);

done:
    Py_XDECREF(from.owner);
    return borrow->owner != NULL ? 0 : -1;
}

int fa_borrow_table(fa_borrow *borrow, const fa_state *state, PyObject *object, const char *name,
                    int writable, DLDataType dtype, int64_t numel)
{
    if (fa_borrow_matrix(borrow, state, object, name, writable) < 0) return -1;
    const DLDataType got = borrow->tensor.dtype;
    if (got.code != dtype.code || got.bits != dtype.bits) {
        PyErr_Format(PyExc_TypeError, "%s: expected %s, got %s", name, fa_dtype_name(dtype),
                     fa_dtype_name(got));
        fa_release(borrow);
        return -1;
    }
    if (fa_numel(&borrow->tensor) != numel) {
        PyErr_Format(PyExc_ValueError, "%s: expected %lld elements, got %lld", name,
                     (long long)numel, (long long)fa_numel(&borrow->tensor));
        fa_release(borrow);
        return -1;
    }
    return 0;
}

void fa_release(fa_borrow *borrow) { Py_CLEAR(borrow->owner); }
