/* dense.c -- _core.dense: layers in, a capsule out that the engines evaluate without Python. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include "dense.h"

#include <time.h>

#include "../checksum.h"
#include "call.h"

#define FA_MOST_LAYERS 1024
#define FA_MOST_WIDTH (INT64_C(1) << 28) /* of a layer: beyond memory, within arithmetic */
#define FA_SIGNAL_SECONDS 0.1

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

/* ---- building ---------------------------------------------------------------------------- */

typedef struct {
    fa_layer_spec spec;
    fa_borrow weight, bias;
} layer;

static int borrow_real(fa_borrow *out, const fa_state *state, PyObject *object, const char *name,
                       fa_dtype dtype, int64_t rows, int64_t numel)
{
    if (fa_borrow_matrix(out, state, object, name, 0) < 0) return -1;
    const DLTensor *got = &out->tensor;
    if (got->device.device_type != kDLCPU || fa_dtype_of(got->dtype) != dtype ||
        fa_numel(got) != numel || (numel > 0 && got->shape[0] != rows)) {
        PyErr_Format(PyExc_ValueError, "%s: expected %lld x %lld elements of the network's dtype",
                     name, (long long)rows, (long long)(rows > 0 ? numel / rows : 0));
        return -1;
    }
    return 0;
}

/* (in, out, weight or None, bias or None, activation, a, b) */
static int read_layer(layer *out, const fa_state *state, PyObject *item, fa_dtype dtype,
                      int64_t before)
{
    PyObject *weight, *bias;
    fa_layer_spec *spec = &out->spec;
    long long in, width;
    int kind;
    if (!PyTuple_Check(item) ||
        !PyArg_ParseTuple(item, "LLOOidd:layer", &in, &width, &weight, &bias, &kind,
                          &spec->activate.a, &spec->activate.b)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "layers: expected tuples");
        return -1;
    }
    spec->in = in;
    spec->out = width;
    spec->activate.kind = (fa_activation)kind;
    const int chained = (before < 0 || in == before) && (weight != Py_None || in == width);
    if (in < 0 || width < 0 || in > FA_MOST_WIDTH || width > FA_MOST_WIDTH || !chained ||
        kind < 0 || kind >= FA_ACTIVATIONS) {
        PyErr_SetString(PyExc_ValueError,
                        "layers: expected each to take what the one before gives");
        return -1;
    }
    if (weight != Py_None) {
        if (borrow_real(&out->weight, state, weight, "weight", dtype, width, in * width) < 0)
            return -1;
        spec->weight = fa_data(&out->weight.tensor);
        if (spec->weight == NULL) spec->weight = &spec->in; /* no elements, but a product */
    }
    if (bias != Py_None) {
        if (borrow_real(&out->bias, state, bias, "bias", dtype, width, width) < 0) return -1;
        spec->bias = fa_data(&out->bias.tensor);
    }
    return 0;
}

PyObject *fa_py_dense(PyObject *module, PyObject *args)
{
    const fa_state *state = PyModule_GetState(module);
    PyObject *items, *result = NULL;
    int head, wide, whole = 0;
    fa_error error;
    fa_dense *network = NULL;
    layer *layers = NULL;
    fa_layer_spec *specs = NULL;
    Py_ssize_t count = 0;
    if (!PyArg_ParseTuple(args, "O!ip|p:dense", &PyTuple_Type, &items, &head, &wide, &whole))
        return NULL;
    count = PyTuple_GET_SIZE(items);
    if (count < 1 || count > FA_MOST_LAYERS || head < FA_RAW || head > FA_LOG_SOFTMAX) {
        return PyErr_Format(PyExc_ValueError, "layers: expected 1 to %d", FA_MOST_LAYERS);
    }
    layers = PyMem_Calloc((size_t)count, sizeof(*layers));
    specs = PyMem_Calloc((size_t)count, sizeof(*specs));
    if (layers == NULL || specs == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    const fa_dtype dtype = wide ? FA_FLOAT64 : FA_FLOAT32;
    for (Py_ssize_t l = 0; l < count; l++) {
        const int64_t before = l > 0 ? specs[l - 1].out : -1;
        if (read_layer(&layers[l], state, PyTuple_GET_ITEM(items, l), dtype, before) < 0) goto done;
        specs[l] = layers[l].spec;
    }
    const fa_status status =
        fa_dense_new(&network, dtype, specs, (int64_t)count, (fa_head)head, whole, &error);
    if (status != FA_OK) {
        fa_raise(state, status, &error);
        goto done;
    }
    result = PyCapsule_New(network, capsule_name, forget);
    if (result == NULL) fa_dense_free(network);

done:
    for (Py_ssize_t l = 0; layers != NULL && l < count; l++) {
        fa_release(&layers[l].bias);
        fa_release(&layers[l].weight);
    }
    PyMem_Free(specs);
    PyMem_Free(layers);
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

/* ---- running ----------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static fa_status look_for_signals(fa_native_model *self)
{
    const double now = seconds();
    if (now - self->checked < FA_SIGNAL_SECONDS) return FA_OK;
    self->checked = now;
    PyEval_RestoreThread(self->thread);
    const int interrupted = PyErr_CheckSignals() < 0;
    self->thread = PyEval_SaveThread();
    return interrupted ? FA_EMODEL : FA_OK;
}

static fa_status evaluate(void *context, const fa_batch *batch, fa_evaluation *out, fa_error *error)
{
    fa_native_model *self = context;
    FA_TRY(fa_stand_in_wait(FA_OK, error));
    FA_TRY(self->network.evaluate(self->network.self, batch, out, error));
    return look_for_signals(self);
}

static fa_status sweep(void *context, const fa_lines *lines, fa_evaluation *out, fa_error *error)
{
    fa_native_model *self = context;
    FA_TRY(fa_stand_in_wait(FA_OK, error));
    FA_TRY(self->network.sweep(self->network.self, lines, out, error));
    return look_for_signals(self);
}

/* The answer is the run's, which the next evaluation overwrites: it must have been read. */
static void release(void *self)
{
    fa_error unused;
    (void)self;
    (void)fa_stand_in_wait(FA_OK, &unused); /* what failed is said again at the next wait */
}

static fa_status pull(void *context, const int64_t *active, int64_t count, int64_t level,
                      fa_error *error)
{
    fa_native_model *self = context;
    FA_TRY(fa_stand_in_wait(FA_OK, error));
    PyEval_RestoreThread(self->thread);
    const int failed = fa_call_pull(self->pull, active, count, level) < 0;
    self->thread = PyEval_SaveThread();
    return failed ? FA_EMODEL : FA_OK;
}

static int check_points(const fa_dense *network, const DLTensor *points, int64_t inputs)
{
    const int64_t D = network->layers[0].in;
    if (inputs != 1 || points[0].shape[1] != D || fa_dtype_of(points[0].dtype) != network->dtype ||
        points[0].device.device_type != kDLCPU) {
        PyErr_Format(PyExc_ValueError, "inputs: expected one of %lld features in %s on the CPU",
                     (long long)D, network->dtype == FA_FLOAT64 ? "float64" : "float32");
        return -1;
    }
    return 0;
}

int fa_native_begin(fa_native_model *self, fa_model *out, const fa_dense *network,
                    PyObject *pull_back, const DLTensor *points, int64_t inputs)
{
    if (check_points(network, points, inputs) < 0) return -1;
    fa_dense_begin(&self->run, &self->network, network);
    *out = (fa_model){.self = self, .evaluate = evaluate, .release = release};
    if (pull_back != NULL) out->pull = pull;
    if (self->network.sweep != NULL) out->sweep = sweep;
    self->pull = pull_back;
    self->checked = seconds();
    self->thread = PyEval_SaveThread();
    return 0;
}

void fa_native_end(fa_native_model *self)
{
    PyEval_RestoreThread(self->thread);
    fa_dense_end(&self->run);
}

static fa_status evaluate_once(fa_native_model *model, const fa_model *interface,
                               const fa_batch *batch, const DLTensor *values,
                               const DLTensor *gradients, int64_t *predicted, fa_error *error)
{
    fa_evaluation found = {0};
    FA_TRY(interface->evaluate(model, batch, &found, error));
    const size_t item = values->dtype.bits / 8u;
    memcpy(fa_data(values), fa_data(found.values), (size_t)fa_numel(values) * item);
    if (gradients != NULL && fa_numel(gradients) > 0) {
        memcpy(fa_data(gradients), fa_data(found.gradients[0]), (size_t)fa_numel(gradients) * item);
    }
    if (predicted != NULL && found.predicted != NULL) {
        memcpy(predicted, fa_data(found.predicted), (size_t)batch->rows * 8);
    }
    interface->release(model);
    return FA_OK;
}

/* Scalars (Q, R, 2) of points (R, D): values (Q, R) and gradients (Q, R, D) or None. */
static PyObject *evaluate_borrowed(fa_call *call, const fa_dense *network, PyObject *const *a)
{
    fa_native_model model;
    fa_model interface;
    fa_error error;
    const DLTensor *const points = fa_call_matrices(call, a[0], "points", 1, 0);
    if (points == NULL || check_points(network, points, 1) < 0) return NULL;
    const int64_t R = points->shape[0], D = network->layers[0].in;
    const DLTensor *const scalars = fa_call_matrices(call, a[1], "scalars", 1, 0);
    if (scalars == NULL) return NULL;
    const int64_t Q = R > 0 ? fa_numel(scalars) / (2 * R) : 0;
    if (Q < 1 || Q > FA_MAX_SCALARS) {
        return PyErr_Format(PyExc_ValueError, "scalars: expected 1 to %d for each of %lld rows",
                            FA_MAX_SCALARS, (long long)R);
    }
    if (fa_call_expect(scalars, "scalars", fa_int64, 2 * Q * R) < 0) return NULL;
    const DLTensor *const values = fa_call_matrices(call, a[2], "values", 1, 1);
    if (values == NULL || fa_call_expect(values, "values", points->dtype, Q * R) < 0) return NULL;
    const DLTensor *gradients = NULL;
    if (a[3] != Py_None) {
        gradients = fa_call_matrices(call, a[3], "gradients", 1, 1);
        if (gradients == NULL) return NULL;
        if (fa_call_expect(gradients, "gradients", points->dtype, Q * R * D) < 0) return NULL;
    }
    int64_t *const predicted = fa_call_result(call, R, NPY_INT64);
    if (predicted == NULL) return NULL;
    const fa_batch batch = {.rows = R,
                            .inputs = 1,
                            .points = points,
                            .scalars = fa_data(scalars),
                            .scalar_count = Q,
                            .remaining = R,
                            .gradients = gradients != NULL};
    if (fa_native_begin(&model, &interface, network, NULL, points, 1) < 0) return NULL;
    const fa_status status =
        evaluate_once(&model, &interface, &batch, values, gradients, predicted, &error);
    fa_native_end(&model);
    if (status != FA_OK) return fa_raise(call->state, status, &error);
    return Py_NewRef(call->results[0]);
}

PyObject *fa_py_dense_evaluate(PyObject *module, PyObject *args)
{
    PyObject *capsule, *a[4], *result = NULL;
    fa_call call;
    if (!PyArg_ParseTuple(args, "OO!O!O!O:dense_evaluate", &capsule, &PyTuple_Type, &a[0],
                          &PyTuple_Type, &a[1], &PyTuple_Type, &a[2], &a[3])) {
        return NULL;
    }
    const fa_dense *network = fa_network_of(capsule);
    if (network == NULL) return PyErr_Format(PyExc_TypeError, "expected a network of _core.dense");
    if (fa_call_begin(&call, PyModule_GetState(module), 4) < 0) return NULL;
    result = evaluate_borrowed(&call, network, a);
    fa_call_end(&call);
    return result;
}
