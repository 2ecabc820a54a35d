/* dense.c -- the table of dense.h for every CPU level and dtype, and the activations' definition.
 */
#include "dense.h"

#include <math.h>

#ifdef FA_X86
#include <immintrin.h>
#endif

/* gcc's analyzer takes a shift of a vector for one of a scalar. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#pragma GCC diagnostic ignored "-Wanalyzer-shift-count-overflow"
#endif

#define T double
#define FA_ACTIVATION double fa_activation_at
#include "../activation.h"
#undef FA_ACTIVATION
#undef T

#define FA_TEMPLATE "dense_kernels.h"
#include "foreach_real.h"

const fa_dense_ops *fa_cpu_dense(fa_dtype dtype)
{
    static const fa_dense_ops *const ops[FA_LEVELS][2] = FA_REAL_LEVELS(dense_ops);
    return ops[fa_cpu_level()][dtype == FA_FLOAT64];
}
