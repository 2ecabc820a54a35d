/* random.h -- counter-based random numbers, the same bits on every machine and device.
 *
 * Philox 4x32-10 (Salmon et al., SC 2011). A stream belongs to (seed, id, purpose): its key
 * is drawn from Philox under the seed, so that streams of different examples or purposes never
 * overlap. Within a stream, numbers are addressed by (draw, position): nothing has a state, so
 * nothing depends on the batch, the chunk or the thread.
 * Uniforms: (k + 1/2) / 2^32, never 0 or 1. Normals: the inverse CDF of a uniform (Wichura,
 * Applied Statistics 37, 1988, algorithm AS 241, PPND16), with a logarithm of our own, so that
 * only + - * / and sqrt of float64 are used, which IEEE 754 fixes to the bit. */
#ifndef FA_RANDOM_H
#define FA_RANDOM_H

#include <math.h>

#include "half.h"

typedef struct {
    uint32_t word[4];
} fa_counter;

typedef struct {
    uint32_t word[2];
} fa_key;

/* What a stream is for: a part of its key. Noise of input t is FA_STREAM_NOISE + t. */
enum { FA_STREAM_ALPHA = 0, FA_STREAM_STRATUM = 1, FA_STREAM_REFERENCE = 2, FA_STREAM_NOISE = 64 };

FA_HD fa_counter fa_philox(fa_counter counter, fa_key key)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * counter.word[0];
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * counter.word[2];
        const fa_counter next = {
            {(uint32_t)(p1 >> 32) ^ counter.word[1] ^ key.word[0], (uint32_t)p1,
             (uint32_t)(p0 >> 32) ^ counter.word[3] ^ key.word[1], (uint32_t)p0}};
        counter = next;
        key.word[0] += 0x9E3779B9u;
        key.word[1] += 0xBB67AE85u;
    }
    return counter;
}

FA_HD fa_key fa_stream(uint64_t seed, int64_t id, uint32_t purpose)
{
    const fa_counter counter = {{(uint32_t)(uint64_t)id, (uint32_t)((uint64_t)id >> 32), purpose,
                                 0x66617374u}}; /* a fixed word keeps keys apart from draws */
    const fa_key key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    const fa_counter bits = fa_philox(counter, key);
    const fa_key stream = {{bits.word[0], bits.word[1]}};
    return stream;
}

/* The four words at positions 4 * block .. 4 * block + 3 of a draw. */
FA_HD fa_counter fa_draw_block(fa_key stream, int64_t draw, int64_t block)
{
    const fa_counter counter = {{(uint32_t)block, (uint32_t)((uint64_t)block >> 32), (uint32_t)draw,
                                 (uint32_t)((uint64_t)draw >> 32)}};
    return fa_philox(counter, stream);
}

FA_HD double fa_uniform(uint32_t bits) { return ((double)bits + 0.5) * 0x1p-32; }

/* log(x) for 0 < x <= 1/2 and normal: x = m 2^e with m in [1/sqrt 2, sqrt 2), then
 * log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < .172, by its series to s^19 (1e-17). */
FA_HD double fa_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    int32_t exponent = (int32_t)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof(m));
    const int high = m > 1.4142135623730951;
    m = high ? 0.5 * m : m;
    exponent += high;
    const double s = (m - 1.0) / (m + 1.0), q = s * s;
    double series = 1.0 / 19;
    series = series * q + 1.0 / 17;
    series = series * q + 1.0 / 15;
    series = series * q + 1.0 / 13;
    series = series * q + 1.0 / 11;
    series = series * q + 1.0 / 9;
    series = series * q + 1.0 / 7;
    series = series * q + 1.0 / 5;
    series = series * q + 1.0 / 3;
    return (double)exponent * 0.6931471805599453 + 2.0 * (s + s * (q * series));
}

/* Both branches are computed and one is chosen, so that loops over it vectorise. The far
 * tail of AS 241 (r > 5) begins below 2^-36 and is never reached from 32 bits. */
FA_HD double fa_normal(uint32_t bits)
{
    const double p = fa_uniform(bits), q = p - 0.5;
    const double r = 0.180625 - q * q;
    double num = 2.5090809287301226727e+3, den = 5.2264952788528545610e+3;
    num = num * r + 3.3430575583588128105e+4, den = den * r + 2.8729085735721942674e+4;
    num = num * r + 6.7265770927008700853e+4, den = den * r + 3.9307895800092710610e+4;
    num = num * r + 4.5921953931549871457e+4, den = den * r + 2.1213794301586595867e+4;
    num = num * r + 1.3731693765509461125e+4, den = den * r + 5.3941960214247511077e+3;
    num = num * r + 1.9715909503065514427e+3, den = den * r + 6.8718700749205790830e+2;
    num = num * r + 1.3314166789178437745e+2, den = den * r + 4.2313330701600911252e+1;
    num = num * r + 3.3871328727963666080e+0, den = den * r + 1.0;
    const double central = q * num / den;

    const double t = sqrt(-fa_log(q < 0 ? p : 1.0 - p)) - 1.6;
    num = 7.74545014278341407640e-4, den = 1.05075007164441684324e-9;
    num = num * t + 2.27238449892691845833e-2, den = den * t + 5.47593808499534494600e-4;
    num = num * t + 2.41780725177450611770e-1, den = den * t + 1.51986665636164571966e-2;
    num = num * t + 1.27045825245236838258e+0, den = den * t + 1.48103976427480074590e-1;
    num = num * t + 3.64784832476320460504e+0, den = den * t + 6.89767334985100004550e-1;
    num = num * t + 5.76949722146069140550e+0, den = den * t + 1.67638483018380384940e+0;
    num = num * t + 4.63033784615654529590e+0, den = den * t + 2.05319162663775882187e+0;
    num = num * t + 1.42343711074968357734e+0, den = den * t + 1.0;
    const double tail = num / den;
    return q * q <= 0.180625 ? central : q < 0 ? -tail : tail;
}

/* pi(j) of a random permutation of 0..n-1, 1 <= n < 2^31, without a table: a Feistel network
 * of six Philox rounds on the smallest 4^k >= n, walked until it lands below n (fewer than
 * four steps on average). `draw` tells permutations of one stream apart. */
FA_HD int64_t fa_permute(fa_key stream, int64_t draw, int64_t n, int64_t j)
{
    int half = 1;
    while (((int64_t)1 << (2 * half)) < n) half++;
    const uint32_t mask = ((uint32_t)1 << half) - 1;
    uint32_t left = (uint32_t)(j >> half), right = (uint32_t)j & mask;
    do {
        for (int64_t round = 0; round < 6; round++) {
            const uint32_t mixed =
                fa_draw_block(stream, draw, ((int64_t)right << 8) | round).word[0];
            const uint32_t next = left ^ (mixed & mask);
            left = right;
            right = next;
        }
    } while ((((int64_t)left << half) | right) >= n);
    return ((int64_t)left << half) | right;
}

#endif /* FA_RANDOM_H */
