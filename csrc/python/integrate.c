/* integrate.c -- _core.integrate: arguments in, engine, arrays out. No arithmetic here. */
#include "../engine/integrate.h"
#include "callback_model.h"

/* Everything borrowed for one call, in the order in which it is released. */
typedef struct {
    int64_t inputs;
    fa_borrow input[FA_MAX_INPUTS], base[FA_MAX_INPUTS], points[FA_MAX_INPUTS],
        result[FA_MAX_INPUTS], values[FA_MAX_INPUTS];
    fa_borrow index, scalars, target, scratch;
    DLTensor views[5][FA_MAX_INPUTS]; /* the same, as the engine wants them */
} borrowed;

/* The (B) results, owned until they are handed out. */
typedef struct {
    PyObject *gap, *error, *output, *base_output, *evaluations, *outcome;
} results;

typedef struct {
    PyObject *evaluate, *inputs, *bases, *points, *results, *values;
    PyObject *index, *scalars, *target, *scratch;
    const char *rule;
    long long rows, steps;
    int adaptive, predict, completeness, multiply, absolute, shared_base;
    double tolerance;
} arguments;

static const DLDataType int64_dtype = {kDLInt, 64, 1};
static const DLDataType uint8_dtype = {kDLUInt, 8, 1};

static int parse(arguments *a, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "evaluate",  "inputs",  "bases",    "points",   "results",      "values",      "index",
        "scalars",   "target",  "scratch",  "rows",     "rule",         "steps",       "adaptive",
        "tolerance", "predict", "multiply", "absolute", "completeness", "shared_base", NULL};
    return PyArg_ParseTupleAndKeywords(
        args, kwargs, "OO!O!O!O!O!OOOOLsLpdppppp:integrate", names, &a->evaluate, &PyTuple_Type,
        &a->inputs, &PyTuple_Type, &a->bases, &PyTuple_Type, &a->points, &PyTuple_Type, &a->results,
        &PyTuple_Type, &a->values, &a->index, &a->scalars, &a->target, &a->scratch, &a->rows,
        &a->rule, &a->steps, &a->adaptive, &a->tolerance, &a->predict, &a->multiply, &a->absolute,
        &a->completeness, &a->shared_base);
}

static int fail_shape(const char *name, int64_t t, const char *expected)
{
    PyErr_Format(PyExc_ValueError, "%s[%lld]: expected %s", name, (long long)t, expected);
    return -1;
}

/* Input t with its base, buffer, accumulators and output: all of one device and size. */
static int borrow_input(borrowed *b, const fa_state *state, const arguments *a, int64_t t,
                        int64_t levels)
{
    fa_borrow *input = &b->input[t], *base = &b->base[t];
    if (fa_borrow_matrix(input, state, PyTuple_GET_ITEM(a->inputs, t), "inputs", 0) < 0) return -1;
    const DLDataType dtype = input->tensor.dtype;
    const DLDataType sums = {kDLFloat, (uint8_t)(dtype.bits == 64 ? 64 : 32), 1};
    const int64_t B = input->shape[0], D = input->shape[1];
    if (fa_dtype_of(dtype) == FA_OTHER) {
        PyErr_Format(PyExc_TypeError, "inputs[%lld]: expected a floating dtype, got %s",
                     (long long)t, fa_dtype_name(dtype));
        return -1;
    }
    if (B != b->input[0].shape[0]) return fail_shape("inputs", t, "as many rows as inputs[0]");
    if (fa_borrow_matrix(base, state, PyTuple_GET_ITEM(a->bases, t), "bases", 0) < 0) return -1;
    if ((base->shape[0] != 1 && base->shape[0] != B) || base->shape[1] != D ||
        fa_dtype_of(base->tensor.dtype) != fa_dtype_of(dtype)) {
        return fail_shape("bases", t, "shape (B, ...) or (1, ...) and dtype of the input");
    }
    if (fa_borrow_table(&b->points[t], state, PyTuple_GET_ITEM(a->points, t), "points", 1, dtype,
                        a->rows * D) < 0 ||
        fa_borrow_table(&b->result[t], state, PyTuple_GET_ITEM(a->results, t), "results", 1, sums,
                        levels * B * D) < 0 ||
        fa_borrow_table(&b->values[t], state, PyTuple_GET_ITEM(a->values, t), "values", 1, sums,
                        B * D) < 0) {
        return -1;
    }
    b->points[t].shape[0] = a->rows;
    b->points[t].shape[1] = D;
    return 0;
}

/* Every tensor must lie where input 0 lies. */
static int check_device(const borrowed *b, const fa_borrow *tensor, const char *name)
{
    const DLDevice want = b->input[0].tensor.device, got = tensor->tensor.device;
    if (tensor->owner == NULL ||
        (want.device_type == got.device_type && want.device_id == got.device_id)) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s: expected device (%d, %d) like inputs[0], got (%d, %d)",
                 name, want.device_type, want.device_id, got.device_type, got.device_id);
    return -1;
}

static int check_devices(const borrowed *b)
{
    int bad = 0;
    for (int64_t t = 0; t < b->inputs && !bad; t++) {
        bad = check_device(b, &b->input[t], "inputs") || check_device(b, &b->base[t], "bases") ||
              check_device(b, &b->points[t], "points") ||
              check_device(b, &b->result[t], "results") || check_device(b, &b->values[t], "values");
    }
    bad = bad || check_device(b, &b->index, "index") || check_device(b, &b->scalars, "scalars") ||
          check_device(b, &b->target, "target") || check_device(b, &b->scratch, "scratch");
    return bad ? -1 : 0;
}

static int borrow_all(borrowed *b, const fa_state *state, const arguments *a,
                      const fa_schedule *schedule)
{
    const Py_ssize_t T = PyTuple_GET_SIZE(a->inputs);
    if (T < 1 || T > FA_MAX_INPUTS || PyTuple_GET_SIZE(a->bases) != T ||
        PyTuple_GET_SIZE(a->points) != T || PyTuple_GET_SIZE(a->results) != T ||
        PyTuple_GET_SIZE(a->values) != T) {
        PyErr_Format(PyExc_ValueError,
                     "inputs, bases, points, results, values: expected 1 to %d tensors each",
                     FA_MAX_INPUTS);
        return -1;
    }
    for (b->inputs = 0; b->inputs < T; b->inputs++) {
        if (borrow_input(b, state, a, b->inputs, schedule->levels) < 0) {
            b->inputs++; /* this one may be borrowed in part */
            return -1;
        }
    }
    const int64_t B = b->input[0].shape[0];
    if (fa_borrow_table(&b->index, state, a->index, "index", 1, int64_dtype, a->rows) < 0 ||
        fa_borrow_table(&b->scalars, state, a->scalars, "scalars", 1, int64_dtype, 2 * a->rows) <
            0 ||
        fa_borrow_table(&b->target, state, a->target, "target", 1, int64_dtype, 2 * B) < 0 ||
        fa_borrow_table(&b->scratch, state, a->scratch, "scratch", 1, uint8_dtype,
                        fa_integrate_scratch(schedule, B)) < 0) {
        return -1;
    }
    return check_devices(b);
}

static void release_all(borrowed *b)
{
    fa_release(&b->scratch);
    fa_release(&b->target);
    fa_release(&b->scalars);
    fa_release(&b->index);
    for (int64_t t = b->inputs - 1; t >= 0; t--) {
        fa_release(&b->values[t]);
        fa_release(&b->result[t]);
        fa_release(&b->points[t]);
        fa_release(&b->base[t]);
        fa_release(&b->input[t]);
    }
}

static void *new_array(PyObject **out, int64_t n, int type)
{
    npy_intp shape[1] = {n};
    *out = PyArray_ZEROS(1, shape, type, 0);
    return *out != NULL ? PyArray_DATA((PyArrayObject *)*out) : NULL;
}

static int new_results(results *r, fa_integration *job)
{
    const int64_t B = job->examples;
    return (job->gap = new_array(&r->gap, B, NPY_DOUBLE)) != NULL &&
                   (job->error = new_array(&r->error, B, NPY_DOUBLE)) != NULL &&
                   (job->output = new_array(&r->output, B, NPY_DOUBLE)) != NULL &&
                   (job->base_output = new_array(&r->base_output, B, NPY_DOUBLE)) != NULL &&
                   (job->evaluations = new_array(&r->evaluations, B, NPY_INT64)) != NULL &&
                   (job->outcome = new_array(&r->outcome, B, NPY_UINT8)) != NULL
               ? 0
               : -1;
}

static void describe_job(fa_integration *job, borrowed *b, const arguments *a)
{
    for (int64_t t = 0; t < b->inputs; t++) {
        b->views[0][t] = b->input[t].tensor;
        b->views[1][t] = b->base[t].tensor;
        b->views[2][t] = b->points[t].tensor;
        b->views[3][t] = b->result[t].tensor;
        b->views[4][t] = b->values[t].tensor;
    }
    job->examples = b->input[0].shape[0];
    job->chunks.inputs = b->inputs;
    job->input = b->views[0];
    job->base = b->views[1];
    job->chunks.points = b->views[2];
    job->result = b->views[3];
    job->values = b->views[4];
    job->chunks.index = fa_data(&b->index.tensor);
    job->chunks.scalars = fa_data(&b->scalars.tensor);
    job->target = fa_data(&b->target.tensor);
    job->scratch = fa_data(&b->scratch.tensor);
    job->chunks.rows = a->rows;
    job->tolerance = a->tolerance;
    job->adaptive = a->adaptive;
    job->predict = a->predict;
    job->completeness = a->completeness;
    job->multiply = a->multiply;
    job->absolute = a->absolute;
    job->shared_base = a->shared_base;
}

static int worst_outcome(const fa_integration *job)
{
    int worst = FA_CONVERGED;
    for (int64_t e = 0; e < job->examples; e++) {
        if (job->outcome[e] > worst) worst = job->outcome[e];
    }
    return worst;
}

static fa_status run(fa_integration *job, const fa_state *state, const arguments *a,
                     fa_error *error)
{
    fa_callback_model model;
    fa_model interface;
    fa_callback_init(&model, &interface, state, a->evaluate, job->chunks.inputs);
    job->chunks.model = &interface;
    fa_callback_begin(&model);
    const fa_status status = fa_integrate(job, error);
    fa_callback_end(&model);
    return status;
}

static int schedule_from(fa_schedule *out, const fa_state *state, const char *rule_name,
                         int64_t steps, int adaptive)
{
    fa_error error;
    const int rule = fa_rule_from_name(rule_name);
    if (rule < 0) return -1;
    const fa_status status = fa_schedule_init(out, (fa_rule)rule, steps, adaptive, &error);
    if (status != FA_OK) fa_raise(state, status, &error);
    return status == FA_OK ? 0 : -1;
}

PyObject *fa_py_integrate(PyObject *module, PyObject *args, PyObject *kwargs)
{
    const fa_state *state = PyModule_GetState(module);
    arguments a;
    fa_integration job = {0};
    results r = {0};
    fa_error error;
    PyObject *result = NULL;
    borrowed *b = PyMem_Calloc(1, sizeof(*b)); /* too large for a stack */

    if (b == NULL) return PyErr_NoMemory();
    if (!parse(&a, args, kwargs)) goto done;
    if (a.rows < 1) {
        PyErr_Format(PyExc_ValueError, "rows: expected at least 1, got %lld", a.rows);
        goto done;
    }
    if (schedule_from(&job.schedule, state, a.rule, a.steps, a.adaptive) < 0) goto done;
    if (borrow_all(b, state, &a, &job.schedule) < 0) goto done;
    describe_job(&job, b, &a);
    if (new_results(&r, &job) < 0) goto done;

    fa_status status = fa_backend_for(&job.chunks.backend, b->input[0].tensor.device, &error);
    if (status == FA_OK && job.examples > 0) status = run(&job, state, &a, &error);
    if (status != FA_OK) {
        fa_raise(state, status, &error);
        goto done;
    }
    result = Py_BuildValue("(OOOOOOiL)", r.gap, r.error, r.output, r.base_output, r.evaluations,
                           r.outcome, worst_outcome(&job), (long long)job.chunks.rows);

done:
    Py_XDECREF(r.outcome);
    Py_XDECREF(r.evaluations);
    Py_XDECREF(r.base_output);
    Py_XDECREF(r.output);
    Py_XDECREF(r.error);
    Py_XDECREF(r.gap);
    release_all(b);
    PyMem_Free(b);
    return result;
}

PyObject *fa_py_integrate_plan(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"rule", "steps", "adaptive", "examples", NULL};
    const char *rule;
    long long steps, examples;
    int adaptive;
    fa_schedule schedule;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sLpL:integrate_plan", names, &rule, &steps,
                                     &adaptive, &examples)) {
        return NULL;
    }
    if (schedule_from(&schedule, PyModule_GetState(module), rule, steps, adaptive) < 0) return NULL;
    return Py_BuildValue("(LLL)", (long long)schedule.levels,
                         (long long)fa_schedule_most_nodes(&schedule),
                         (long long)fa_integrate_scratch(&schedule, examples));
}
