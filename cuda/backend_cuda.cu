/* backend_cuda.cu -- the table, and the one symbol that this library exports. */
#include "context.h"

#define FA_EXPORT __attribute__((visibility("default")))

extern "C" FA_EXPORT const fa_backend *fa_backend_open(void);

const fa_backend *fa_backend_open(void)
{
    static const fa_backend table = {FA_ABI,
                                     kDLCUDA,
                                     "cuda",
                                     FA_CUDA_ARCHS,
                                     fa_cuda_ready,
                                     fa_cuda_upload,
                                     fa_cuda_download,
#define FA_CUDA_ENTRY(op, doc) fa_cuda_##op,
                                     FA_OPS(FA_CUDA_ENTRY)
#undef FA_CUDA_ENTRY
    };
    return &table;
}
