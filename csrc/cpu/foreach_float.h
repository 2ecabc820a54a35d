/* foreach_float.h -- compile FA_TEMPLATE once per dtype. No include guard, on purpose.
 *
 * Inside the template: T the element, ACC the type that computes and accumulates it,
 * LOAD(t) an element as ACC, STORE(a) back, FN(f) the function's name in this dtype.
 *
 * Compilers vectorise LOAD and STORE of halves in part, and badly. Where STEP is defined so many
 * elements are loaded by VECTOR v = LOADS(from), and twice as many are stored by
 * STORES(to, v, w) or, aligned and past the caches, by BYPASS(to, v, w), with the same bits. */
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
#define STORES(to, v, w) _mm512_storeu_si512((void *)(to), fa_halves_512(v, w))
#define BYPASS(to, v, w) _mm512_stream_si512((void *)(to), fa_halves_512(v, w))
#elif WIDTH == 256
#define STEP 8
#define VECTOR __m256
#define LOADS(from) _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from)))
#define STORES(to, v, w) _mm256_storeu_si256((void *)(to), fa_halves_256(v, w))
#define BYPASS(to, v, w) _mm256_stream_si256((void *)(to), fa_halves_256(v, w))
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

#if WIDTH == 512
#define STEP 16
#define VECTOR __m512
#define LOADS(from) fa_load_bfloats_512(from)
#define STORES(to, v, w) _mm512_storeu_si512((void *)(to), fa_bfloats_512(v, w))
#define BYPASS(to, v, w) _mm512_stream_si512((void *)(to), fa_bfloats_512(v, w))
#elif WIDTH == 256
#define STEP 8
#define VECTOR __m256
#define LOADS(from) fa_load_bfloats_256(from)
#define STORES(to, v, w) _mm256_storeu_si256((void *)(to), fa_bfloats_256(v, w))
#define BYPASS(to, v, w) _mm256_stream_si256((void *)(to), fa_bfloats_256(v, w))
#endif
#define T fa_bfloat
#define LOAD(t) fa_float_of_bfloat(t)
#define STORE(a) fa_bfloat_of_float(a)
#define SUFFIX bf16
#include FA_TEMPLATE
#undef T
#undef STEP
#undef VECTOR
#undef LOADS
#undef STORES
#undef BYPASS
#undef ACC
#undef LOAD
#undef STORE
#undef SUFFIX
