/* The ends of a path over at most FA_BLOCK features, and, where rows share them, as ACC. */
typedef struct {
    int known; /* what is below; 0 at the start */
    const T *input, *base;
    const ACC *x, *b; /* as widen() gives them, or NULL */
    ACC wide_x[FA_BLOCK], wide_b[FA_BLOCK];
} FN(ends);

/* n features from these addresses on; `shared`: by rows between the ends, which find the conversion
 * done. */
static inline void FN(look)(FN(ends) * ends, const T *input, const T *base, int64_t n, int shared)
{
    if (ends->known && ends->input == input && ends->base == base) return;
    ends->known = shared;
    ends->input = input;
    ends->base = base;
    ends->x = ends->b = NULL;
    if (!shared && sizeof(T) < sizeof(ACC)) return;
    ends->x = FN(widen)(ends->wide_x, input, n);
    ends->b = FN(widen)(ends->wide_b, base, n);
}

/* What follows is for both kinds of ends: `wide` is a constant where it is used. */
#ifdef STEP
static inline
    __attribute__((always_inline)) VECTOR FN(some)(const T *input, const T *base, const ACC *x,
                                                   const ACC *b, ACC a, const int wide)
{
    VECTOR to, from;
    if (wide) {
        memcpy(&to, x, sizeof(to));
        memcpy(&from, b, sizeof(from));
    } else {
        to = LOADS(input);
        from = LOADS(base);
    }
    return from + a * (to - from);
}
#define SOME(d) FN(some)(input + (d), base + (d), x + (d), b + (d), a, wide)
#endif

/* out = b + a (x - b) from feature `at` on; `past`: past the caches, where `out` is a multiple of
 * FA_LINE and n one of FA_STRIP. */
static inline __attribute__((always_inline)) void FN(between)(T *restrict out,
                                                              const FN(ends) * ends, int64_t at,
                                                              ACC a, int64_t n, const int wide,
                                                              const int past)
{
    const ACC *restrict x = wide ? ends->x + at : NULL, *restrict b = wide ? ends->b + at : NULL;
    const T *restrict input = ends->input + at, *restrict base = ends->base + at;
    int64_t d = 0;
#ifdef STEP
    for (; d < n / (2 * STEP) * (2 * STEP); d += 2 * STEP) {
        if (past) {
            BYPASS(out + d, SOME(d), SOME(d + STEP));
        } else {
            STORES(out + d, SOME(d), SOME(d + STEP));
        }
    }
#undef SOME
#else
    for (; past && d < n; d += FA_STRIP) {
        T strip[FA_STRIP];
        for (int64_t i = 0; i < FA_STRIP; i++) {
            const ACC from = wide ? b[d + i] : LOAD(base[d + i]);
            const ACC to = wide ? x[d + i] : LOAD(input[d + i]);
            strip[i] = STORE(from + a * (to - from));
        }
        fa_bypass(out + d, strip, sizeof(strip));
    }
#endif
    for (; d < n; d++) {
        const ACC from = wide ? b[d] : LOAD(base[d]), to = wide ? x[d] : LOAD(input[d]);
        out[d] = STORE(from + a * (to - from));
    }
}

/* n elements, from `at` on, of a point. alpha 1 and 0 copy, bit for bit. */
static void FN(point)(T *restrict out, const FN(ends) * ends, int64_t at, double alpha, int64_t n)
{
    if (alpha == 1.0 || alpha == 0.0) {
        memcpy(out, (alpha == 1.0 ? ends->input : ends->base) + at, (size_t)n * sizeof(T));
    } else if (ends->x != NULL) {
        FN(between)(out, ends, at, (ACC)alpha, n, 1, 0);
    } else {
        FN(between)(out, ends, at, (ACC)alpha, n, 0, 0);
    }
}

static void FN(bypass_point)(T *restrict out, const FN(ends) * ends, int64_t at, double alpha,
                             int64_t n)
{
    if (alpha == 1.0 || alpha == 0.0) {
        fa_bypass(out, (alpha == 1.0 ? ends->input : ends->base) + at, n * (int64_t)sizeof(T));
    } else if (ends->x != NULL) {
        FN(between)(out, ends, at, (ACC)alpha, n, 1, 1);
    } else {
        FN(between)(out, ends, at, (ACC)alpha, n, 0, 1);
    }
}

/* n elements; what lies in whole lines passes the caches by, if that is asked for. */
static void FN(put_point)(T *restrict out, const FN(ends) * ends, double alpha, int64_t n,
                          int bypass)
{
    const int64_t line = FA_LINE / (int64_t)sizeof(T);
    const int64_t past = (int64_t)((uintptr_t)out % FA_LINE / sizeof(T));
    const int64_t head = bypass ? fa_min((line - past) % line, n) : n;
    const int64_t body = (n - head) / FA_STRIP * FA_STRIP, tail = head + body;
    FN(point)(out, ends, 0, alpha, head);
    FN(bypass_point)(out + head, ends, head, alpha, body);
    FN(point)(out + tail, ends, tail, alpha, n - tail);
}
