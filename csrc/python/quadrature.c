#include "../quadrature.h"
#include "core.h"

int fa_rule_from_name(const char *name)
{
    static const char *const names[FA_RULES] = {
        [FA_GAUSS_LEGENDRE] = "gauss_legendre", [FA_FEJER] = "nested", [FA_MIDPOINT] = "midpoint",
        [FA_TRAPEZOID] = "trapezoid",           [FA_LEFT] = "left",    [FA_RIGHT] = "right",
    };
    for (int rule = 0; rule < FA_RULES; rule++) {
        if (strcmp(name, names[rule]) == 0) return rule;
    }
    PyErr_Format(PyExc_ValueError,
                 "rule: expected \"nested\", \"gauss_legendre\", \"midpoint\", \"trapezoid\", "
                 "\"left\" or \"right\", got \"%s\"",
                 name);
    return -1;
}

static PyObject *array_of(const double *values, int64_t n)
{
    npy_intp shape[1] = {n};
    PyObject *array = PyArray_SimpleNew(1, shape, NPY_DOUBLE);
    if (array != NULL) memcpy(PyArray_DATA((PyArrayObject *)array), values, (size_t)n * 8);
    return array;
}

PyObject *fa_py_quadrature(PyObject *module, PyObject *args)
{
    const char *name;
    long long steps;
    const double *nodes, *weights;
    fa_error error;
    if (!PyArg_ParseTuple(args, "sL:quadrature", &name, &steps)) return NULL;
    const int rule = fa_rule_from_name(name);
    if (rule < 0) return NULL;
    const fa_status status = fa_quadrature(&nodes, &weights, (fa_rule)rule, steps, &error);
    if (status != FA_OK) return fa_raise(PyModule_GetState(module), status, &error);
    return Py_BuildValue("(NN)", array_of(nodes, steps), array_of(weights, steps));
}
