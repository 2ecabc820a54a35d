/* dense.c -- the table of dense.h for every CPU level and dtype, and the activations' definition.
 */
#include "dense.h"

#include <math.h>
#include <string.h>

#ifdef FA_X86
#include <immintrin.h>
#endif

/* gcc's analyzer takes a shift of a vector for one of a scalar. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#pragma GCC diagnostic ignored "-Wanalyzer-shift-count-overflow"
#endif

double fa_activation_at(const fa_activate *activate, double z, double *slope)
{
    const double a = activate->a;
    double value, t;
    switch (activate->kind) {
    case FA_RELU:
        *slope = z <= 0.0 ? 0.0 : 1.0;
        return z < 0.0 ? 0.0 : z;
    case FA_LEAKY_RELU:
        *slope = z > 0.0 ? 1.0 : a;
        return z > 0.0 ? z : a * z;
    case FA_ELU:
        *slope = z > 0.0 ? 1.0 : a * exp(z);
        return z > 0.0 ? z : a * expm1(z);
    case FA_GELU:
        value = 0.5 * erfc(z * -0.70710678118654752440);
        *slope = value + z * 0.39894228040143267794 * exp(-0.5 * z * z);
        return z * value;
    case FA_GELU_TANH:
        t = 1.0 / (1.0 + exp(-1.5957691216057307118 * z * (1.0 + 0.044715 * z * z)));
        *slope = t + z * t * (1.0 - t) * 1.5957691216057307118 * (1.0 + 3.0 * 0.044715 * z * z);
        return z * t;
    case FA_SILU:
        t = 1.0 / (1.0 + exp(-z));
        *slope = t * (1.0 + z * (1.0 - t));
        return z * t;
    case FA_TANH:
        value = tanh(z);
        *slope = 1.0 - value * value;
        return value;
    case FA_SIGMOID:
        value = 1.0 / (1.0 + exp(-z));
        *slope = value * (1.0 - value);
        return value;
    case FA_SOFTPLUS:
        *slope = a * z > activate->b ? 1.0 : 1.0 / (1.0 + exp(-a * z));
        return a * z > activate->b ? z : log1p(exp(a * z)) / a;
    default:
        *slope = 1.0;
        return z;
    }
}

#define FA_TEMPLATE "dense_kernels.h"
#include "foreach_real.h"

const fa_dense_ops *fa_cpu_dense(fa_dtype dtype)
{
    static const fa_dense_ops *const ops[FA_LEVELS][2] = FA_REAL_LEVELS(dense_ops);
    return ops[fa_cpu_level()][dtype == FA_FLOAT64];
}
