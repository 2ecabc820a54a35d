/* stand_in.c -- for the tests of this repository: another backend for the CPU's tensors.
 *
 * FASTATTR_STAND_IN names a library like that of the CUDA backend which computes in the host's
 * memory; CONTRIBUTING.md says how it is made. Read once, at import. Users never set it. */
#include "core.h"

#include <stdlib.h>

static const fa_backend *stand_in;

fa_status fa_stand_in_open(fa_error *error)
{
    const char *const path = getenv("FASTATTR_STAND_IN");
    if (path == NULL || *path == '\0' || stand_in != NULL) return FA_OK;
    return fa_backend_load(&stand_in, path, error);
}

fa_status fa_backend_of_tensors(const fa_backend **out, DLDevice device, fa_error *error)
{
    if (stand_in == NULL || device.device_type != kDLCPU) {
        return fa_backend_for(out, device, error);
    }
    *out = stand_in;
    return FA_OK;
}

/* A download waits for all that was enqueued before it. */
fa_status fa_stand_in_wait(fa_status so_far, fa_error *error)
{
    const char from = 0;
    char to;
    fa_error later;
    if (stand_in == NULL) return so_far;
    const fa_status status = stand_in->download(&to, &from, 1, NULL, &later);
    if (so_far != FA_OK || status == FA_OK) return so_far;
    return fa_fail(error, status, "%s", later.message);
}

PyObject *fa_py_stand_in(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(stand_in != NULL);
}
