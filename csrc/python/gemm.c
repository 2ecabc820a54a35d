/* gemm.c -- _core.gemm, and where its BLAS comes from: the capsules that fastattr.blas finds. */
#include "../cpu/gemm.h"

#include <stdatomic.h>

#include "blas.h"
#include "borrow.h"

static atomic_int looked_for; /* by anybody: the addresses are the process's too */

/* Whether a capsule's name, which is the C signature, is that of a gemm with 32-bit integers. What
 * SciPy calls the real type differs from version to version; it must be one name throughout. */
static int is_gemm(const char *signature)
{
    static const char *const between[] = {"void (char *, char *, int *, int *, int *, ",
                                          " *, ",
                                          " *, int *, ",
                                          " *, int *, ",
                                          " *, ",
                                          " *, int *)"};
    const char *at = signature, *type = NULL;
    size_t length = 0;
    for (size_t i = 0; i < sizeof(between) / sizeof(between[0]); i++) {
        if (strncmp(at, between[i], strlen(between[i])) != 0) return 0;
        at += strlen(between[i]);
        if (type == NULL) type = at, length = strcspn(at, " ");
        if (*at == '\0') return i == 5;
        if (strncmp(at, type, length) != 0) return 0;
        at += length;
    }
    return 0;
}

/* NULL, without an exception, if there is no such function. */
static void *function_of(PyObject *table, const char *name)
{
    PyObject *capsule = PyMapping_GetItemString(table, name);
    void *found = NULL;
    if (capsule != NULL && PyCapsule_CheckExact(capsule)) {
        const char *signature = PyCapsule_GetName(capsule);
        if (signature != NULL && is_gemm(signature)) {
            found = PyCapsule_GetPointer(capsule, signature);
        }
    }
    PyErr_Clear();
    Py_XDECREF(capsule);
    return found;
}

int fa_find_blas(void)
{
    if (atomic_exchange(&looked_for, 1)) return fa_blas_known();
    PyObject *module = PyImport_ImportModule("fastattr.blas");
    PyObject *table = module != NULL ? PyObject_CallMethod(module, "functions", NULL) : NULL;
    if (table != NULL) {
        void *const single = function_of(table, "sgemm"), *const twice =
                                                              function_of(table, "dgemm");
        if (single != NULL && twice != NULL) fa_blas_set((fa_sgemm)single, (fa_dgemm)twice);
    }
    PyErr_Clear(); /* a SciPy that cannot be imported is one that is not there */
    Py_XDECREF(table);
    Py_XDECREF(module);
    return fa_blas_known();
}

PyObject *fa_py_use_blas(PyObject *module, PyObject *wanted)
{
    (void)module;
    const int yes = PyObject_IsTrue(wanted);
    if (yes < 0) return NULL;
    atomic_store(&looked_for, !yes);
    fa_blas_set(NULL, NULL);
    return PyBool_FromLong(fa_find_blas());
}

static int check_factor(const fa_borrow *factor, const char *name, const fa_borrow *out,
                        int64_t rows, int64_t columns)
{
    const DLTensor *got = &factor->tensor, *like = &out->tensor;
    if (fa_dtype_of(got->dtype) != fa_dtype_of(like->dtype)) {
        PyErr_Format(PyExc_TypeError, "%s: expected %s like out, got %s", name,
                     fa_dtype_name(like->dtype), fa_dtype_name(got->dtype));
        return -1;
    }
    if (got->device.device_type != like->device.device_type ||
        got->device.device_id != like->device.device_id) {
        PyErr_Format(PyExc_ValueError, "%s: expected device (%d, %d) like out, got (%d, %d)", name,
                     like->device.device_type, like->device.device_id, got->device.device_type,
                     got->device.device_id);
        return -1;
    }
    const int empty = fa_numel(like) == 0; /* then all is, or one extent of a factor is unknown */
    if (!empty && (got->shape[0] != rows || (rows > 0 && got->shape[1] != columns))) {
        PyErr_Format(PyExc_ValueError, "%s: expected shape (%lld, %lld), got (%lld, %lld)", name,
                     (long long)rows, (long long)columns, (long long)got->shape[0],
                     (long long)got->shape[1]);
        return -1;
    }
    return 0;
}

static int check(const fa_borrow *a, const fa_borrow *b, const fa_borrow *out, int transpose_a,
                 int transpose_b)
{
    const int64_t M = out->shape[0], N = out->shape[1], K = a->shape[transpose_a ? 0 : 1];
    const fa_dtype dtype = fa_dtype_of(out->tensor.dtype);
    if (dtype != FA_FLOAT32 && dtype != FA_FLOAT64) {
        PyErr_Format(PyExc_TypeError, "out: expected float32 or float64, got %s",
                     fa_dtype_name(out->tensor.dtype));
        return -1;
    }
    if (check_factor(a, "a", out, transpose_a ? K : M, transpose_a ? M : K) < 0) return -1;
    return check_factor(b, "b", out, transpose_b ? N : K, transpose_b ? K : N);
}

static int multiply(const fa_state *state, const fa_gemm_args *args, void *stream)
{
    const fa_backend *backend;
    fa_error error;
    fa_status status = fa_backend_of_tensors(&backend, args->out->device, &error);
    if (status == FA_OK) {
        Py_BEGIN_ALLOW_THREADS
        status = fa_stand_in_wait(backend->gemm(args, stream, &error), &error);
        Py_END_ALLOW_THREADS
    }
    if (status != FA_OK) fa_raise(state, status, &error);
    return status == FA_OK ? 0 : -1;
}

PyObject *fa_py_gemm(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"a", "b", "out", "transpose_a", "transpose_b", "accumulate", NULL};
    const fa_state *state = PyModule_GetState(module);
    PyObject *left, *right, *target, *result = NULL;
    fa_borrow a = {0}, b = {0}, out = {0};
    fa_gemm_args product = {.out = &out.tensor, .a = &a.tensor, .b = &b.tensor};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|ppp:gemm", names, &left, &right, &target,
                                     &product.transpose_a, &product.transpose_b,
                                     &product.accumulate)) {
        return NULL;
    }
    if (fa_borrow_matrix(&a, state, left, "a", 0) < 0 ||
        fa_borrow_matrix(&b, state, right, "b", 0) < 0 ||
        fa_borrow_matrix(&out, state, target, "out", 1) < 0) {
        goto done;
    }
    if (check(&a, &b, &out, product.transpose_a, product.transpose_b) < 0) goto done;
    (void)fa_find_blas();
    if (multiply(state, &product, out.stream) == 0) result = Py_NewRef(Py_None);

done:
    fa_release(&out);
    fa_release(&b);
    fa_release(&a);
    return result;
}
