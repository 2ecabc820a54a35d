#include "callback_model.h"

int fa_is_out_of_memory(PyObject *exception)
{
    static const char *const signs[] = {"DefaultCPUAllocator",       "CUDA out of memory",
                                        "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
                                        "CUDNN_STATUS_ALLOC_FAILED", "std::bad_alloc"};
    if (PyErr_GivenExceptionMatches(exception, PyExc_MemoryError)) return 1;
    if (!PyErr_GivenExceptionMatches(exception, PyExc_RuntimeError)) return 0;
    if (strstr(Py_TYPE(exception)->tp_name, "OutOfMemoryError") != NULL) return 1;

    int found = 0;
    PyObject *text = PyObject_Str(exception);
    const char *utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    for (size_t i = 0; utf8 != NULL && i < sizeof(signs) / sizeof(signs[0]); i++) {
        found |= strstr(utf8, signs[i]) != NULL;
    }
    PyErr_Clear(); /* an exception that cannot be printed is not one of these */
    Py_XDECREF(text);
    return found;
}

/* The exception that is set, taken (strong) and given back, in any Python version. */
static PyObject *take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) PyException_SetTraceback(value, traceback);
    Py_XDECREF(traceback);
    Py_DECREF(type);
    return value;
#endif
}

static void give_exception(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    PyErr_Restore(Py_NewRef(Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
#endif
}

/* Out of memory is dropped with its traceback, whose frames hold the chunk's tensors, so
 * that a smaller chunk finds room. One row alone keeps its exception. */
static fa_status classify(int64_t rows, fa_error *error)
{
    PyObject *exception = take_exception();
    if (rows == 1 || !fa_is_out_of_memory(exception)) {
        give_exception(exception);
        return FA_EMODEL;
    }
    Py_DECREF(exception);
    (void)PyGC_Collect(); /* frames that refer to themselves */
    return fa_fail(error, FA_ENOMEM, "the model ran out of memory at %lld rows", (long long)rows);
}

static int check_answer(const fa_borrow *borrow, const DLTensor *like, int64_t numel,
                        int same_dtype, const char *name)
{
    const DLTensor *got = &borrow->tensor;
    const int is_float = fa_dtype_of(got->dtype) != FA_OTHER;
    if (!is_float || (same_dtype && fa_dtype_of(got->dtype) != fa_dtype_of(like->dtype))) {
        PyErr_Format(PyExc_TypeError, "model: %s: expected %s, got %s", name,
                     same_dtype ? fa_dtype_name(like->dtype) : "a floating dtype",
                     fa_dtype_name(got->dtype));
        return -1;
    }
    if (fa_numel(got) != numel) {
        PyErr_Format(PyExc_ValueError, "model: %s: expected %lld elements, got %lld", name,
                     (long long)numel, (long long)fa_numel(got));
        return -1;
    }
    if (got->device.device_type != like->device.device_type ||
        got->device.device_id != like->device.device_id) {
        PyErr_Format(PyExc_ValueError, "model: %s: expected device (%d, %d), got (%d, %d)", name,
                     like->device.device_type, like->device.device_id, got->device.device_type,
                     got->device.device_id);
        return -1;
    }
    return 0;
}

static int borrow_gradients(fa_callback_model *self, PyObject *gradients, const fa_batch *batch,
                            fa_evaluation *out)
{
    if (!PyTuple_Check(gradients) || PyTuple_GET_SIZE(gradients) != batch->inputs) {
        PyErr_Format(PyExc_TypeError, "model: expected a tuple of %lld gradients, got %R",
                     (long long)batch->inputs, Py_TYPE(gradients));
        return -1;
    }
    for (int64_t t = 0; t < batch->inputs; t++) {
        PyObject *gradient = PyTuple_GET_ITEM(gradients, t);
        fa_borrow *borrow = &self->gradients[t];
        const DLTensor *points = &batch->points[t];
        if (gradient == Py_None) continue;
        if (fa_borrow_matrix(borrow, self->state, gradient, "model: gradient", 0) < 0) return -1;
        if (check_answer(borrow, points, fa_numel(points) * batch->scalar_count, 1, "gradient") < 0)
            return -1;
        borrow->shape[0] = batch->rows * batch->scalar_count;
        borrow->shape[1] = points->shape[1];
        out->gradients[t] = &borrow->tensor;
    }
    return 0;
}

static int borrow_answer(fa_callback_model *self, PyObject *answer, const fa_batch *batch,
                         fa_evaluation *out)
{
    if (!PyTuple_Check(answer) || PyTuple_GET_SIZE(answer) != 3) {
        PyErr_Format(PyExc_TypeError,
                     "model: expected a tuple (values, predicted, gradients), got %R",
                     Py_TYPE(answer));
        return -1;
    }
    PyObject *predicted = PyTuple_GET_ITEM(answer, 1);
    const DLDataType int64 = {kDLInt, 64, 1};
    if (fa_borrow_matrix(&self->values, self->state, PyTuple_GET_ITEM(answer, 0), "model: values",
                         0) < 0)
        return -1;
    if (check_answer(&self->values, &batch->points[0], batch->rows * batch->scalar_count, 0,
                     "values") < 0)
        return -1;
    out->values = &self->values.tensor;
    if (predicted != Py_None) {
        if (fa_borrow_table(&self->predicted, self->state, predicted, "model: predicted", 0, int64,
                            batch->rows) < 0)
            return -1;
        out->predicted = &self->predicted.tensor;
    }
    if (!batch->gradients) return 0;
    return borrow_gradients(self, PyTuple_GET_ITEM(answer, 2), batch, out);
}

static void release_answer(fa_callback_model *self)
{
    for (int64_t t = self->inputs - 1; t >= 0; t--) fa_release(&self->gradients[t]);
    fa_release(&self->predicted);
    fa_release(&self->values);
}

/* Call and borrow, holding the GIL. Returns 0, or -1 with an exception set. */
static int ask(fa_callback_model *self, const fa_batch *batch, fa_evaluation *out)
{
    int result = -1;
    PyObject *answer = NULL;
    PyObject *rows = PyLong_FromLongLong(batch->rows);
    PyObject *gradients = PyLong_FromLongLong(batch->gradients ? batch->scalar_count : 0);
    PyObject *remaining = PyLong_FromLongLong(batch->remaining);
    if (rows == NULL || gradients == NULL || remaining == NULL) goto done;
    if (PyErr_CheckSignals() < 0) goto done; /* Ctrl-C between chunks */
    PyObject *const args[3] = {rows, gradients, remaining};
    answer = PyObject_Vectorcall(self->callable, args, 3, NULL);
    if (answer == NULL) goto done;
    result = borrow_answer(self, answer, batch, out);

done:
    Py_XDECREF(answer);
    Py_XDECREF(remaining);
    Py_XDECREF(gradients);
    Py_XDECREF(rows);
    return result;
}

static fa_status evaluate(void *context, const fa_batch *batch, fa_evaluation *out, fa_error *error)
{
    fa_callback_model *self = context;
    fa_status status = FA_OK;
    FA_TRY(fa_stand_in_wait(FA_OK, error));
    PyEval_RestoreThread(self->thread);
    if (ask(self, batch, out) < 0) {
        release_answer(self);
        status = classify(batch->rows, error);
    }
    self->thread = PyEval_SaveThread();
    return status;
}

static void release(void *context)
{
    fa_callback_model *self = context;
    fa_error unused;
    (void)fa_stand_in_wait(FA_OK, &unused); /* what failed is said again at the next wait */
    PyEval_RestoreThread(self->thread);
    release_answer(self);
    self->thread = PyEval_SaveThread();
}

int fa_call_pull(PyObject *function, const int64_t *active, int64_t count, int64_t level)
{
    npy_intp shape[1] = {count};
    PyObject *examples = PyArray_SimpleNew(1, shape, NPY_INT64);
    PyObject *answer = NULL;
    if (examples == NULL) return -1;
    memcpy(PyArray_DATA((PyArrayObject *)examples), active, (size_t)count * sizeof(int64_t));
    answer = PyObject_CallFunction(function, "OL", examples, (long long)level);
    Py_DECREF(examples);
    Py_XDECREF(answer);
    return answer != NULL ? 0 : -1;
}

static fa_status pull(void *context, const int64_t *active, int64_t count, int64_t level,
                      fa_error *error)
{
    fa_callback_model *self = context;
    FA_TRY(fa_stand_in_wait(FA_OK, error));
    PyEval_RestoreThread(self->thread);
    const int failed = fa_call_pull(self->pull, active, count, level) < 0;
    self->thread = PyEval_SaveThread();
    return failed ? FA_EMODEL : FA_OK;
}

void fa_callback_init(fa_callback_model *self, fa_model *out, const fa_state *state,
                      PyObject *callable, PyObject *pull_back, int64_t inputs)
{
    self->state = state;
    self->callable = callable;
    self->pull = pull_back;
    self->thread = NULL;
    self->inputs = inputs;
    self->values.owner = self->predicted.owner = NULL;
    for (int64_t t = 0; t < inputs; t++) self->gradients[t].owner = NULL;
    *out = (fa_model){.self = self, .evaluate = evaluate, .release = release};
    if (pull_back != NULL) out->pull = pull;
}

void fa_callback_begin(fa_callback_model *self) { self->thread = PyEval_SaveThread(); }

void fa_callback_end(fa_callback_model *self) { PyEval_RestoreThread(self->thread); }
