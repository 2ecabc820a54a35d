static inline void FN(between)(T *restrict out, const T *restrict input, const T *restrict base,
                               ACC a, int64_t n)
{
    int64_t d = 0;
#ifdef STEP
    for (; d + STEP <= n; d += STEP) {
        const VECTOR b = LOADS(base + d);
        STORES(out + d, b + a * (LOADS(input + d) - b));
    }
#endif
    for (; d < n; d++) {
        const ACC b = LOAD(base[d]);
        out[d] = STORE(b + a * (LOAD(input[d]) - b));
    }
}

/* Past the caches: `out` is a multiple of FA_LINE, n one of FA_STRIP. */
static void FN(bypass_between)(T *restrict out, const T *restrict input, const T *restrict base,
                               ACC a, int64_t n)
{
#ifdef STEP
    for (int64_t d = 0; d < n; d += STEP) {
        const VECTOR b = LOADS(base + d);
        BYPASS(out + d, b + a * (LOADS(input + d) - b));
    }
#else
    for (int64_t d = 0; d < n; d += FA_STRIP) {
        T strip[FA_STRIP];
        FN(between)(strip, input + d, base + d, a, FA_STRIP);
        fa_bypass(out + d, strip, sizeof(strip));
    }
#endif
}

/* Elements 0..n-1 of a point. alpha 1 and 0 copy, bit for bit. */
static void FN(point)(T *restrict out, const T *restrict input, const T *restrict base,
                      double alpha, int64_t n)
{
    if (alpha == 1.0 || alpha == 0.0) {
        memcpy(out, alpha == 1.0 ? input : base, (size_t)n * sizeof(T));
    } else {
        FN(between)(out, input, base, (ACC)alpha, n);
    }
}

/* The same; what lies in whole lines passes the caches by, if that is asked for. */
static void FN(put_point)(T *restrict out, const T *restrict input, const T *restrict base,
                          double alpha, int64_t n, int bypass)
{
    const int64_t line = FA_LINE / (int64_t)sizeof(T);
    const int64_t past = (int64_t)((uintptr_t)out % FA_LINE / sizeof(T));
    const int64_t head = bypass ? fa_min((line - past) % line, n) : n;
    const int64_t body = (n - head) / FA_STRIP * FA_STRIP, tail = head + body;
    FN(point)(out, input, base, alpha, head);
    if (alpha == 1.0 || alpha == 0.0) {
        fa_bypass(out + head, (alpha == 1.0 ? input : base) + head, body * (int64_t)sizeof(T));
    } else {
        FN(bypass_between)(out + head, input + head, base + head, (ACC)alpha, body);
    }
    FN(point)(out + tail, input + tail, base + tail, alpha, n - tail);
}
