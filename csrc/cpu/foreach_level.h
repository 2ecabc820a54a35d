/* foreach_level.h -- compile FA_TEMPLATE for every dtype at every CPU level.
 *
 * A level is a set of instructions, not a processor: base is what the compiler's flags give,
 * avx2 adds avx2, bmi2 and f16c, avx512 adds avx512f, bw, dq and vl. Arithmetic is the same at
 * all levels, to the bit: contraction to fma is off. FN(f) becomes f_<dtype>_<level>; WIDTH is
 * the bits of a vector, 0 where only the compiler knows them. */
#define FN__(name, suffix, level) name##_##suffix##_##level
#define FN_(name, suffix, level) FN__(name, suffix, level)
#define FN(name) FN_(name, SUFFIX, LEVEL)

#define LEVEL base
#define WIDTH 0
#include "foreach_float.h"
#undef LEVEL
#undef WIDTH

#ifdef FA_X86

FA_TARGET_BEGIN("avx2,bmi2,f16c")
#define LEVEL avx2
#define WIDTH 256
#include "foreach_float.h"
#undef LEVEL
#undef WIDTH
FA_TARGET_END

#ifdef __clang__ /* which knows no preference of width per function, and ignores all the rest then \
                  */
FA_TARGET_BEGIN("avx2,bmi2,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#else
FA_TARGET_BEGIN("avx2,bmi2,f16c,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#define LEVEL avx512
#define WIDTH 512
#include "foreach_float.h"
#undef LEVEL
#undef WIDTH
FA_TARGET_END

#endif

#undef FN
#undef FN_
#undef FN__
#undef FA_TEMPLATE
