/* foreach_float.h -- compile FA_TEMPLATE once per dtype. No include guard, on purpose.
 *
 * Inside the template: T the element, ACC the type that computes and accumulates it,
 * LOAD(t) an element as ACC, STORE(a) back, FN(f) the function's name in this dtype.
 *
 * Compilers vectorise LOAD and STORE, but by integers. Where the level has instructions for T
 * itself, STEP elements of it are loaded by VECTOR v = LOADS(from) and stored by STORES(to, v)
 * or, aligned and past the caches, by BYPASS(to, v), with the same bits. */
#define T float
#define ACC float
#define LOAD(t) (t)
#define STORE(a) (a)
#define SUFFIX f32
#include FA_TEMPLATE
#undef T
#undef ACC
#undef SUFFIX

#define T double
#define ACC double
#define SUFFIX f64
#include FA_TEMPLATE
#undef T
#undef ACC
#undef LOAD
#undef STORE
#undef SUFFIX

#if WIDTH == 512
#define STEP 16
#define VECTOR __m512
#define LOADS(from) _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(from)))
#define STORES(to, v) _mm256_storeu_si256((void *)(to), _mm512_cvtps_ph(v, FA_TO_NEAREST))
#define BYPASS(to, v) _mm256_stream_si256((void *)(to), _mm512_cvtps_ph(v, FA_TO_NEAREST))
#elif WIDTH == 256
#define STEP 8
#define VECTOR __m256
#define LOADS(from) _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from)))
#define STORES(to, v) _mm_storeu_si128((void *)(to), _mm256_cvtps_ph(v, FA_TO_NEAREST))
#define BYPASS(to, v) _mm_stream_si128((void *)(to), _mm256_cvtps_ph(v, FA_TO_NEAREST))
#endif
#define T fa_half
#define ACC float
#define LOAD(t) fa_float_of_half(t)
#define STORE(a) fa_half_of_float(a)
#define SUFFIX f16
#include FA_TEMPLATE
#undef T
#undef STEP
#undef VECTOR
#undef LOADS
#undef STORES
#undef BYPASS
#undef LOAD
#undef STORE
#undef SUFFIX

#define T fa_bfloat
#define LOAD(t) fa_float_of_bfloat(t)
#define STORE(a) fa_bfloat_of_float(a)
#define SUFFIX bf16
#include FA_TEMPLATE
#undef T
#undef ACC
#undef LOAD
#undef STORE
#undef SUFFIX
