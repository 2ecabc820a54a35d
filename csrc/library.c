/* library.c -- a backend that was built apart, as a library with one exported symbol.
 *
 * Such a library is loaded when it is first needed and stays: its kernels may still run. */
#include "fastattr.h"

#include <dlfcn.h>
#include <string.h>

static const char *last_error(void)
{
    const char *text = dlerror();
    return text != NULL ? text : "no reason given";
}

static fa_status check_abi(const fa_backend *backend, fa_error *error)
{
    if (backend != NULL && backend->abi == FA_ABI) return FA_OK;
    return fa_fail(error, FA_EDEVICE,
                   "the backend library is of another build of fastattr: expected ABI %x, got %x; "
                   "install both from one wheel, or rebuild",
                   FA_ABI, backend != NULL ? backend->abi : 0);
}

fa_status fa_backend_load(const fa_backend **out, const char *path, fa_error *error)
{
    const fa_backend *(*open_backend)(void) = NULL;
    void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return fa_fail(error, FA_EDEVICE, "the backend library does not load: %s", last_error());
    }
    void *const symbol = dlsym(library, "fa_backend_open");
    memcpy(&open_backend, &symbol, sizeof(symbol)); /* data pointers are no function pointers */
    if (symbol == NULL) {
        const fa_status status = fa_fail(error, FA_EDEVICE, "no backend library: %s", last_error());
        dlclose(library);
        return status;
    }
    const fa_backend *const backend = open_backend();
    const fa_status status = check_abi(backend, error);
    if (status == FA_OK) {
        *out = backend;
    } else {
        dlclose(library);
    }
    return status;
}
