/* module.c -- fastattr._core: multi-phase initialisation, module state, method table. */
#define _GNU_SOURCE /* RTLD_NOLOAD */
#define FA_IMPORTS_NUMPY
#include "core.h"

#include <dlfcn.h>

#include "../cpu/cpu.h"
#include "callback_model.h"

PyObject *fa_raise(const fa_state *state, fa_status status, const fa_error *error)
{
    PyObject *const types[] = {
        [FA_EINVAL] = PyExc_ValueError,
        [FA_ETYPE] = PyExc_TypeError,
        [FA_EUNSUPPORTED] = PyExc_NotImplementedError,
        [FA_ENOMEM] = PyExc_MemoryError,
        [FA_EDEVICE] = state->BackendError,
    };
    if (status != FA_EMODEL) PyErr_SetString(types[status], error->message);
    return NULL;
}

static PyObject *get_thread_count(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLong(fa_thread_count());
}

static PyObject *set_thread_count(PyObject *module, PyObject *count)
{
    (void)module;
    const long value = PyLong_AsLong(count);
    if (value == -1 && PyErr_Occurred()) return NULL;
    if (value < 0 || value > FA_MAX_THREADS) {
        return PyErr_Format(PyExc_ValueError,
                            "n: expected 1 to %d threads, or 0 for one per CPU, got %ld",
                            FA_MAX_THREADS, value);
    }
    fa_set_thread_count((int)value);
    Py_RETURN_NONE;
}

/* An OpenMP runtime that is loaded already, by the address of gcc's entry into it. */
static PyObject *share_threads(PyObject *module, PyObject *path)
{
    static fa_team team; /* written once: under the GIL, before it is shared */
    (void)module;
    const char *const name = PyUnicode_AsUTF8(path);
    if (name == NULL) return NULL;
    void *const library = dlopen(name, RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
    if (library == NULL || team.parallel != NULL) return PyBool_FromLong(library != NULL);
    void *const parallel = dlsym(library, "GOMP_parallel");
    void *const most = dlsym(library, "omp_get_max_threads");
    if (parallel == NULL || most == NULL) Py_RETURN_FALSE;
    memcpy(&team.most, &most, sizeof(most));
    memcpy(&team.parallel, &parallel, sizeof(parallel));
    fa_share_team(&team);
    Py_RETURN_TRUE;
}

static PyObject *is_out_of_memory(PyObject *module, PyObject *exception)
{
    (void)module;
    return PyBool_FromLong(fa_is_out_of_memory(exception));
}

static PyObject *cpu_level(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyUnicode_FromString(fa_cpu_level_name(fa_cpu_level()));
}

#define FA_KEYWORDS(fn) (PyCFunction)(void (*)(void))(fn), METH_VARARGS | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"integrate", FA_KEYWORDS(fa_py_integrate),
     PyDoc_STR("integrate(*, evaluate, inputs, ...) -> (gap, error, output, base_output, "
               "evaluations, outcome, worst outcome, rows); see csrc/engine/integrate.h")},
    {"integrate_plan", FA_KEYWORDS(fa_py_integrate_plan),
     PyDoc_STR("integrate_plan(rule, steps, adaptive, examples) -> (levels, most nodes of a "
               "pass, scratch bytes)")},
    {"sample", FA_KEYWORDS(fa_py_sample),
     PyDoc_STR("sample(*, evaluate, inputs, ...) -> (output, sums, rows); see "
               "csrc/engine/sample.h")},
    {"sample_scratch", fa_py_sample_scratch, METH_VARARGS,
     PyDoc_STR("sample_scratch(examples, draws) -> bytes")},
    {"forward", FA_KEYWORDS(fa_py_forward),
     PyDoc_STR("forward(*, evaluate, bases, ...) -> rows; see csrc/engine/sample.h")},
    {"ascend", FA_KEYWORDS(fa_py_ascend),
     PyDoc_STR("ascend(*, evaluate, start, ...) -> (initial, final, total, steps, outcome, "
               "predicted, gradients, units, rows); see csrc/engine/ascend.h")},
    {"ascend_plan", fa_py_ascend_plan, METH_VARARGS,
     PyDoc_STR("ascend_plan(rows, paths, slots) -> (pairs of scalars, scratch bytes)")},
    {"philox", fa_py_philox, METH_VARARGS, PyDoc_STR("philox(counter, key) -> four 32-bit words")},
    {"normal", fa_py_normal, METH_O, PyDoc_STR("normal(bits) -> the normal of a 32-bit word")},
    {"noisy", FA_KEYWORDS(fa_py_noisy),
     PyDoc_STR("noisy(out, input, ids, stdev, draws, seed, member, first, count) -> None")},
    {"drawn_references", fa_py_drawn_references, METH_VARARGS,
     PyDoc_STR("drawn_references(ids, draws, seed, references) -> (B, draws) int64")},
    {"dense", fa_py_dense, METH_VARARGS,
     PyDoc_STR("dense(layers, head, wide, whole=False) -> a network to be passed as `evaluate`; "
               "layers are tuples "
               "(in, out, weight or None, bias or None, activation, a, b), see csrc/layers.h")},
    {"dense_rows", fa_py_dense_rows, METH_O,
     PyDoc_STR("dense_rows(network) -> rows of a chunk that stay in the caches")},
    {"dense_evaluate", fa_py_dense_evaluate, METH_VARARGS,
     PyDoc_STR("dense_evaluate(network, (points,), (scalars,), (values,), (gradients,) or None) -> "
               "predicted classes, where a scalar asked for them")},
    {"layers", fa_py_layers, METH_VARARGS,
     PyDoc_STR("layers(layers, head, wide) -> a network that is run layer by layer, on the device "
               "of its weights, which it borrows; to be passed as `evaluate` after layers_bind")},
    {"layers_bytes", fa_py_layers_bytes, METH_VARARGS,
     PyDoc_STR("layers_bytes(network, rows, pairs) -> int; for rows of so many scalars in all")},
    {"layers_bind", fa_py_layers_bind, METH_VARARGS,
     PyDoc_STR("layers_bind(network, memory, rows, pairs) -> None; memory is borrowed too")},
    {"exact", fa_py_exact, METH_VARARGS,
     PyDoc_STR("exact(network, (inputs,), (bases,), (target,), (values,), multiply) -> (output, "
               "base_output, sums); see csrc/engine/exact.h")},
    {"exact_applies", fa_py_exact_applies, METH_O,
     PyDoc_STR("exact_applies(network) -> bool; whether its integral has a closed form")},
    {"checksum", fa_py_checksum, METH_O,
     PyDoc_STR("checksum(arrays) -> int; of the contents, see csrc/checksum.h")},
    {"gemm", FA_KEYWORDS(fa_py_gemm),
     PyDoc_STR("gemm(a, b, out, transpose_a=False, transpose_b=False, accumulate=False) -> None; "
               "see fa_gemm_args of csrc/fastattr.h")},
    {"use_blas", fa_py_use_blas, METH_O,
     PyDoc_STR("use_blas(wanted) -> bool; whether products go through SciPy's BLAS from now on")},
    {"winograd", fa_py_winograd, METH_VARARGS,
     PyDoc_STR("winograd(weight, bias or None) -> a filter of 3 x 3, see csrc/cpu/winograd.h")},
    {"winograd_run", fa_py_winograd_run, METH_VARARGS,
     PyDoc_STR("winograd_run(filter, images, out, height, width, padding) -> None; channels last")},
    {"quadrature", fa_py_quadrature, METH_VARARGS,
     PyDoc_STR("quadrature(rule, n) -> (nodes, weights) on [0, 1]")},
    {"stand_in", fa_py_stand_in, METH_NOARGS,
     PyDoc_STR("stand_in() -> bool; is it the CUDA kernels that compute on the CPU, in tests")},
    {"is_out_of_memory", is_out_of_memory, METH_O,
     PyDoc_STR("is_out_of_memory(exception) -> bool; what makes a chunk be asked for again")},
    {"cpu_level", cpu_level, METH_NOARGS,
     PyDoc_STR("cpu_level() -> name; see csrc/cpu/dispatch.c")},
    {"require_device", fa_py_require_device, METH_VARARGS,
     PyDoc_STR("require_device(type, id) -> None; BackendError unless a backend computes there")},
    {"cuda_backend", fa_py_cuda_backend, METH_NOARGS,
     PyDoc_STR("cuda_backend() -> (architectures or None, what is missing or None)")},
    {"get_num_threads", get_thread_count, METH_NOARGS, PyDoc_STR("get_num_threads() -> int")},
    {"share_threads", share_threads, METH_O, PyDoc_STR("share_threads(path) -> bool")},
    {"set_num_threads", set_thread_count, METH_O, PyDoc_STR("set_num_threads(n) -> None")},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    fa_state *state = PyModule_GetState(module);
    fa_error error;
    import_array1(-1);
    state->BackendError = PyErr_NewExceptionWithDoc(
        "fastattr.BackendError", "No backend computes on this device, or the device failed.",
        PyExc_RuntimeError, NULL);
    state->dlpack = PyUnicode_InternFromString("__dlpack__");
    state->exchange = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
    state->exchange_old = PyUnicode_InternFromString("__c_dlpack_exchange_api__");
    state->dlpack_names = Py_BuildValue("(s)", "max_version");
    state->dlpack_version = Py_BuildValue("(ii)", FA_DLPACK_MAJOR, 1);
    if (state->BackendError == NULL || state->dlpack == NULL || state->exchange == NULL ||
        state->exchange_old == NULL || state->dlpack_names == NULL ||
        state->dlpack_version == NULL) {
        return -1; /* module_clear releases what was made */
    }
    if (fa_stand_in_open(&error) != FA_OK) {
        PyErr_SetString(PyExc_ImportError, error.message);
        return -1;
    }
    return PyModule_AddObjectRef(module, "BackendError", state->BackendError);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fa_state *state = PyModule_GetState(module);
    Py_VISIT(state->BackendError);
    Py_VISIT(state->dlpack);
    Py_VISIT(state->exchange);
    Py_VISIT(state->exchange_old);
    Py_VISIT(state->dlpack_names);
    Py_VISIT(state->dlpack_version);
    return 0;
}

static int module_clear(PyObject *module)
{
    fa_state *state = PyModule_GetState(module);
    Py_CLEAR(state->BackendError);
    Py_CLEAR(state->dlpack);
    Py_CLEAR(state->exchange);
    Py_CLEAR(state->exchange_old);
    Py_CLEAR(state->dlpack_names);
    Py_CLEAR(state->dlpack_version);
    return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fastattr._core",
    .m_doc = "C core of fastattr; see fastattr for the public names.",
    .m_size = sizeof(fa_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&module_def); }
