/* sample.c -- _core.sample, forward and drawn_references: arguments in, engine, arrays out. */
#include "../engine/sample.h"
#include "../draws.h"
#include "call.h"

static const int64_t most_draws = INT64_C(1) << 30; /* fa_permute's domain */

typedef struct {
    PyObject *evaluate, *inputs, *bases, *points, *starts, *means, *deviations;
    PyObject *index, *scalars, *target, *ids, *stdev, *scratch;
    long long rows, references;
    unsigned long long seed;
} arguments;

static int parse(arguments *a, fa_sampling *job, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"evaluate", "inputs",     "bases",      "points",     "starts",
                            "means",    "deviations", "index",      "scalars",    "target",
                            "ids",      "stdev",      "scratch",    "rows",       "draws",
                            "seed",     "references", "along_path", "stratified", "predict",
                            "multiply", "square",     "variance",   NULL};
    long long draws;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOOOOOOOLLKLpppppp:sample", names,
                                     &a->evaluate, &a->inputs, &a->bases, &a->points, &a->starts,
                                     &a->means, &a->deviations, &a->index, &a->scalars, &a->target,
                                     &a->ids, &a->stdev, &a->scratch, &a->rows, &draws, &a->seed,
                                     &a->references, &job->draws.along_path, &job->draws.stratified,
                                     &job->predict, &job->multiply, &job->square, &job->variance)) {
        return 0;
    }
    if (draws < 1 || draws > most_draws || a->references < 0 || a->references > most_draws) {
        PyErr_Format(PyExc_ValueError, "draws, references: expected 1 to 2**30, got %lld, %lld",
                     draws, a->references);
        return 0;
    }
    job->draws.draws = draws;
    job->draws.seed = a->seed;
    job->draws.references = a->references;
    return 1;
}

static int borrow_all(fa_call *call, fa_sampling *job, const arguments *a)
{
    int64_t T = 0;
    const DLTensor *const inputs = job->input = fa_call_inputs(call, a->inputs, "inputs", &T);
    if (inputs == NULL) return -1;
    const int64_t B = job->examples = inputs[0].shape[0];
    const int64_t M = job->draws.references;
    job->base = fa_call_bases(call, a->bases, "bases", inputs, T, M > 0 ? -1 : B);
    if (job->base == NULL) return -1;
    if (M > 0 && job->base[0].shape[0] != M) {
        PyErr_Format(PyExc_ValueError, "bases: expected %lld references, got %lld", (long long)M,
                     (long long)job->base[0].shape[0]);
        return -1;
    }
    if (fa_call_chunks(call, &job->chunks, a->points, a->index, a->scalars, a->rows, a->rows,
                       inputs, T) < 0)
        return -1;
    if (a->starts != Py_None) {
        job->start = fa_call_buffers(call, a->starts, "starts", inputs, T, a->rows);
        if (job->start == NULL) return -1;
    }
    job->mean = fa_call_sums(call, a->means, "means", inputs, T, 1);
    if (job->mean == NULL) return -1;
    job->deviation = fa_call_matrices(call, a->deviations, "deviations", T, 1);
    if (job->deviation == NULL) return -1;
    for (int64_t t = 0; t < T; t++) {
        const int64_t numel = fa_numel(&inputs[t]);
        if (fa_call_expect(&job->deviation[t], "deviations", fa_float64, numel) < 0) return -1;
    }
    for (int64_t t = 0; t < T; t++) job->mean[t].shape = job->deviation[t].shape = inputs[t].shape;
    job->target = fa_call_table(call, a->target, "target", 1, fa_int64, 2 * B);
    if (job->target == NULL) return -1;
    job->draws.ids = fa_call_table(call, a->ids, "ids", 0, fa_int64, B);
    if (job->draws.ids == NULL) return -1;
    if (a->stdev != Py_None) {
        job->stdev = fa_call_table(call, a->stdev, "stdev", 0, fa_float64, T * B);
        if (job->stdev == NULL) return -1;
    }
    job->scratch = fa_call_table(call, a->scratch, "scratch", 1, fa_uint8,
                                 fa_sample_scratch(B, job->draws.draws));
    return job->scratch != NULL ? 0 : -1;
}

static fa_status sample_engine(void *job, fa_error *error) { return fa_sample(job, error); }

PyObject *fa_py_sample(PyObject *module, PyObject *args, PyObject *kwargs)
{
    const fa_state *state = PyModule_GetState(module);
    arguments a;
    fa_sampling job = {0};
    fa_call call;
    PyObject *result = NULL;

    if (!parse(&a, &job, args, kwargs)) return NULL;
    if (fa_call_begin(&call, state, 6 * FA_MAX_INPUTS + 6) < 0) return NULL;
    if (borrow_all(&call, &job, &a) < 0) goto done;
    job.output = fa_call_result(&call, job.examples, NPY_DOUBLE);
    if (job.output == NULL) goto done;
    job.sums = fa_call_result(&call, FA_SPREADS * job.examples, NPY_DOUBLE);
    if (job.sums == NULL) goto done;
    if (job.examples > 0 && fa_call_run(&call, &job.chunks, a.evaluate, sample_engine, &job) < 0) {
        goto done;
    }
    result = Py_BuildValue("(OOL)", call.results[0], call.results[1], (long long)job.chunks.rows);

done:
    fa_call_end(&call);
    return result;
}

PyObject *fa_py_sample_scratch(PyObject *module, PyObject *args)
{
    (void)module;
    long long examples, draws;
    if (!PyArg_ParseTuple(args, "LL:sample_scratch", &examples, &draws)) return NULL;
    if (examples < 0 || draws < 1 || draws > most_draws || examples > INT64_MAX / 512) {
        return PyErr_Format(PyExc_ValueError, "draws: expected 1 to 2**30, got %lld", draws);
    }
    return PyLong_FromLongLong(fa_sample_scratch(examples, draws));
}

static fa_status forward_engine(void *job, fa_error *error) { return fa_forward(job, error); }

static int borrow_forward(fa_call *call, fa_forwarding *job, PyObject *const *a, int64_t rows)
{
    int64_t T = 0;
    const DLTensor *const bases = job->base = fa_call_inputs(call, a[0], "bases", &T);
    if (bases == NULL) return -1;
    if (fa_call_chunks(call, &job->chunks, a[1], a[2], a[3], rows, rows, bases, T) < 0) return -1;
    const DLTensor *const target = fa_call_matrices(call, a[4], "target", 1, 0);
    if (target == NULL) return -1;
    const int64_t B = target->shape[0];
    if (fa_call_expect(target, "target", fa_int64, 2 * B) < 0) return -1;
    job->target = fa_data(target);
    const DLTensor *const tables = fa_call_matrices(call, a[5], "tables", 2, 0);
    if (tables == NULL) return -1;
    job->rows = tables[0].shape[0];
    const int64_t extents[2] = {B, bases[0].shape[0]};
    for (int which = 0; which < 2; which++) {
        if (fa_call_expect(&tables[which], "tables", fa_int64, job->rows) < 0) return -1;
        const int64_t *const table = fa_data(&tables[which]);
        for (int64_t r = 0; tables[which].device.device_type == kDLCPU && r < job->rows; r++) {
            if (table[r] >= 0 && table[r] < extents[which]) continue;
            PyErr_Format(PyExc_ValueError, "tables[%d]: expected 0 to %lld, got %lld", which,
                         (long long)extents[which] - 1, (long long)table[r]);
            return -1;
        }
    }
    job->lead_example = fa_data(&tables[0]);
    job->lead_base = fa_data(&tables[1]);
    job->out = fa_call_table(call, a[6], "out", 1, fa_float64, job->rows);
    return job->out != NULL ? 0 : -1;
}

PyObject *fa_py_forward(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"evaluate", "bases",  "points", "index", "scalars",
                            "target",   "tables", "out",    "rows",  NULL};
    PyObject *evaluate, *a[7];
    long long rows;
    fa_forwarding job = {0};
    fa_call call;
    PyObject *result = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOOL:forward", names, &evaluate, &a[0],
                                     &a[1], &a[2], &a[3], &a[4], &a[5], &a[6], &rows)) {
        return NULL;
    }
    if (fa_call_begin(&call, PyModule_GetState(module), 2 * FA_MAX_INPUTS + 6) < 0) return NULL;
    if (borrow_forward(&call, &job, a, rows) < 0) goto done;
    if (job.rows > 0 && fa_call_run(&call, &job.chunks, evaluate, forward_engine, &job) < 0) {
        goto done;
    }
    result = PyLong_FromLongLong(job.chunks.rows);

done:
    fa_call_end(&call);
    return result;
}

PyObject *fa_py_drawn_references(PyObject *module, PyObject *args)
{
    PyObject *object, *result = NULL;
    long long draws, references;
    unsigned long long seed;
    int stratified = 1;
    fa_borrow ids;
    if (!PyArg_ParseTuple(args, "OLKL|p:drawn_references", &object, &draws, &seed, &references,
                          &stratified)) {
        return NULL;
    }
    if (draws < 1 || draws > most_draws || references < 1 || references > most_draws) {
        return PyErr_Format(PyExc_ValueError,
                            "draws, references: expected 1 to 2**30, got %lld, %lld", draws,
                            references);
    }
    if (fa_borrow_matrix(&ids, PyModule_GetState(module), object, "ids", 0) < 0) return NULL;
    const fa_draws plan = {
        .draws = draws, .references = references, .seed = seed, .stratified = stratified};
    npy_intp shape[2] = {ids.shape[0], draws};
    if (fa_call_expect(&ids.tensor, "ids", fa_int64, ids.shape[0]) < 0) goto done;
    result = PyArray_SimpleNew(2, shape, NPY_INT64);
    if (result == NULL) goto done;
    int64_t *const out = PyArray_DATA((PyArrayObject *)result);
    for (int64_t e = 0; e < shape[0]; e++) {
        const int64_t id = ((const int64_t *)fa_data(&ids.tensor))[e];
        for (int64_t j = 0; j < draws; j++) out[e * draws + j] = fa_drawn_reference(&plan, id, j);
    }

done:
    fa_release(&ids);
    return result;
}

/* Draws first .. first + count - 1 of every example: out (B * count, D), example-major. */
static int write_noisy(const fa_backend *backend, void *stream, fa_sample_args *args, DLTensor *out,
                       int64_t B, int64_t first, int64_t count, const fa_state *state)
{
    fa_error error;
    fa_status status = FA_OK;
    int64_t shape[2] = {count, out->shape[1]};
    DLTensor part = *out;
    part.shape = shape;
    args->out = &part;
    args->count = count;
    for (int64_t e = 0; e < B && status == FA_OK; e++) {
        part.data = (char *)fa_data(out) + e * count * shape[1] * (out->dtype.bits / 8);
        args->first = e * (args->draws.draws + 1) + 1 + first;
        status = backend->sample(args, stream, &error);
    }
    status = fa_stand_in_wait(status, &error);
    if (status != FA_OK) fa_raise(state, status, &error);
    return status == FA_OK ? 0 : -1;
}

PyObject *fa_py_noisy(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"out",  "input",  "ids",   "stdev", "draws",
                            "seed", "member", "first", "count", NULL};
    const fa_state *state = PyModule_GetState(module);
    PyObject *out, *input, *ids, *stdev, *result = NULL;
    long long draws, member, first, count;
    unsigned long long seed;
    int64_t one = 0;
    fa_sample_args a = {0};
    fa_call call;
    const fa_backend *backend;
    fa_error error;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!OOLKLLL:noisy", names, &PyTuple_Type, &out,
                                     &PyTuple_Type, &input, &ids, &stdev, &draws, &seed, &member,
                                     &first, &count)) {
        return NULL;
    }
    if (draws < 1 || draws > most_draws || first < 0 || count < 1 || first > draws - count ||
        member < 0 || member >= FA_MAX_INPUTS) {
        return PyErr_Format(PyExc_ValueError, "first, count: expected a part of %lld draws", draws);
    }
    if (fa_call_begin(&call, state, 4) < 0) return NULL;
    const DLTensor *const x = fa_call_inputs(&call, input, "input", &one);
    if (x == NULL) goto done;
    const int64_t B = x[0].shape[0];
    DLTensor *const rows = fa_call_buffers(&call, out, "out", x, 1, B * count);
    if (rows == NULL) goto done;
    a.draws = (fa_draws){.draws = draws, .seed = seed};
    a.draws.ids = fa_call_table(&call, ids, "ids", 0, fa_int64, B);
    if (a.draws.ids == NULL) goto done;
    a.stdev = fa_call_table(&call, stdev, "stdev", 0, fa_float64, B);
    if (a.stdev == NULL) goto done;
    a.input = a.base = x;
    a.member = member;
    const fa_status status = fa_backend_of_tensors(&backend, x[0].device, &error);
    if (status != FA_OK) {
        fa_raise(state, status, &error);
        goto done;
    }
    if (write_noisy(backend, call.borrows[0].stream, &a, rows, B, first, count, state) < 0)
        goto done;
    result = Py_NewRef(Py_None);

done:
    fa_call_end(&call);
    return result;
}
