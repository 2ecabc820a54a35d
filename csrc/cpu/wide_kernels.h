/* wide_kernels.h -- n elements, at most FA_RUN, as ACC: `from` itself, or converted in `buffer`. */
static inline const ACC *FN(widen)(ACC *restrict buffer, const T *restrict from, int64_t n)
{
    if (sizeof(T) == sizeof(ACC)) return (const void *)from;
    int64_t d = 0;
#ifdef STEP
    for (; d + STEP <= n; d += STEP) {
        const VECTOR v = LOADS(from + d);
        memcpy(buffer + d, &v, sizeof(v));
    }
#endif
    for (; d < n; d++) buffer[d] = LOAD(from[d]);
    return buffer;
}
