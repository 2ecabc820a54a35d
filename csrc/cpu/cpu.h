/* cpu.h -- what the CPU kernels share. */
#ifndef FA_CPU_H
#define FA_CPU_H

#include "../rows.h"
#include "../threads.h"

#define FA_CPU_DECLARE(op, doc) \
    fa_status fa_cpu_##op(const fa_##op##_args *args, void *stream, fa_error *error);
FA_OPS(FA_CPU_DECLARE)
#undef FA_CPU_DECLARE

/* Pick the function that foreach_float.h made for the dtype of `tensor`. */
#define FA_BY_DTYPE(tensor, fn)                              \
    (fa_dtype_of((tensor)->dtype) == FA_FLOAT32   ? fn##_f32 \
     : fa_dtype_of((tensor)->dtype) == FA_FLOAT64 ? fn##_f64 \
     : fa_dtype_of((tensor)->dtype) == FA_FLOAT16 ? fn##_f16 \
                                                  : fn##_bf16)

static inline int64_t fa_min(int64_t a, int64_t b) { return a < b ? a : b; }

/* Elements of the innermost block: 4 levels of it stay in a 32 KB cache with the row. */
#define FA_BLOCK 2048

#endif /* FA_CPU_H */
