/* ascend.c -- _core.ascend: arguments in, engine, arrays out. */
#include "../engine/ascend.h"
#include "call.h"

typedef struct {
    PyObject *evaluate, *start, *centre, *bounds, *at, *sums, *steps, *results;
    PyObject *points, *index, *scalars, *scratch, *plan;
    const char *rule;
    long long rows;
} arguments;

static int parse(arguments *a, fa_ascending *job, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"evaluate", "start",   "centre",   "bounds",  "at",        "sums",
                            "steps",    "results", "points",   "index",   "scalars",   "scratch",
                            "plan",     "rows",    "paths",    "slots",   "max_steps", "step_size",
                            "radius",   "scale",   "rule",     "ascents", "l2",        "restart",
                            "stop",     "keep_at", "keep_sum", NULL};
    long long paths, slots, max_steps;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOOOOOOOOOOOOLLLLdddspppppp:ascend", names, &a->evaluate, &a->start,
            &a->centre, &a->bounds, &a->at, &a->sums, &a->steps, &a->results, &a->points, &a->index,
            &a->scalars, &a->scratch, &a->plan, &a->rows, &paths, &slots, &max_steps,
            &job->step_size, &job->radius, &job->scale, &a->rule, &job->ascents, &job->l2,
            &job->restart, &job->stop, &job->keep_at, &job->keep_sum)) {
        return -1;
    }
    if (paths < 1 || slots < 1 || max_steps < 1 || paths > FA_MOST_ROWS || slots > FA_MOST_ROWS ||
        a->rows < 1 || a->rows > FA_MOST_ROWS) {
        PyErr_Format(
            PyExc_ValueError,
            "rows, paths, slots, max_steps: expected 1 or more, got %lld, %lld, %lld, %lld",
            a->rows, paths, slots, max_steps);
        return -1;
    }
    job->paths = paths;
    job->slots = slots;
    job->max_steps = max_steps;
    return 0;
}

static int rule_from(fa_ascending *job, const char *name)
{
    static const char *const names[] = {"left", "trapezoid", "midpoint"};
    for (int rule = FA_STEP_LEFT; rule <= FA_STEP_MIDPOINT; rule++) {
        if (strcmp(name, names[rule]) != 0) continue;
        job->rule = (fa_step_rule)rule;
        if (job->sum == NULL || rule == FA_STEP_LEFT || job->step != NULL) return 0;
        PyErr_Format(PyExc_ValueError, "steps: the %s rule needs them", name);
        return -1;
    }
    PyErr_Format(PyExc_ValueError, "rule: expected left, trapezoid or midpoint, got %s", name);
    return -1;
}

/* T tensors (rows, D) like the inputs, of their dtype or the one that sums are kept in. */
static DLTensor *matrices(fa_call *call, PyObject *tuple, const char *name, const DLTensor *inputs,
                          int64_t T, int64_t rows, int sums)
{
    DLTensor *const found = fa_call_matrices(call, tuple, name, T, 1);
    for (int64_t t = 0; found != NULL && t < T; t++) {
        const DLDataType wide = {kDLFloat, (uint8_t)(inputs[t].dtype.bits == 64 ? 64 : 32), 1};
        int64_t numel;
        if (__builtin_mul_overflow(rows, inputs[t].shape[1], &numel)) numel = INT64_MAX;
        if (fa_call_expect(&found[t], name, sums ? wide : inputs[t].dtype, numel) < 0) return NULL;
        found[t].shape[0] = rows; /* of the borrow: NumPy's and torch's shapes are not written */
        found[t].shape[1] = inputs[t].shape[1];
    }
    return found;
}

static int borrow_bounds(fa_call *call, fa_ascending *job, PyObject *bounds, int64_t T)
{
    if (bounds == Py_None) return 0;
    if (!PyTuple_Check(bounds) || PyTuple_GET_SIZE(bounds) != 2) {
        PyErr_SetString(PyExc_TypeError, "bounds: expected None or a tuple (low, high)");
        return -1;
    }
    const int64_t B = job->examples;
    job->low = fa_call_bases(call, PyTuple_GET_ITEM(bounds, 0), "low", job->start, T, B);
    if (job->low == NULL) return -1;
    job->high = fa_call_bases(call, PyTuple_GET_ITEM(bounds, 1), "high", job->start, T, B);
    if (job->high == NULL) return -1;
    for (int64_t t = 0; t < T; t++) {
        if (job->low[t].shape[0] == job->high[t].shape[0]) continue;
        PyErr_SetString(PyExc_ValueError, "bounds: expected as many rows in both");
        return -1;
    }
    return 0;
}

static int borrow_all(fa_call *call, fa_ascending *job, const arguments *a)
{
    int64_t T = 0;
    const DLTensor *const start = job->start = fa_call_inputs(call, a->start, "start", &T);
    if (start == NULL) return -1;
    const int64_t B = job->examples = start[0].shape[0], P = B * job->paths;
    const int64_t S = job->slots;
    if (B > FA_MOST_ROWS / job->paths || S > (P > 0 ? P : 1)) {
        PyErr_SetString(PyExc_ValueError, "slots: expected no more than there are paths");
        return -1;
    }
    job->centre = fa_call_bases(call, a->centre, "centre", start, T, B);
    if (job->centre == NULL) return -1;
    for (int64_t t = 0; t < T; t++) {
        if (job->centre[t].shape[0] == B) continue;
        PyErr_SetString(PyExc_ValueError, "centre: expected one row for each example");
        return -1;
    }
    if (borrow_bounds(call, job, a->bounds, T) < 0) return -1;
    job->at = matrices(call, a->at, "at", start, T, job->keep_at ? P : S, 0);
    if (job->at == NULL) return -1;
    if (a->sums != Py_None) {
        job->sum = matrices(call, a->sums, "sums", start, T, job->keep_sum ? P : S, 1);
        if (job->sum == NULL) return -1;
    }
    if (a->steps != Py_None) {
        job->step = matrices(call, a->steps, "steps", start, T, S, 1);
        if (job->step == NULL) return -1;
    }
    if (a->results != Py_None) {
        job->result = matrices(call, a->results, "results", start, T, B, 1);
        if (job->result == NULL) return -1;
    }
    if (rule_from(job, a->rule) < 0) return -1;
    if (fa_call_chunks(call, &job->chunks, a->points, a->index, a->scalars, a->rows,
                       fa_ascend_pairs(a->rows, job->paths), start, T) < 0)
        return -1;
    job->scratch = fa_call_table(call, a->scratch, "scratch", 1, fa_uint8, fa_ascend_scratch(S));
    return job->scratch != NULL ? 0 : -1;
}

static int new_results(fa_call *call, fa_ascending *job)
{
    const int64_t P = job->examples * job->paths;
    job->initial = fa_call_result(call, P, NPY_DOUBLE);
    if (job->initial == NULL) return -1;
    job->final = fa_call_result(call, P, NPY_DOUBLE);
    if (job->final == NULL) return -1;
    job->total = fa_call_result(call, P, NPY_DOUBLE);
    if (job->total == NULL) return -1;
    job->steps = fa_call_result(call, P, NPY_INT64);
    if (job->steps == NULL) return -1;
    job->outcome = fa_call_result(call, P, NPY_UINT8);
    if (job->outcome == NULL) return -1;
    job->predicted = fa_call_result(call, P, NPY_INT64);
    if (job->predicted == NULL) return -1;
    job->gradients = fa_call_result(call, job->examples, NPY_INT64);
    if (job->gradients == NULL) return -1;
    job->units = fa_call_result(call, job->examples, NPY_INT64);
    return job->units != NULL ? 0 : -1;
}

/* The plan is in the host's memory, wherever the rest is: rows example, target, goal, minus. */
static int check_plan(fa_ascending *job, const fa_borrow *plan)
{
    job->plan = fa_data(&plan->tensor);
    for (int64_t p = 0; p < job->examples * job->paths; p++) {
        const fa_slot *slot = &job->plan[p];
        if (slot->example == p / job->paths && slot->target >= 0 && slot->goal >= -1 &&
            slot->minus >= -1 && (slot->goal >= 0 || !job->ascents)) {
            continue;
        }
        PyErr_Format(PyExc_ValueError, "plan: row %lld is not a path of example %lld", (long long)p,
                     (long long)(p / job->paths));
        return -1;
    }
    return 0;
}

static fa_status engine(void *job, fa_error *error) { return fa_ascend(job, error); }

PyObject *fa_py_ascend(PyObject *module, PyObject *args, PyObject *kwargs)
{
    const fa_state *state = PyModule_GetState(module);
    arguments a;
    fa_ascending job = {0};
    fa_call call;
    fa_borrow plan = {0};
    PyObject *result = NULL;

    if (parse(&a, &job, args, kwargs) < 0) return NULL;
    if (fa_call_begin(&call, state, 9 * FA_MAX_INPUTS + 3) < 0) return NULL;
    if (borrow_all(&call, &job, &a) < 0) goto done;
    const int64_t P = job.examples * job.paths;
    if (fa_borrow_table(&plan, state, a.plan, "plan", 0, fa_int64, 4 * P) < 0) goto done;
    if (check_plan(&job, &plan) < 0 || new_results(&call, &job) < 0) goto done;
    if (P > 0 && fa_call_run(&call, &job.chunks, a.evaluate, engine, &job) < 0) goto done;
    result = Py_BuildValue("(OOOOOOOOL)", call.results[0], call.results[1], call.results[2],
                           call.results[3], call.results[4], call.results[5], call.results[6],
                           call.results[7], (long long)job.chunks.rows);

done:
    fa_release(&plan);
    fa_call_end(&call);
    return result;
}

PyObject *fa_py_ascend_plan(PyObject *module, PyObject *args)
{
    (void)module;
    long long rows, paths, slots;
    if (!PyArg_ParseTuple(args, "LLL:ascend_plan", &rows, &paths, &slots)) return NULL;
    if (rows < 1 || paths < 1 || slots < 1 || rows > FA_MOST_ROWS || paths > FA_MOST_ROWS ||
        slots > FA_MOST_ROWS) {
        return PyErr_Format(PyExc_ValueError,
                            "rows, paths, slots: expected 1 to 2**40, got %lld, %lld, %lld", rows,
                            paths, slots);
    }
    return Py_BuildValue("(LL)", (long long)fa_ascend_pairs(rows, paths),
                         (long long)fa_ascend_scratch(slots));
}
