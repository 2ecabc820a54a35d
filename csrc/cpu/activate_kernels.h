/* The activations of dense.h, a vector at a time; see fa_activation_at for the formulas. */

static inline VEC FN(where)(MASK mask, VEC yes, VEC no)
{
    return (VEC)((mask & (MASK)yes) | (~mask & (MASK)no));
}

/* exp(x) = 2^n e^r and exp(x) - 1, |r| <= ln 2 / 2, by Taylor's series of e^r - 1 to a unit or two
 * in the last place; arguments are held where 2^n is a normal number. NaN stays NaN. */
static inline VEC FN(exponential)(VEC x, VEC *minus_one)
{
    const int wide = sizeof(T) == 8;
    const T limit = wide ? (T)708 : (T)87, magic = wide ? (T)6755399441055744.0 : (T)12582912.0;
    const T high = wide ? (T)0x1.62e42feep-1 : (T)0x1.62e4p-1;
    const T low = wide ? (T)0x1.a39ef35793c76p-33 : (T)0x1.7f7d1cp-20;
    x = FN(where)(x > limit, FN(fill)(limit), FN(where)(x < -limit, FN(fill)(-limit), x));
    const VEC shifted = x * (T)0x1.71547652b82fep0 + magic, n = shifted - magic;
    const VEC r = (x - n * high) - n * low;
    VEC series = FN(fill)(wide ? (T)(1.0 / 6227020800.0) : (T)(1.0 / 40320.0));
    static const double factorials[] = {1.0,      2.0,       6.0,        24.0,
                                        120.0,    720.0,     5040.0,     40320.0,
                                        362880.0, 3628800.0, 39916800.0, 479001600.0};
    for (int k = wide ? 11 : 6; k >= 0; k--) {
        series = FMA(series, r, FN(fill)((T)(1.0 / factorials[k])));
    }
    series *= r;
    const MASK exponent = (MASK)shifted - (MASK)FN(fill)(magic) + (wide ? 1023 : 127);
    const VEC scale = (VEC)(exponent << (wide ? 52 : 23));
    if (minus_one != NULL) *minus_one = FMA(series, scale, scale - (T)1);
    return FMA(series, scale, scale);
}

static inline VEC FN(logistic)(VEC z) { return (T)1 / ((T)1 + FN(exponential)(-z, NULL)); }

static inline VEC FN(hyperbolic)(VEC z)
{
    VEC grown;
    (void)FN(exponential)(z + z, &grown);
    return grown / (grown + (T)2);
}

/* Where there is no series: the definition, lane by lane. */
static inline VEC FN(by_lane)(VEC z, VEC *slope, const fa_activate *activate)
{
    VEC value = z;
    for (int64_t i = 0; i < WIDTH; i++) {
        double d = 0.0;
        value[i] = (T)fa_activation_at(activate, (double)z[i], &d);
        (*slope)[i] = (T)d;
    }
    return value;
}

/* log(1 + u), 0 <= u <= 1, as 2 artanh(u / (2 + u)) by its series, whose argument is 1/3 at most.
 */
static inline VEC FN(log_one_plus)(VEC u)
{
    const VEC s = u / (u + (T)2), square = s * s;
    const int terms = sizeof(T) == 8 ? 17 : 8; /* 9^-terms is below a unit in the last place */
    VEC series = {0};
    for (int k = terms; k >= 0; k--) {
        series = FMA(series, square, FN(fill)((T)(2.0 / (2 * k + 1))));
    }
    return s * series;
}

/* log(1 + e^t) / beta with t = beta z, from the smaller of e^t and e^-t: neither overflows. */
static inline VEC FN(softplus)(VEC z, VEC *slope, const fa_activate *activate)
{
    const VEC t = z * (T)activate->a, one = FN(fill)((T)1);
    const VEC small = FN(exponential)(FN(where)(t > (T)0, -t, t), NULL);
    const VEC soft = FN(where)(t > (T)0, t, (VEC){0}) + FN(log_one_plus)(small);
    const MASK straight = (MASK)(t > (T)activate->b);
    *slope = FN(where)(straight, one, FN(where)(t > (T)0, one, small) / (small + (T)1));
    return FN(where)(straight, z, soft / (T)activate->a);
}

/* Phi by erf of Abramowitz & Stegun 7.1.26, whose error is below 1.5e-7: float32 only. */
static inline VEC FN(gelu)(VEC z, VEC *slope, const fa_activate *activate)
{
    if (sizeof(T) == 8) return FN(by_lane)(z, slope, activate);
    const VEC size = FN(where)(z < (T)0, -z, z), bell = FN(exponential)(z * z * (T)-0.5, NULL);
    const VEC t = (T)1 / ((T)1 + size * (T)(0.3275911 * 0.70710678118654752));
    VEC tail = FN(fill)((T)(1.061405429 / 2));
    tail = FMA(tail, t, FN(fill)((T)(-1.453152027 / 2)));
    tail = FMA(tail, t, FN(fill)((T)(1.421413741 / 2)));
    tail = FMA(tail, t, FN(fill)((T)(-0.284496736 / 2)));
    tail = FMA(tail, t, FN(fill)((T)(0.254829592 / 2))) * t * bell;
    const VEC phi = FN(where)(z < (T)0, tail, (T)1 - tail);
    *slope = FMA(z * bell, FN(fill)((T)0.39894228040143268), phi);
    return z * phi;
}

/* (1 + tanh u) / 2 as the logistic of 2 u, which does not cancel. */
static inline VEC FN(gelu_tanh)(VEC z, VEC *slope)
{
    const T root = (T)(2 * 0.79788456080286536), cubic = (T)0.044715;
    const VEC square = z * z, half = FN(logistic)(z * (square * (root * cubic) + root));
    *slope = half + z * half * ((T)1 - half) * (square * (3 * root * cubic) + root);
    return z * half;
}

static inline VEC FN(activation)(VEC z, VEC *slope, const fa_activate *activate,
                                 const fa_activation kind)
{
    const VEC one = FN(fill)((T)1);
    VEC value = z, other;
    switch (kind) {
    case FA_LEAKY_RELU:
        *slope = FN(where)(z > (T)0, one, FN(fill)((T)activate->a));
        return FN(where)(z > (T)0, z, z * (T)activate->a);
    case FA_ELU:
        value = FN(exponential)(z, &other) * (T)activate->a;
        *slope = FN(where)(z > (T)0, one, value);
        return FN(where)(z > (T)0, z, other * (T)activate->a);
    case FA_GELU:
        return FN(gelu)(z, slope, activate);
    case FA_GELU_TANH:
        return FN(gelu_tanh)(z, slope);
    case FA_SILU:
        value = FN(logistic)(z);
        *slope = value * ((T)1 + z * ((T)1 - value));
        return z * value;
    case FA_TANH:
        value = FN(hyperbolic)(z);
        *slope = (T)1 - value * value;
        return value;
    case FA_SIGMOID:
        value = FN(logistic)(z);
        *slope = value * ((T)1 - value);
        return value;
    default:
        return FN(softplus)(z, slope, activate);
    }
}

static inline __attribute__((always_inline)) void FN(activate_as)(T *block, T *gate, int64_t stride,
                                                                  int64_t M, int64_t N,
                                                                  const fa_activate *activate,
                                                                  const fa_activation kind)
{
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n += WIDTH) {
            VEC slope = {0}; /* by_lane sets it element by element */
            FN(save)(block + m * stride + n,
                     FN(activation)(FN(load)(block + m * stride + n), &slope, activate, kind));
            FN(save)(gate + m * stride + n, slope);
        }
    }
}

static void FN(rectify)(T *block, int64_t stride, int64_t M, int64_t N)
{
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n += WIDTH) {
            const VEC z = FN(load)(block + m * stride + n);
            FN(save)(block + m * stride + n, FN(where)(z < (T)0, (VEC){0}, z)); /* NaN stays */
        }
    }
}

static void FN(activate)(void *block, void *gate, int64_t stride, int64_t M, int64_t N,
                         const fa_activate *activate)
{
#define FA_ACTIVATE_CASE(kind)                                      \
    case kind:                                                      \
        FN(activate_as)(block, gate, stride, M, N, activate, kind); \
        break;
    switch (activate->kind) {
    case FA_RELU:
        FN(rectify)(block, stride, M, N);
        break;
        FA_ACTIVATE_CASE(FA_LEAKY_RELU)
        FA_ACTIVATE_CASE(FA_ELU)
        FA_ACTIVATE_CASE(FA_GELU)
        FA_ACTIVATE_CASE(FA_GELU_TANH)
        FA_ACTIVATE_CASE(FA_SILU)
        FA_ACTIVATE_CASE(FA_TANH)
        FA_ACTIVATE_CASE(FA_SIGMOID)
        FA_ACTIVATE_CASE(FA_SOFTPLUS)
    default:
        break;
    }
#undef FA_ACTIVATE_CASE
}

static void FN(gate)(void *delta, int64_t delta_stride, const void *block, const void *gate,
                     int64_t stride, int64_t M, int64_t N, const fa_activate *activate)
{
    if (activate->kind == FA_IDENTITY) return;
    for (int64_t m = 0; m < M; m++) {
        T *const d = (T *)delta + m * delta_stride;
        const T *const slope = (const T *)gate + m * stride, *const h =
                                                                 (const T *)block + m * stride;
        for (int64_t n = 0; n < N; n += WIDTH) {
            const VEC v = FN(load)(d + n);
            FN(save)(d + n, activate->kind == FA_RELU
                                ? FN(where)(FN(load)(h + n) <= (T)0, (VEC){0}, v)
                                : v * FN(load)(slope + n));
        }
    }
}
