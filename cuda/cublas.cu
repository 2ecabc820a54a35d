/* cublas.cu -- finding cuBLAS, and its handles: one for each device and thread. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr */
#endif
#include "cublas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FA_MOST_DEVICES 64

/* What the process found, once and for all; a failure is looked into again at the next call. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static fa_cublas found;
static void *library;
static pthread_key_t handles_key; /* of a thread: FA_MOST_DEVICES handles */

fa_status fa_cublas_check(int result, const char *what, fa_error *error)
{
    if (result == FA_CUBLAS_SUCCESS) return FA_OK;
    const fa_status status = result == FA_CUBLAS_ALLOC_FAILED ? FA_ENOMEM : FA_EDEVICE;
    return fa_fail(error, status, "cuBLAS: %s: status %d", what, result);
}

/* `name` in the wheels' folder `part`, a sibling of the package that this library is in. */
static void *open_wheel(const char *part, const char *name)
{
    Dl_info self;
    char path[4096];
    if (dladdr(&lock, &self) == 0 || self.dli_fname == nullptr) return nullptr;
    const char *const end = strrchr(self.dli_fname, '/');
    const int length = end != nullptr ? (int)(end - self.dli_fname) : 0;
    const int size = snprintf(path, sizeof(path), "%.*s/../nvidia/%s/lib/%s", length,
                              self.dli_fname, part, name);
    if (length == 0 || size < 0 || (size_t)size >= sizeof(path)) return nullptr;
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void *open_library(void)
{
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12"};
    static const char *const parts[] = {"cu13", "cublas"};
    void *opened = nullptr;
    for (int i = 0; i < 2 && opened == nullptr; i++) {
        opened = dlopen(names[i], RTLD_NOW | RTLD_NOLOAD);
    }
    for (int i = 0; i < 2 && opened == nullptr; i++) opened = open_wheel(parts[i], names[i]);
    for (int i = 0; i < 2 && opened == nullptr; i++) {
        opened = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    return opened;
}

/* A data pointer becomes a function pointer by its bytes. */
template <typename Function> static bool find(Function *out, void *from, const char *name)
{
    void *const symbol = dlsym(from, name);
    memcpy(out, &symbol, sizeof(symbol));
    return symbol != nullptr;
}

static bool find_all(fa_cublas *out, void *from)
{
    return find(&out->get_property, from, "cublasGetProperty") &&
           find(&out->create, from, "cublasCreate_v2") &&
           find(&out->destroy, from, "cublasDestroy_v2") &&
           find(&out->set_stream, from, "cublasSetStream_v2") &&
           find(&out->sgemm, from, "cublasSgemm_v2_64") &&
           find(&out->dgemm, from, "cublasDgemm_v2_64");
}

static void end_thread(void *memory)
{
    fa_cublas_handle *const handles = static_cast<fa_cublas_handle *>(memory);
    for (int i = 0; i < FA_MOST_DEVICES; i++) {
        if (handles[i] != nullptr) (void)found.destroy(handles[i]);
    }
    free(handles);
}

/* Holding the lock. */
static fa_status open_door(fa_error *error)
{
    int major = 0;
    fa_cublas functions;
    if (library != nullptr) return FA_OK;
    void *const opened = open_library();
    if (opened == nullptr) {
        return fa_fail(
            error, FA_EDEVICE,
            "cuBLAS 13 or 12 was not found; import torch first, or install nvidia-cublas");
    }
    if (!find_all(&functions, opened) ||
        functions.get_property(FA_CUBLAS_MAJOR, &major) != FA_CUBLAS_SUCCESS ||
        (major != 12 && major != 13)) {
        dlclose(opened);
        return fa_fail(error, FA_EDEVICE, "expected cuBLAS 12 or 13, got version %d", major);
    }
    if (pthread_key_create(&handles_key, end_thread) != 0) {
        dlclose(opened);
        return fa_fail(error, FA_ENOMEM, "no memory for the handles of cuBLAS");
    }
    found = functions;
    library = opened;
    return FA_OK;
}

/* Where this thread keeps its handle for the current device. */
static fa_status find_slot(fa_cublas_handle **out, fa_error *error)
{
    int device = 0;
    FA_TRY(fa_cuda_check(cudaGetDevice(&device), "device", error));
    if (device < 0 || device >= FA_MOST_DEVICES) {
        return fa_fail(error, FA_EDEVICE, "expected at most %d devices, got cuda:%d",
                       FA_MOST_DEVICES, device);
    }
    void *handles = pthread_getspecific(handles_key);
    if (handles == nullptr) {
        handles = calloc(FA_MOST_DEVICES, sizeof(fa_cublas_handle));
        if (handles == nullptr || pthread_setspecific(handles_key, handles) != 0) {
            free(handles);
            return fa_fail(error, FA_ENOMEM, "no memory for the handles of cuBLAS");
        }
    }
    *out = static_cast<fa_cublas_handle *>(handles) + device;
    return FA_OK;
}

fa_status fa_cublas_open(const fa_cublas **out, fa_cublas_handle *handle, cudaStream_t stream,
                         fa_error *error)
{
    fa_cublas_handle *slot = nullptr;
    pthread_mutex_lock(&lock);
    const fa_status status = open_door(error);
    pthread_mutex_unlock(&lock);
    FA_TRY(status);
    FA_TRY(find_slot(&slot, error));
    if (*slot == nullptr) FA_TRY(fa_cublas_check(found.create(slot), "create", error));
    FA_TRY(fa_cublas_check(found.set_stream(*slot, stream), "stream", error));
    *out = &found;
    *handle = *slot;
    return FA_OK;
}
