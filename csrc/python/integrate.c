/* integrate.c -- _core.integrate: arguments in, engine, arrays out. No arithmetic here. */
#include "../engine/integrate.h"
#include "call.h"

typedef struct {
    PyObject *evaluate, *inputs, *bases, *points, *results, *values;
    PyObject *index, *scalars, *target, *scratch, *known, *pull, *behind;
    const char *rule;
    long long rows, steps, group;
} arguments;

static int parse(arguments *a, fa_integration *job, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"evaluate", "inputs",   "bases",    "points",       "results",
                            "values",   "index",    "scalars",  "target",       "scratch",
                            "rows",     "rule",     "steps",    "adaptive",     "tolerance",
                            "predict",  "multiply", "absolute", "completeness", "shared_base",
                            "group",    "known",    "eps",      "pull",         "behind",
                            NULL};
    return PyArg_ParseTupleAndKeywords(
        args, kwargs, "OOOOOOOOOOLsLpdppppp|LOdOO:integrate", names, &a->evaluate, &a->inputs,
        &a->bases, &a->points, &a->results, &a->values, &a->index, &a->scalars, &a->target,
        &a->scratch, &a->rows, &a->rule, &a->steps, &job->adaptive, &job->tolerance, &job->predict,
        &job->multiply, &job->absolute, &job->completeness, &job->shared_base, &a->group, &a->known,
        &job->eps, &a->pull, &a->behind);
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

/* behind: (inputs, bases, sums), tuples of T tensors like the others but for their features. */
static int borrow_behind(fa_call *call, fa_integration *job, const arguments *a, int64_t T)
{
    PyObject *inputs, *bases, *sums;
    int64_t count = 0;
    if (a->behind == Py_None) return 0;
    if (!PyTuple_Check(a->behind)) {
        PyErr_Format(PyExc_TypeError, "behind: expected a tuple (inputs, bases, sums), got %R",
                     Py_TYPE(a->behind));
        return -1;
    }
    if (!PyArg_ParseTuple(a->behind, "OOO:behind", &inputs, &bases, &sums)) return -1;
    const DLTensor *const input = job->behind.input =
        fa_call_inputs(call, inputs, "behind: inputs", &count);
    if (input == NULL) return -1;
    if (count != T || input[0].shape[0] != job->examples || a->pull == Py_None) {
        PyErr_Format(PyExc_ValueError,
                     "behind: expected %lld inputs of %lld rows, and pull, got %lld of %lld%s",
                     (long long)T, (long long)job->examples, (long long)count,
                     (long long)input[0].shape[0], a->pull == Py_None ? " and None" : "");
        return -1;
    }
    job->behind.base = fa_call_bases(call, bases, "behind: bases", input, T, job->examples);
    if (job->behind.base == NULL) return -1;
    job->behind.sum = fa_call_sums(call, sums, "behind: sums", input, T, job->schedule.levels);
    return job->behind.sum != NULL ? 0 : -1;
}

static int borrow_all(fa_call *call, fa_integration *job, const arguments *a)
{
    int64_t T = 0;
    const DLTensor *const inputs = job->input = fa_call_inputs(call, a->inputs, "inputs", &T);
    if (inputs == NULL) return -1;
    const int64_t B = job->examples = inputs[0].shape[0];
    if (job->eps == 0.0) job->eps = fa_dtype_eps(inputs[0].dtype);
    job->group = a->group;
    if (job->group < 1 || B % job->group != 0) {
        PyErr_Format(PyExc_ValueError, "group: expected a divisor of %lld, got %lld", (long long)B,
                     a->group);
        return -1;
    }
    job->base = fa_call_bases(call, a->bases, "bases", inputs, T, B);
    if (job->base == NULL) return -1;
    if (borrow_behind(call, job, a, T) < 0) return -1;
    if (fa_call_chunks(call, &job->chunks, a->points, a->index, a->scalars, a->rows, a->rows,
                       job->behind.sum != NULL ? job->behind.input : inputs, T) < 0)
        return -1;
    const int64_t planes = fa_integrate_planes(&job->schedule, job->behind.sum != NULL);
    job->result = fa_call_sums(call, a->results, "results", inputs, T, planes);
    if (job->result == NULL) return -1;
    job->values = fa_call_sums(call, a->values, "values", inputs, T, 1);
    if (job->values == NULL) return -1;
    job->target = fa_call_table(call, a->target, "target", 1, fa_int64, 2 * B);
    if (job->target == NULL) return -1;
    job->scratch = fa_call_table(call, a->scratch, "scratch", 1, fa_uint8,
                                 fa_integrate_scratch(&job->schedule, B));
    return job->scratch != NULL ? 0 : -1;
}

static int new_results(fa_call *call, fa_integration *job)
{
    const int64_t B = job->examples / job->group;
    return (job->gap = fa_call_result(call, B, NPY_DOUBLE)) != NULL &&
                   (job->error = fa_call_result(call, B, NPY_DOUBLE)) != NULL &&
                   (job->output = fa_call_result(call, B, NPY_DOUBLE)) != NULL &&
                   (job->base_output = fa_call_result(call, B, NPY_DOUBLE)) != NULL &&
                   (job->evaluations = fa_call_result(call, B, NPY_INT64)) != NULL &&
                   (job->outcome = fa_call_result(call, B, NPY_UINT8)) != NULL
               ? 0
               : -1;
}

static int worst_outcome(const fa_integration *job)
{
    int worst = FA_CONVERGED;
    for (int64_t e = 0; e < job->examples / job->group; e++) {
        if (job->outcome[e] > worst) worst = job->outcome[e];
    }
    return worst;
}

static fa_status engine(void *job, fa_error *error) { return fa_integrate(job, error); }

PyObject *fa_py_integrate(PyObject *module, PyObject *args, PyObject *kwargs)
{
    const fa_state *state = PyModule_GetState(module);
    arguments a = {.group = 1, .known = Py_None, .pull = Py_None, .behind = Py_None};
    fa_integration job = {0};
    fa_call call;
    fa_borrow known = {0};
    PyObject *result = NULL;

    if (!parse(&a, &job, args, kwargs)) return NULL;
    if (schedule_from(&job.schedule, state, a.rule, a.steps, job.adaptive) < 0) return NULL;
    if (fa_call_begin(&call, state, 8 * FA_MAX_INPUTS + 4) < 0) return NULL;
    if (borrow_all(&call, &job, &a) < 0) goto done;
    if (a.known != Py_None) { /* in the host's memory, wherever the rest is */
        const int64_t ends = 2 * (job.examples / job.group);
        if (fa_borrow_table(&known, state, a.known, "known", 0, fa_float64, ends) < 0) goto done;
        job.known = fa_data(&known.tensor);
    }
    if (new_results(&call, &job) < 0) goto done;
    if (a.pull != Py_None) call.pull = a.pull;
    if (job.examples > 0 && fa_call_run(&call, &job.chunks, a.evaluate, engine, &job) < 0)
        goto done;
    result = Py_BuildValue("(OOOOOOiLi)", call.results[0], call.results[1], call.results[2],
                           call.results[3], call.results[4], call.results[5], worst_outcome(&job),
                           (long long)job.chunks.rows, job.swept);

done:
    fa_release(&known);
    fa_call_end(&call);
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
    if (examples < 0 || examples > FA_MOST_ROWS) {
        return PyErr_Format(PyExc_ValueError, "examples: expected 0 to 2**40, got %lld", examples);
    }
    if (schedule_from(&schedule, PyModule_GetState(module), rule, steps, adaptive) < 0) return NULL;
    return Py_BuildValue("(LLL)", (long long)schedule.levels,
                         (long long)fa_schedule_most_nodes(&schedule),
                         (long long)fa_integrate_scratch(&schedule, examples));
}
