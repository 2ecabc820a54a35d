/* launch.h -- what a launch macro becomes. */
#ifndef CUDA_HOST_LAUNCH_H
#define CUDA_HOST_LAUNCH_H

#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace cuhost
{

/* A launch with its arguments, which are copied when it is issued. */
struct launch {
    const char *name, *file;
    int line;
    dim3 grid, block;
    size_t shared; /* bytes of dynamic shared memory */
    const void *function;
    std::shared_ptr<void> arguments; /* a `packed` */
    std::vector<uint64_t> words;     /* all words of the arguments, pointers among them */
    void (*run)(void *arguments);    /* one thread of it */
};

cudaError_t enqueue_launch(launch &&job, cudaStream_t stream);

void *dyn_shared(); /* of the block that runs */

template <class... P> struct packed {
    void (*kernel)(P...);
    std::tuple<P...> values;

    static void run(void *self)
    {
        auto *const pack = static_cast<packed *>(self);
        std::apply(pack->kernel, pack->values);
    }
};

/* The aligned words of one argument; padding, where old addresses may lie, as zeros. */
template <class T> inline void append_words(std::vector<uint64_t> &words, T value)
{
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&value);
#endif
    for (size_t at = 0; at + sizeof(uint64_t) <= sizeof(value); at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, reinterpret_cast<const char *>(&value) + at, sizeof(word));
        words.push_back(word);
    }
}

template <class... P, class... A>
inline cudaError_t launch_kernel(const char *name, const char *file, int line, dim3 grid,
                                 dim3 block, size_t shared, cudaStream_t stream,
                                 void (*kernel)(P...), A &&...arguments)
{
    static_assert(sizeof...(P) == sizeof...(A), "wrong number of kernel arguments");
    static_assert(!(std::is_reference<P>::value || ...), "kernel parameters are no references");
    static_assert((std::is_trivially_copyable<P>::value && ...),
                  "kernel parameters are trivially copyable");
    static_assert((sizeof(P) + ... + 0) <= 4096, "kernel parameters have at most 4 KB");
    std::vector<uint64_t> words;
    (append_words(words, static_cast<P>(arguments)), ...);
    auto pack =
        std::make_shared<packed<P...>>(packed<P...>{kernel, {static_cast<P>(arguments)...}});
    return enqueue_launch({name, file, line, grid, block, shared, (const void *)kernel, pack, words,
                           &packed<P...>::run},
                          stream);
}

} // namespace cuhost

#endif /* CUDA_HOST_LAUNCH_H */
