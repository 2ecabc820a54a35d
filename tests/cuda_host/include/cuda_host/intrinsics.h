/* intrinsics.h -- atomics, loads, bit casts and the functions that CUDA declares everywhere. */
#ifndef CUDA_HOST_INTRINSICS_H
#define CUDA_HOST_INTRINSICS_H

#include <type_traits>

namespace cuhost
{

template <class T> using exactly = typename std::common_type<T>::type; /* is not deduced */

/* Threads of a block are never interrupted, so a plain read and write is atomic; the thread
 * sanitizer, for which they are threads, has to be told so. */
template <class T, class F> inline T read_modify_write(T *address, F change)
{
#ifdef __SANITIZE_THREAD__
    T before, after;
    __atomic_load(address, &before, __ATOMIC_RELAXED);
    do {
        after = change(before);
    } while (!__atomic_compare_exchange(address, &before, &after, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
#else
    const T before = *address;
    *address = change(before);
#endif
    return before;
}

template <class To, class From> inline To bits(From value)
{
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To result;
    memcpy(&result, &value, sizeof(result));
    return result;
}

} // namespace cuhost

#define CUDA_HOST_ATOMIC(name, expression, allowed)                                      \
    template <class T> inline T name(T *address, cuhost::exactly<T> value)               \
    {                                                                                    \
        static_assert(allowed, #name ": CUDA has none for this type");                   \
        return cuhost::read_modify_write(address, [&](T old) { return T(expression); }); \
    }

CUDA_HOST_ATOMIC(atomicAdd, old + value, (!std::is_same<T, long long>::value))
CUDA_HOST_ATOMIC(atomicSub, old - value, sizeof(T) == 4 && std::is_integral<T>::value)
CUDA_HOST_ATOMIC(atomicMax, old > value ? old : value, std::is_integral<T>::value)
CUDA_HOST_ATOMIC(atomicMin, old < value ? old : value, std::is_integral<T>::value)
CUDA_HOST_ATOMIC(atomicOr, old | value, std::is_integral<T>::value)
CUDA_HOST_ATOMIC(atomicAnd, old &value, std::is_integral<T>::value)
CUDA_HOST_ATOMIC(atomicExch, ((void)old, value), true)

template <class T>
inline T atomicCAS(T *address, cuhost::exactly<T> expected, cuhost::exactly<T> value)
{
    return cuhost::read_modify_write(address,
                                     [&](T old) { return old == expected ? T(value) : old; });
}

static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}

template <class T> inline T __ldg(const T *address) { return *address; }
template <class T> inline T __ldcs(const T *address) { return *address; }
template <class T> inline T __ldcg(const T *address) { return *address; }
template <class T> inline void __stcs(T *address, cuhost::exactly<T> value) { *address = value; }
template <class T> inline void __stcg(T *address, cuhost::exactly<T> value) { *address = value; }

static inline int __popc(unsigned word) { return __builtin_popcount(word); }
static inline int __popcll(unsigned long long word) { return __builtin_popcountll(word); }
static inline int __ffs(int word) { return __builtin_ffs(word); }
static inline int __clz(int word) { return word != 0 ? __builtin_clz((unsigned)word) : 32; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }

static inline int __float_as_int(float x) { return cuhost::bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return cuhost::bits<unsigned>(x); }
static inline float __int_as_float(int x) { return cuhost::bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return cuhost::bits<float>(x); }
static inline long long __double_as_longlong(double x) { return cuhost::bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return cuhost::bits<double>(x); }

/* Rounded to nearest and never fused, as the kernels are compiled with -ffp-contract=off. */
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return std::sqrt(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double a) { return std::sqrt(a); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

#define CUDA_HOST_MIN_MAX(T)                                \
    static inline T min(T a, T b) { return b < a ? b : a; } \
    static inline T max(T a, T b) { return a < b ? b : a; }

CUDA_HOST_MIN_MAX(int)
CUDA_HOST_MIN_MAX(unsigned)
CUDA_HOST_MIN_MAX(long)
CUDA_HOST_MIN_MAX(unsigned long)
CUDA_HOST_MIN_MAX(long long)
CUDA_HOST_MIN_MAX(unsigned long long)

static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

#endif /* CUDA_HOST_INTRINSICS_H */
