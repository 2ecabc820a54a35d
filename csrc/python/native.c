/* native.c -- networks of _core.dense and _core.layers as models of an engine, which runs them
 * without Python but for pending signals. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include "native.h"

#include <time.h>

#include "call.h"

#define FA_SIGNAL_SECONDS 0.1

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

static int check_points(const fa_native *native, const DLTensor *points, int64_t inputs)
{
    const DLDevice here = points[0].device, there = native->device;
    if (inputs != 1 || points[0].shape[1] != native->features ||
        fa_dtype_of(points[0].dtype) != native->dtype || here.device_type != there.device_type ||
        here.device_id != there.device_id) {
        PyErr_Format(PyExc_ValueError, "inputs: expected one of %lld features in %s on the %s",
                     (long long)native->features,
                     native->dtype == FA_FLOAT64 ? "float64" : "float32",
                     there.device_type == kDLCPU ? "CPU" : "device of the weights");
        return -1;
    }
    return 0;
}

int fa_native_of(fa_native *out, PyObject *capsule)
{
    *out = (fa_native){.dense = fa_network_of(capsule), .device = {kDLCPU, 0}};
    if (out->dense != NULL) {
        out->dtype = out->dense->dtype;
        out->features = out->dense->layers[0].in;
        return 1;
    }
    const int found = fa_layers_of(&out->layers, capsule);
    if (found != 1) return found;
    out->device = out->layers.net->device;
    out->dtype = out->layers.net->dtype;
    out->features = out->layers.net->specs[0].in;
    return 1;
}

int fa_native_begin(fa_native_model *self, fa_model *out, const fa_native *native,
                    PyObject *pull_back, const DLTensor *points, int64_t inputs)
{
    if (check_points(native, points, inputs) < 0) return -1;
    self->dense = native->dense != NULL;
    self->layers = native->layers;
    if (self->dense) {
        fa_dense_begin(&self->run, &self->network, native->dense);
    } else {
        fa_layers_begin(&self->layers, &self->network);
    }
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
    if (self->dense) fa_dense_end(&self->run);
}

/* What _core.dense_evaluate was given and gives. */
typedef struct {
    fa_native native;
    const DLTensor *points, *values, *gradients; /* gradients: or NULL */
    int64_t *predicted;
} evaluation;

/* On the CPU the answer is the network's; layers wrote it where it belongs, but for the classes. */
static fa_status take(const evaluation *job, const fa_evaluation *found, fa_error *error)
{
    const int64_t R = job->points->shape[0];
    const fa_backend *backend = &fa_backend_cpu;
    void *stream = NULL;
    if (job->native.dense == NULL) {
        backend = job->native.layers.net->backend;
        stream = job->native.layers.stream;
    } else {
        const size_t item = job->values->dtype.bits / 8u;
        memcpy(fa_data(job->values), fa_data(found->values), (size_t)fa_numel(job->values) * item);
        if (job->gradients != NULL && fa_numel(job->gradients) > 0) {
            memcpy(fa_data(job->gradients), fa_data(found->gradients[0]),
                   (size_t)fa_numel(job->gradients) * item);
        }
    }
    if (found->predicted == NULL) return FA_OK;
    return backend->download(job->predicted, fa_data(found->predicted), 8 * R, stream, error);
}

static fa_status evaluate_once(const evaluation *job, const fa_model *model, const fa_batch *batch,
                               fa_error *error)
{
    fa_evaluation found = {0};
    FA_TRY(model->evaluate(model->self, batch, &found, error));
    const fa_status status = take(job, &found, error);
    model->release(model->self);
    return status;
}

static PyObject *run_once(fa_call *call, evaluation *job, const int64_t *scalars, int64_t Q)
{
    fa_native_model model;
    fa_model interface;
    fa_error error;
    const fa_batch batch = {.rows = job->points->shape[0],
                            .inputs = 1,
                            .points = job->points,
                            .scalars = scalars,
                            .scalar_count = Q,
                            .remaining = job->points->shape[0],
                            .gradients = job->gradients != NULL};
    job->native.layers.values = fa_data(job->values);
    if (job->gradients != NULL) job->native.layers.gradients = fa_data(job->gradients);
    if (fa_native_begin(&model, &interface, &job->native, NULL, job->points, 1) < 0) return NULL;
    const fa_status status = evaluate_once(job, &interface, &batch, &error);
    fa_native_end(&model);
    if (status != FA_OK) return fa_raise(call->state, status, &error);
    return Py_NewRef(call->results[0]);
}

/* Scalars (Q, R, 2) of points (R, D): values (Q, R) and gradients (Q, R, D) or None. */
static PyObject *evaluate_borrowed(fa_call *call, evaluation *job, PyObject *const *a)
{
    const DLTensor *const points = fa_call_matrices(call, a[0], "points", 1, 0);
    if (points == NULL || check_points(&job->native, points, 1) < 0) return NULL;
    const int64_t R = points->shape[0], D = job->native.features;
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
    job->points = points;
    job->values = values;
    job->gradients = gradients;
    job->predicted = fa_call_result(call, R, NPY_INT64);
    return job->predicted != NULL ? run_once(call, job, fa_data(scalars), Q) : NULL;
}

PyObject *fa_py_dense_evaluate(PyObject *module, PyObject *args)
{
    PyObject *capsule, *a[4], *result = NULL;
    evaluation job = {0};
    fa_call call;
    if (!PyArg_ParseTuple(args, "OO!O!O!O:dense_evaluate", &capsule, &PyTuple_Type, &a[0],
                          &PyTuple_Type, &a[1], &PyTuple_Type, &a[2], &a[3])) {
        return NULL;
    }
    const int found = fa_native_of(&job.native, capsule);
    if (found < 0) return NULL;
    if (found == 0) {
        return PyErr_Format(PyExc_TypeError, "expected a network of _core.dense or _core.layers");
    }
    if (fa_call_begin(&call, PyModule_GetState(module), 4) < 0) return NULL;
    result = evaluate_borrowed(&call, &job, a);
    fa_call_end(&call);
    return result;
}
