/* backend.c -- which backend computes on which device.
 *
 * CUDA is a library beside this one, loaded at the first CUDA tensor: a machine without a GPU
 * never opens it, and importing it needs no driver. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr */
#endif
#include "backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FA_MOST_PATH 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const fa_backend *cuda; /* once it is loaded; a failure is looked into again */

/* FA_CUDA_LIBRARY in the folder of the library that holds this function. */
static fa_status find_library(char path[FA_MOST_PATH], fa_error *error)
{
    Dl_info self;
    const char *end = NULL;
    if (dladdr(&lock, &self) != 0 && self.dli_fname != NULL) end = strrchr(self.dli_fname, '/');
    const int length = end != NULL ? (int)(end - self.dli_fname) + 1 : 0;
    const int size = snprintf(path, FA_MOST_PATH, "%.*s%s", length,
                              end != NULL ? self.dli_fname : "", FA_CUDA_LIBRARY);
    if (size < 0 || size >= FA_MOST_PATH || access(path, F_OK) != 0) {
        return fa_fail(error, FA_EDEVICE,
                       "CUDA tensors: this build of fastattr has no CUDA backend (%s); rebuild it "
                       "with nvcc on the PATH and FASTATTR_CUDA=1, or move the model and the "
                       "inputs to the CPU",
                       FA_CUDA_LIBRARY);
    }
    return FA_OK;
}

fa_status fa_backend_cuda(const fa_backend **out, fa_error *error)
{
    char path[FA_MOST_PATH];
    pthread_mutex_lock(&lock);
    fa_status status = FA_OK;
    if (cuda == NULL) {
        status = find_library(path, error);
        if (status == FA_OK) status = fa_backend_load(&cuda, path, error);
    }
    *out = cuda;
    pthread_mutex_unlock(&lock);
    return status;
}

static const char *device_name(int32_t type)
{
    switch (type) {
    case kDLMetal:
        return "mps";
    case kDLROCM:
        return "rocm";
    case kDLOneAPI:
        return "xpu";
    default:
        return "a device";
    }
}

fa_status fa_backend_for(const fa_backend **out, DLDevice device, fa_error *error)
{
    switch (device.device_type) {
    case kDLCPU:
    case kDLCUDAHost: /* pinned memory of the host */
        *out = &fa_backend_cpu;
        return FA_OK;
    case kDLCUDA:
    case kDLCUDAManaged:
        FA_TRY(fa_backend_cuda(out, error));
        return (*out)->ready(device.device_id, error);
    default:
        return fa_fail(error, FA_EDEVICE,
                       "expected tensors on cpu or cuda, got %s (DLPack device type %d); move the "
                       "model and the inputs",
                       device_name(device.device_type), device.device_type);
    }
}
