/* activation.h -- the value of an activation at z and its slope there.
 *
 * FA_ACTIVATION(activate, z, slope) is defined by each file that includes this, for one T: float64
 * on the host; on a device either type, whose functions C++ tells apart by their argument. */
FA_ACTIVATION(const fa_activate *activate, T z, T *slope)
{
    const T one = 1, a = (T)activate->a;
    T value, t, square;
    switch (activate->kind) {
    case FA_RELU:
        *slope = z <= 0 ? 0 : one;
        return z < 0 ? 0 : z;
    case FA_LEAKY_RELU:
        *slope = z > 0 ? one : a;
        return z > 0 ? z : a * z;
    case FA_ELU:
        *slope = z > 0 ? one : a * exp(z);
        return z > 0 ? z : a * expm1(z);
    case FA_GELU:
        value = (T)0.5 * erfc(z * (T)-0.70710678118654752440);
        *slope = value + z * (T)0.39894228040143267794 * exp((T)-0.5 * z * z);
        return z * value;
    case FA_GELU_TANH:
        square = (T)0.044715 * z * z;
        t = one / (one + exp((T)-1.5957691216057307118 * z * (one + square)));
        *slope = t + z * t * (one - t) * (T)1.5957691216057307118 * (one + (T)3 * square);
        return z * t;
    case FA_SILU:
        t = one / (one + exp(-z));
        *slope = t * (one + z * (one - t));
        return z * t;
    case FA_TANH:
        value = tanh(z);
        *slope = one - value * value;
        return value;
    case FA_SIGMOID:
        value = one / (one + exp(-z));
        *slope = value * (one - value);
        return value;
    case FA_SOFTPLUS:
        *slope = a * z > (T)activate->b ? one : one / (one + exp(-a * z));
        return a * z > (T)activate->b ? z : log1p(exp(a * z)) / a;
    default:
        *slope = one;
        return z;
    }
}
