/* cpu.h -- what the CPU kernels share. */
#ifndef FA_CPU_H
#define FA_CPU_H

#include "../rows.h"
#include "../threads.h"

#define FA_CPU_DECLARE(op, doc) \
    fa_status fa_cpu_##op(const fa_##op##_args *args, void *stream, fa_error *error);
FA_OPS(FA_CPU_DECLARE)
#undef FA_CPU_DECLARE

/* ---- CPU levels (dispatch.c) -------------------------------------------------------------- */

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FA_X86
#define FA_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define FA_TARGET_BEGIN(features) \
    FA_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define FA_TARGET_END FA_PRAGMA(clang attribute pop)
#else
#define FA_TARGET_BEGIN(features) FA_PRAGMA(GCC push_options) FA_PRAGMA(GCC target(features))
#define FA_TARGET_END FA_PRAGMA(GCC pop_options)
#endif
#endif

enum { FA_LEVEL_BASE, FA_LEVEL_AVX2, FA_LEVEL_AVX512, FA_LEVELS };

/* The level of this process: the best that the CPU has, or what FASTATTR_CPU_LEVEL names. */
int fa_cpu_level(void);
const char *fa_cpu_level_name(int level);

/* The functions that foreach_level.h made of `fn`, as a table (level, dtype). */
#define FA_KERNEL_ROW(fn, level) \
    {fn##_f32_##level, fn##_f64_##level, fn##_f16_##level, fn##_bf16_##level}
#ifdef FA_X86
#define FA_KERNEL_TABLE(fn) \
    {FA_KERNEL_ROW(fn, base), FA_KERNEL_ROW(fn, avx2), FA_KERNEL_ROW(fn, avx512)}
#else
#define FA_KERNEL_TABLE(fn) {FA_KERNEL_ROW(fn, base)}
#endif
#define FA_KERNEL(tensor, fn)                            \
    (((fa_range_fn[FA_LEVELS][FA_OTHER])FA_KERNEL_TABLE( \
        fn))[fa_cpu_level()][fa_dtype_of((tensor)->dtype)])

/* Element r of a contiguous tensor of any floating type. */
static inline double fa_value_at(const DLTensor *values, int64_t r)
{
    const void *data = fa_data(values);
    switch (fa_dtype_of(values->dtype)) {
    case FA_FLOAT32:
        return ((const float *)data)[r];
    case FA_FLOAT64:
        return ((const double *)data)[r];
    case FA_FLOAT16:
        return fa_float_of_half(((const fa_half *)data)[r]);
    default:
        return fa_float_of_bfloat(((const fa_bfloat *)data)[r]);
    }
}

/* Element i of an array of float32 or float64. */
static inline double fa_get_real(fa_dtype dtype, const void *at, int64_t i)
{
    return dtype == FA_FLOAT64 ? ((const double *)at)[i] : (double)((const float *)at)[i];
}

static inline void fa_put_real(fa_dtype dtype, void *at, int64_t i, double value)
{
    if (dtype == FA_FLOAT64) {
        ((double *)at)[i] = value;
    } else {
        ((float *)at)[i] = (float)value;
    }
}

/* The tables `name`_<dtype>_<level> of foreach_real.h, by fa_cpu_level() and whether float64. */
#ifdef FA_X86
#define FA_REAL_LEVELS(name)                                                        \
    {                                                                               \
        {&name##_f32_base, &name##_f64_base}, {&name##_f32_avx2, &name##_f64_avx2}, \
        {                                                                           \
            &name##_f32_avx512, &name##_f64_avx512                                  \
        }                                                                           \
    }
#else
#define FA_REAL_LEVELS(name)                   \
    {                                          \
        {                                      \
            &name##_f32_base, &name##_f64_base \
        }                                      \
    }
#endif

static inline int64_t fa_min(int64_t a, int64_t b) { return a < b ? a : b; }

/* Elements of the innermost block: 4 levels of it stay in a 32 KB cache with the row. */
#define FA_BLOCK 2048

#endif /* FA_CPU_H */
