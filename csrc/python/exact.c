/* exact.c -- _core.exact: float64 arrays in, engine, arrays out. */
#include "../engine/exact.h"

#include "call.h"
#include "dense.h"

PyObject *fa_py_exact_applies(PyObject *module, PyObject *capsule)
{
    (void)module;
    const fa_dense *network = fa_network_of(capsule);
    if (network == NULL) return PyErr_Format(PyExc_TypeError, "expected a network of _core.dense");
    return PyBool_FromLong(fa_exact_applies(network));
}

static int borrow_all(fa_call *call, fa_exact *job, PyObject *const *a)
{
    const int64_t D = job->net->layers[0].in, C = job->net->layers[job->net->count - 1].out;
    const DLTensor *const input = fa_call_matrices(call, a[0], "inputs", 1, 0);
    if (input == NULL) return -1;
    const int64_t B = job->examples = input->shape[0];
    if (fa_call_expect(input, "inputs", fa_float64, B * D) < 0) return -1;
    const DLTensor *const base = fa_call_matrices(call, a[1], "bases", 1, 0);
    if (base == NULL) return -1;
    job->base_rows = base->shape[0] == 1 ? 1 : B;
    if (fa_call_expect(base, "bases", fa_float64, job->base_rows * D) < 0) return -1;
    const DLTensor *const target = fa_call_matrices(call, a[2], "target", 1, 0);
    if (target == NULL || fa_call_expect(target, "target", fa_int64, 2 * B) < 0) return -1;
    const DLTensor *const values = fa_call_matrices(call, a[3], "values", 1, 1);
    if (values == NULL || fa_call_expect(values, "values", fa_float64, B * D) < 0) return -1;
    job->input = fa_data(input);
    job->base = fa_data(base);
    job->target = fa_data(target);
    job->values = fa_data(values);
    for (int64_t e = 0; e < B; e++) {
        if (job->target[2 * e] >= 0 && job->target[2 * e] < C && job->target[2 * e + 1] < C)
            continue;
        PyErr_Format(PyExc_ValueError, "target: expected 0 to %lld", (long long)(C - 1));
        return -1;
    }
    return 0;
}

PyObject *fa_py_exact(PyObject *module, PyObject *args)
{
    const fa_state *state = PyModule_GetState(module);
    PyObject *capsule, *a[4], *result = NULL;
    fa_exact job = {0};
    fa_call call;
    fa_error error;
    fa_status status;
    if (!PyArg_ParseTuple(args, "OO!O!O!O!p:exact", &capsule, &PyTuple_Type, &a[0], &PyTuple_Type,
                          &a[1], &PyTuple_Type, &a[2], &PyTuple_Type, &a[3], &job.multiply)) {
        return NULL;
    }
    job.net = fa_network_of(capsule);
    if (job.net == NULL || !fa_exact_applies(job.net)) {
        return PyErr_Format(PyExc_TypeError, "expected a network to which exact_applies");
    }
    if (fa_call_begin(&call, state, 4) < 0) return NULL;
    if (borrow_all(&call, &job, a) < 0) goto done;
    if ((job.output = fa_call_result(&call, job.examples, NPY_DOUBLE)) == NULL ||
        (job.base_output = fa_call_result(&call, job.examples, NPY_DOUBLE)) == NULL ||
        (job.sums = fa_call_result(&call, FA_EXACT_SUMS * job.examples, NPY_DOUBLE)) == NULL) {
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    status = fa_exact_run(&job, &error);
    Py_END_ALLOW_THREADS
    if (status != FA_OK) {
        fa_raise(state, status, &error);
        goto done;
    }
    result = PyTuple_Pack(3, call.results[0], call.results[1], call.results[2]);

done:
    fa_call_end(&call);
    return result;
}
