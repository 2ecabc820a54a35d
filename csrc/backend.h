/* backend.h -- the library of the CUDA backend. */
#ifndef FA_BACKEND_H
#define FA_BACKEND_H

#include "fastattr.h"

#define FA_CUDA_LIBRARY "libfastattr_cuda.so"

/* The CUDA backend, whether or not there is a device; see its `ready`. Thread-safe. */
fa_status fa_backend_cuda(const fa_backend **out, fa_error *error);

#endif /* FA_BACKEND_H */
