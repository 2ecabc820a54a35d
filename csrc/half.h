/* half.h -- float16 and bfloat16 by their bits, the same on every machine and device.
 *
 * Storage types only: kernels load to float, compute in float and store with
 * round-to-nearest-even. NaN stays NaN and becomes quiet, as in the processors' own conversions;
 * infinities and subnormals are kept. */
#ifndef FA_HALF_H
#define FA_HALF_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define FA_HD __host__ __device__ static inline
#else
#define FA_HD static inline
#endif

typedef uint16_t fa_half;
typedef uint16_t fa_bfloat;

FA_HD float fa_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

FA_HD uint32_t fa_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

FA_HD float fa_float_of_bfloat(fa_bfloat value) { return fa_float_of_bits((uint32_t)value << 16); }

FA_HD fa_bfloat fa_bfloat_of_float(float value)
{
    const uint32_t bits = fa_bits_of_float(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    return (fa_bfloat)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

/* The exponent is moved by a multiplication, which also normalises subnormals. */
FA_HD float fa_float_of_half(fa_half value)
{
    const uint32_t magnitude = (uint32_t)(value & 0x7fffu) << 13;
    const float scaled = fa_float_of_bits(magnitude) * 0x1p112f;
    const uint32_t quiet = (magnitude & 0x7fe000u) != 0 ? 0x400000u : 0u;
    const uint32_t special = magnitude | 0x7f800000u | quiet; /* infinity and NaN */
    const uint32_t bits = (value & 0x7c00u) == 0x7c00u ? special : fa_bits_of_float(scaled);
    return fa_float_of_bits(bits | (uint32_t)(value & 0x8000u) << 16);
}

/* Normal results round in integers; subnormal ones by adding 0.5f, whose last bit is
 * the spacing 2^-24 of subnormal halves, so that the float addition does the rounding. */
FA_HD fa_half fa_half_of_float(float value)
{
    const uint32_t bits = fa_bits_of_float(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t result;
    if (magnitude > 0x7f800000u) {
        result = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    } else if (magnitude >= 0x47800000u) { /* 2^16 and up, infinity among them */
        result = 0x7c00u;
    } else if (magnitude < 0x38800000u) { /* below 2^-14 */
        result = fa_bits_of_float(fa_float_of_bits(magnitude) + 0.5f) - 0x3f000000u;
    } else {
        result = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    }
    return (fa_half)(sign | result);
}

#endif /* FA_HALF_H */
