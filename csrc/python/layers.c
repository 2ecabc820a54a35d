/* layers.c -- _core.layers: weights in, borrowed as long as the capsule lives, which an engine
 * takes for a callable once it was given memory. */
#include "layers.h"

#include "call.h"
#include "specs.h"

static const char *const capsule_name = "fastattr.layers";

typedef struct {
    fa_specs specs;
    fa_layers net;
    fa_borrow memory;
    int64_t rows, pairs;
} network;

static network *network_of(PyObject *capsule)
{
    return PyCapsule_IsValid(capsule, capsule_name) ? PyCapsule_GetPointer(capsule, capsule_name)
                                                    : NULL;
}

static void forget(PyObject *capsule)
{
    network *const self = PyCapsule_GetPointer(capsule, capsule_name);
    fa_release(&self->memory);
    fa_specs_end(&self->specs);
    PyMem_Free(self);
}

int fa_layers_of(fa_layers_run *run, PyObject *capsule)
{
    const network *const self = network_of(capsule);
    if (self == NULL) return 0;
    if (self->memory.owner == NULL) {
        PyErr_SetString(PyExc_ValueError, "layers: expected memory, see layers_bind");
        return -1;
    }
    *run = (fa_layers_run){.net = &self->net,
                           .stream = self->memory.stream,
                           .memory = fa_data(&self->memory.tensor),
                           .rows = self->rows,
                           .pairs = self->pairs};
    return 1;
}

static int describe(network *self, const fa_state *state)
{
    fa_error error;
    const fa_specs *specs = &self->specs;
    if (specs->device.device_type == 0 || specs->specs[specs->count - 1].out < 1) {
        PyErr_SetString(PyExc_ValueError, "layers: expected weights, and an output");
        return -1;
    }
    self->net = (fa_layers){.device = specs->device,
                            .dtype = specs->dtype,
                            .head = specs->head,
                            .count = specs->count,
                            .specs = specs->specs};
    const fa_status status = fa_backend_of_tensors(&self->net.backend, specs->device, &error);
    if (status != FA_OK) fa_raise(state, status, &error);
    return status == FA_OK ? 0 : -1;
}

PyObject *fa_py_layers(PyObject *module, PyObject *args)
{
    const fa_state *state = PyModule_GetState(module);
    PyObject *items, *result = NULL;
    int head, wide;
    if (!PyArg_ParseTuple(args, "O!ip:layers", &PyTuple_Type, &items, &head, &wide)) return NULL;
    network *const self = PyMem_Calloc(1, sizeof(*self));
    if (self == NULL) return PyErr_NoMemory();
    if (fa_specs_begin(&self->specs, state, items, head, wide) == 0 && describe(self, state) == 0) {
        result = PyCapsule_New(self, capsule_name, forget);
    }
    if (result == NULL) {
        fa_specs_end(&self->specs);
        PyMem_Free(self);
    }
    return result;
}

PyObject *fa_py_layers_bytes(PyObject *module, PyObject *args)
{
    PyObject *capsule;
    long long rows, pairs;
    (void)module;
    if (!PyArg_ParseTuple(args, "OLL:layers_bytes", &capsule, &rows, &pairs)) return NULL;
    const network *const self = network_of(capsule);
    if (self == NULL) return PyErr_Format(PyExc_TypeError, "expected a network of _core.layers");
    if (rows < 0 || pairs < 0 || rows > FA_MOST_ROWS || pairs > FA_MOST_ROWS) {
        return PyErr_Format(PyExc_ValueError, "rows, pairs: expected 0 to 2**40");
    }
    return PyLong_FromLongLong(fa_layers_bytes(&self->net, rows, pairs));
}

static int check_memory(const network *self, const fa_borrow *memory, int64_t wanted)
{
    const DLDevice there = memory->tensor.device, here = self->net.device;
    if (there.device_type != here.device_type || there.device_id != here.device_id) {
        PyErr_SetString(PyExc_ValueError, "memory: expected it on the device of the weights");
        return -1;
    }
    const int64_t item = memory->tensor.dtype.bits / 8;
    if (fa_numel(&memory->tensor) * item < wanted ||
        (uintptr_t)fa_data(&memory->tensor) % 16 != 0) {
        PyErr_Format(PyExc_ValueError, "memory: expected %lld bytes, aligned to 16",
                     (long long)wanted);
        return -1;
    }
    return 0;
}

PyObject *fa_py_layers_bind(PyObject *module, PyObject *args)
{
    PyObject *capsule, *object;
    long long rows, pairs;
    fa_borrow memory;
    if (!PyArg_ParseTuple(args, "OOLL:layers_bind", &capsule, &object, &rows, &pairs)) return NULL;
    network *const self = network_of(capsule);
    if (self == NULL) return PyErr_Format(PyExc_TypeError, "expected a network of _core.layers");
    if (rows < 0 || pairs < 0 || rows > FA_MOST_ROWS || pairs > FA_MOST_ROWS) {
        return PyErr_Format(PyExc_ValueError, "rows, pairs: expected 0 to 2**40");
    }
    if (fa_borrow_matrix(&memory, PyModule_GetState(module), object, "memory", 1) < 0) return NULL;
    if (check_memory(self, &memory, fa_layers_bytes(&self->net, rows, pairs)) < 0) {
        fa_release(&memory);
        return NULL;
    }
    fa_release(&self->memory);
    self->memory = memory;
    self->memory.tensor.shape = self->memory.shape;
    self->rows = rows;
    self->pairs = pairs;
    Py_RETURN_NONE;
}
