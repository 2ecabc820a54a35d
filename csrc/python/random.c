/* random.c -- _core.philox and normals: the generator by itself, for known-answer tests. */
#include "../random.h"
#include "core.h"

PyObject *fa_py_philox(PyObject *module, PyObject *args)
{
    unsigned int c[4], k[2];
    (void)module;
    if (!PyArg_ParseTuple(args, "(IIII)(II):philox", &c[0], &c[1], &c[2], &c[3], &k[0], &k[1])) {
        return NULL;
    }
    const fa_counter counter = {{c[0], c[1], c[2], c[3]}};
    const fa_key key = {{k[0], k[1]}};
    const fa_counter out = fa_philox(counter, key);
    return Py_BuildValue("(IIII)", out.word[0], out.word[1], out.word[2], out.word[3]);
}

PyObject *fa_py_normal(PyObject *module, PyObject *bits)
{
    (void)module;
    const unsigned long word = PyLong_AsUnsignedLong(bits);
    if (word == (unsigned long)-1 && PyErr_Occurred()) return NULL;
    return PyFloat_FromDouble(fa_normal((uint32_t)word));
}
