/* collectives.h -- barriers, shuffles and votes. Each knows the file and the line it stands in. */
#ifndef CUDA_HOST_COLLECTIVES_H
#define CUDA_HOST_COLLECTIVES_H

#include <type_traits>

namespace cuhost
{

enum class warp_kind { shuffle, ballot, sync, match };
enum class vote { none, count, all, any };

/* All threads of the block, or all lanes of `mask`, arrive; the last to come computes the answers
 * of all. A lane that takes its value from one that is not there gets all ones, a NaN. */
int block_collective(vote kind, int predicate, const char *file, int line);
uint64_t warp_collective(warp_kind kind, unsigned mask, uint64_t value, int source,
                         const char *file, int line);
int lane();

template <class T> inline uint64_t word_of(T value)
{
    static_assert(std::is_arithmetic<T>::value, "CUDA's shuffles take arithmetic types only");
    uint64_t word = 0;
    memcpy(&word, &value, sizeof(value));
    return word;
}

template <class T> inline T shuffle(unsigned mask, T value, int source, const char *file, int line)
{
    const uint64_t word =
        warp_collective(warp_kind::shuffle, mask, word_of(value), source, file, line);
    memcpy(&value, &word, sizeof(value));
    return value;
}

} // namespace cuhost

#define CUDA_HOST_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

static inline void __syncthreads(CUDA_HOST_AT)
{
    cuhost::block_collective(cuhost::vote::none, 0, file, line);
}
static inline int __syncthreads_count(int predicate, CUDA_HOST_AT)
{
    return cuhost::block_collective(cuhost::vote::count, predicate, file, line);
}
static inline int __syncthreads_and(int predicate, CUDA_HOST_AT)
{
    return cuhost::block_collective(cuhost::vote::all, predicate, file, line);
}
static inline int __syncthreads_or(int predicate, CUDA_HOST_AT)
{
    return cuhost::block_collective(cuhost::vote::any, predicate, file, line);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_HOST_AT)
{
    cuhost::warp_collective(cuhost::warp_kind::sync, mask, 0, 0, file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_HOST_AT)
{
    return (unsigned)cuhost::warp_collective(cuhost::warp_kind::ballot, mask, predicate != 0, 0,
                                             file, line);
}
static inline int __any_sync(unsigned mask, int predicate, CUDA_HOST_AT)
{
    return __ballot_sync(mask, predicate, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, CUDA_HOST_AT)
{
    return __ballot_sync(mask, predicate == 0, file, line) == 0;
}
template <class T> inline unsigned __match_any_sync(unsigned mask, T value, CUDA_HOST_AT)
{
    return (unsigned)cuhost::warp_collective(cuhost::warp_kind::match, mask, cuhost::word_of(value),
                                             0, file, line);
}

/* Lanes are taken in groups of `width`, a power of two; who would look beyond its own group keeps
 * its value. */
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_HOST_AT)
{
    const int start = cuhost::lane() & ~(width - 1);
    return cuhost::shuffle(mask, value, start | (source & (width - 1)), file, line);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_HOST_AT)
{
    const int own = cuhost::lane(), within = (own & (width - 1)) + (int)delta;
    return cuhost::shuffle(mask, value, within < width ? own + (int)delta : own, file, line);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_HOST_AT)
{
    const int own = cuhost::lane(), within = (own & (width - 1)) - (int)delta;
    return cuhost::shuffle(mask, value, within >= 0 ? own - (int)delta : own, file, line);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_HOST_AT)
{
    const int own = cuhost::lane(), other = own ^ bits;
    const int later_group = (other & ~(width - 1)) > (own & ~(width - 1));
    return cuhost::shuffle(mask, value, later_group ? own : other, file, line);
}

#endif /* CUDA_HOST_COLLECTIVES_H */
