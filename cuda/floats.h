/* floats.h -- the element types of the kernels, and their loads of up to 16 bytes.
 *
 * As csrc/cpu/foreach_float.h: `element` is what memory holds, `sum` the type that computes and
 * accumulates it. V elements travel together: 16 bytes where rows begin at multiples of that,
 * else one element. */
#ifndef FA_FLOATS_H
#define FA_FLOATS_H

#include "../csrc/fastattr.h"
#include "../csrc/half.h"
#include "launch.h"

struct fa_f32 {
    typedef float element;
    typedef float sum;
    enum { wide = 4 };
    FA_HD float load(float value) { return value; }
    FA_HD float store(float value) { return value; }
};

struct fa_f64 {
    typedef double element;
    typedef double sum;
    enum { wide = 2 };
    FA_HD double load(double value) { return value; }
    FA_HD double store(double value) { return value; }
};

struct fa_f16 {
    typedef fa_half element;
    typedef float sum;
    enum { wide = 8 };
    FA_HD float load(fa_half value) { return fa_float_of_half(value); }
    FA_HD fa_half store(float value) { return fa_half_of_float(value); }
};

struct fa_bf16 {
    typedef fa_bfloat element;
    typedef float sum;
    enum { wide = 8 };
    FA_HD float load(fa_bfloat value) { return fa_float_of_bfloat(value); }
    FA_HD fa_bfloat store(float value) { return fa_bfloat_of_float(value); }
};

template <typename T, int V> struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) fa_pack {
    T item[V];
};

template <int V, typename T> FA_DEVICE fa_pack<T, V> fa_take(const T *at)
{
    return *reinterpret_cast<const fa_pack<T, V> *>(at);
}

template <int V, typename T> FA_DEVICE void fa_put(T *at, const fa_pack<T, V> &pack)
{
    *reinterpret_cast<fa_pack<T, V> *>(at) = pack;
}

/* Whether every row of D elements of F begins at a multiple of 16 bytes in every tensor; NULL is
 * no tensor. Sums are at least as wide as elements. */
template <typename F, typename... Tensor>
static inline bool fa_is_wide(int64_t D, const Tensor *...tensors)
{
    const uintptr_t bits = ((uintptr_t)0 | ... | (uintptr_t)tensors);
    return D % F::wide == 0 && bits % 16 == 0;
}

template <typename T> static inline T *fa_typed(const DLTensor *tensor)
{
    return tensor != nullptr ? static_cast<T *>(fa_data(tensor)) : nullptr;
}

/* Elements from one row to the next: 0 where all rows share one. */
static inline int64_t fa_stride(const DLTensor *tensor)
{
    return tensor == nullptr || tensor->shape[0] == 1 ? 0 : tensor->shape[1];
}

/* launch<F>(...) for the dtype of `tensor`, which is one of the four. */
#define FA_DISPATCH(tensor, launch, ...)    \
    switch (fa_dtype_of((tensor)->dtype)) { \
    case FA_FLOAT64:                        \
        launch<fa_f64>(__VA_ARGS__);        \
        break;                              \
    case FA_FLOAT16:                        \
        launch<fa_f16>(__VA_ARGS__);        \
        break;                              \
    case FA_BFLOAT16:                       \
        launch<fa_bf16>(__VA_ARGS__);       \
        break;                              \
    default:                                \
        launch<fa_f32>(__VA_ARGS__);        \
        break;                              \
    }

#endif /* FA_FLOATS_H */
