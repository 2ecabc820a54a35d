/* foreach_real.h -- compile FA_TEMPLATE for float and double at every CPU level, with vectors.
 *
 * As foreach_level.h, and besides: VEC a vector of WIDTH elements, LOOSE the same at any address,
 * MASK a vector of as many BITS, integers of the size of T; FMA(a, b, c) = a b + c on vectors,
 * fused at the levels that can, which is why levels agree to rounding only. ROWS rows of two
 * vectors stay in registers, with room for what they are made of. */
#define FN__(name, suffix, level) name##_##suffix##_##level
#define FN_(name, suffix, level) FN__(name, suffix, level)
#define FN(name) FN_(name, SUFFIX, LEVEL)
#define VEC FN(fa_vec)
#define LOOSE FN(fa_loose)
#define MASK FN(fa_mask)
#define WIDTH ((int64_t)(BYTES / sizeof(T)))

#define LEVEL base
#define BYTES 16
#define ROWS 4
#define FMA(a, b, c) ((a) * (b) + (c))
#define T float
#define BITS int32_t
#define SUFFIX f32
#include FA_TEMPLATE
#undef T
#undef BITS
#undef SUFFIX
#define T double
#define BITS int64_t
#define SUFFIX f64
#include FA_TEMPLATE
#undef T
#undef BITS
#undef SUFFIX
#undef FMA
#undef ROWS
#undef BYTES
#undef LEVEL

#ifdef FA_X86

FA_TARGET_BEGIN("avx2,bmi2,f16c,fma")
#define LEVEL avx2
#define BYTES 32
#define ROWS 6
#define T float
#define BITS int32_t
#define SUFFIX f32
#define FMA(a, b, c) ((VEC)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#include FA_TEMPLATE
#undef FMA
#undef T
#undef BITS
#undef SUFFIX
#define T double
#define BITS int64_t
#define SUFFIX f64
#define FMA(a, b, c) ((VEC)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#include FA_TEMPLATE
#undef FMA
#undef T
#undef BITS
#undef SUFFIX
#undef ROWS
#undef BYTES
#undef LEVEL
FA_TARGET_END

FA_TARGET_BEGIN("avx2,bmi2,f16c,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#define LEVEL avx512
#define BYTES 64
#define ROWS 8
#define T float
#define BITS int32_t
#define SUFFIX f32
#define FMA(a, b, c) ((VEC)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#include FA_TEMPLATE
#undef FMA
#undef T
#undef BITS
#undef SUFFIX
#define T double
#define BITS int64_t
#define SUFFIX f64
#define FMA(a, b, c) ((VEC)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#include FA_TEMPLATE
#undef FMA
#undef T
#undef BITS
#undef SUFFIX
#undef ROWS
#undef BYTES
#undef LEVEL
FA_TARGET_END

#endif

#undef VEC
#undef LOOSE
#undef MASK
#undef WIDTH
#undef FN
#undef FN_
#undef FN__
#undef FA_TEMPLATE
