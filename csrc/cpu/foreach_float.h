/* foreach_float.h -- compile FA_TEMPLATE once per dtype. No include guard, on purpose.
 *
 * Inside the template: T the element, ACC the type that computes and accumulates it,
 * LOAD(t) an element as ACC, STORE(a) back, FN(f) the function's name in this dtype. */
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

#define T fa_half
#define ACC float
#define LOAD(t) fa_float_of_half(t)
#define STORE(a) fa_half_of_float(a)
#define SUFFIX f16
#include FA_TEMPLATE
#undef T
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
