#include "specs.h"

#define FA_MOST_LAYERS 1024
#define FA_MOST_WIDTH (INT64_C(1) << 28) /* of a layer: beyond memory, within arithmetic */

/* The first tensor says where all must be. */
static int borrow_real(fa_specs *specs, fa_borrow *out, const fa_state *state, PyObject *object,
                       const char *name, int64_t rows, int64_t numel)
{
    if (fa_borrow_matrix(out, state, object, name, 0) < 0) return -1;
    const DLTensor *got = &out->tensor;
    if (specs->device.device_type == 0) specs->device = got->device;
    if (got->device.device_type != specs->device.device_type ||
        got->device.device_id != specs->device.device_id ||
        fa_dtype_of(got->dtype) != specs->dtype || fa_numel(got) != numel ||
        (numel > 0 && got->shape[0] != rows)) {
        PyErr_Format(PyExc_ValueError,
                     "%s: expected %lld x %lld elements of the network's dtype, on its device",
                     name, (long long)rows, (long long)(rows > 0 ? numel / rows : 0));
        return -1;
    }
    return 0;
}

static int read_layer(fa_specs *specs, int64_t l, const fa_state *state, PyObject *item)
{
    PyObject *weight, *bias;
    fa_layer_spec *spec = &specs->specs[l];
    fa_borrow *const borrows = &specs->borrows[2 * l];
    long long in, out;
    int kind;
    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "LLOOidd:layer", &in, &out, &weight, &bias,
                                                  &kind, &spec->activate.a, &spec->activate.b)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "layers: expected tuples");
        return -1;
    }
    spec->in = in;
    spec->out = out;
    spec->activate.kind = (fa_activation)kind;
    const int chained =
        (l == 0 || in == specs->specs[l - 1].out) && (weight != Py_None || in == out);
    if (in < 0 || out < 0 || in > FA_MOST_WIDTH || out > FA_MOST_WIDTH || !chained || kind < 0 ||
        kind >= FA_ACTIVATIONS) {
        PyErr_SetString(PyExc_ValueError,
                        "layers: expected each to take what the one before gives");
        return -1;
    }
    if (weight != Py_None) {
        if (borrow_real(specs, &borrows[0], state, weight, "weight", out, in * out) < 0) return -1;
        spec->weight = fa_data(&borrows[0].tensor);
        if (spec->weight == NULL) spec->weight = &spec->in; /* no elements, but a product */
    }
    if (bias != Py_None) {
        if (borrow_real(specs, &borrows[1], state, bias, "bias", out, out) < 0) return -1;
        spec->bias = fa_data(&borrows[1].tensor);
    }
    return 0;
}

int fa_specs_begin(fa_specs *out, const fa_state *state, PyObject *items, int head, int wide)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(items);
    int result = -1;
    *out = (fa_specs){.dtype = wide ? FA_FLOAT64 : FA_FLOAT32, .head = (fa_head)head};
    if (count < 1 || count > FA_MOST_LAYERS || head < FA_RAW || head > FA_LOG_SOFTMAX) {
        PyErr_Format(PyExc_ValueError, "layers: expected 1 to %d", FA_MOST_LAYERS);
        return -1;
    }
    out->specs = PyMem_Calloc((size_t)count, sizeof(*out->specs));
    out->borrows = PyMem_Calloc(2 * (size_t)count, sizeof(*out->borrows));
    if (out->specs == NULL || out->borrows == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    out->count = (int64_t)count;
    for (int64_t l = 0; l < out->count; l++) {
        if (read_layer(out, l, state, PyTuple_GET_ITEM(items, l)) < 0) goto done;
    }
    result = 0;

done:
    if (result < 0) fa_specs_end(out);
    return result;
}

void fa_specs_end(fa_specs *specs)
{
    for (int64_t i = 2 * specs->count; i-- > 0;) fa_release(&specs->borrows[i]);
    PyMem_Free(specs->borrows);
    PyMem_Free(specs->specs);
    *specs = (fa_specs){0};
}
