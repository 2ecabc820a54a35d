/* The products of thin.h with vectors: one dtype at one CPU level. */

typedef T VEC __attribute__((vector_size(BYTES)));
typedef T LOOSE __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));

/* `rows` rows by `vectors` vectors, both constants where this is used: out = a panel, or out +=.
 * Row k of the panel begins at k * step; what comes behind it is asked for early.
 * Not the tile of panel_kernels.h: panels are dense there, and sums begin at a bias. */
static inline __attribute__((always_inline)) void FN(tile)(T *out, int64_t out_stride, const T *a,
                                                           int64_t stride, const T *panel,
                                                           int64_t step, int64_t K, int add,
                                                           const int rows, const int vectors)
{
    VEC sum[ROWS][2];
    for (int i = 0; i < rows; i++) {
        for (int v = 0; v < vectors; v++) sum[i][v] = (VEC){0};
    }
    for (int64_t k = 0; k < K; k++) {
        const T *const row = panel + k * step;
        __builtin_prefetch(row + vectors * WIDTH);
        for (int i = 0; i < rows; i++) {
            const VEC factor = (VEC){0} + a[i * stride + k];
            for (int v = 0; v < vectors; v++) {
                sum[i][v] = FMA(factor, (VEC)(*(const LOOSE *)(row + v * WIDTH)), sum[i][v]);
            }
        }
    }
    for (int i = 0; i < rows; i++) {
        for (int v = 0; v < vectors; v++) {
            LOOSE *const to = (LOOSE *)(out + i * out_stride + v * WIDTH);
            *to = (LOOSE)(add ? (VEC)*to + sum[i][v] : sum[i][v]);
        }
    }
}

static void FN(tiles)(T *out, int64_t out_stride, const T *a, int64_t stride, const T *panel,
                      int64_t step, int64_t K, int add, int64_t rows, int64_t vectors)
{
#define FA_THIN_CASE(n)                                                                        \
    case n:                                                                                    \
        if (vectors == 2) {                                                                    \
            FN(tile)(out, out_stride, a, stride, panel, step, K, add, n < ROWS ? n : ROWS, 2); \
        } else {                                                                               \
            FN(tile)(out, out_stride, a, stride, panel, step, K, add, n < ROWS ? n : ROWS, 1); \
        }                                                                                      \
        break;
    switch (rows) {
        FA_THIN_CASE(1)
        FA_THIN_CASE(2)
        FA_THIN_CASE(3)
        FA_THIN_CASE(4)
        FA_THIN_CASE(5)
        FA_THIN_CASE(6)
        FA_THIN_CASE(7)
        FA_THIN_CASE(8)
    }
#undef FA_THIN_CASE
}

/* Columns n .. end - 1 of out (M, N), whole vectors, from rows k .. k + depth - 1 of b (K, N). */
static void FN(columns)(const thin *p, int64_t n, int64_t end, int64_t k, int64_t depth)
{
    const int64_t parts = (p->M + ROWS - 1) / ROWS, part = (p->M + parts - 1) / parts;
    T *const out = p->out;
    const T *const a = p->a, *const b = p->b;
    for (; n < end; n += 2 * WIDTH) {
        for (int64_t m = 0; m < p->M; m += part) {
            FN(tiles)(out + m * p->N + n, p->N, a + m * p->K + k, p->K, b + k * p->N + n, p->N,
                      depth, p->add || k > 0, fa_min(part, p->M - m), end - n > WIDTH ? 2 : 1);
        }
    }
}

/* The columns behind the last whole vector, from their padded copy. */
static void FN(last_columns)(const thin *p)
{
    const int64_t rest = p->N % WIDTH;
    T spare[ROWS * WIDTH], *const out = (T *)p->out + p->N - rest;
    for (int64_t m = 0; m < p->M && rest > 0; m += ROWS) {
        const int64_t rows = fa_min(ROWS, p->M - m);
        FN(tiles)(spare, WIDTH, (const T *)p->a + m * p->K, p->K, p->scratch, WIDTH, p->K, 0, rows,
                  1);
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < rest; j++) {
                T *const to = out + (m + i) * p->N + j;
                *to = (p->add ? *to : 0) + spare[i * WIDTH + j];
            }
        }
    }
}

/* out (M, N) by stretches of columns of b (K, N), a few of its rows at a time: few pages are met
 * by turns, and what a row has is read in order. */
static void FN(across)(void *context, int64_t begin, int64_t end)
{
    const thin *p = context;
    const int64_t whole = p->N - p->N % WIDTH;
    for (int64_t stretch = begin; stretch < end; stretch++) {
        const int64_t n = stretch * FA_THIN_STRETCH;
        for (int64_t k = 0; k < p->K; k += FA_THIN_PAGES) {
            FN(columns)(p, n, fa_min(whole, n + FA_THIN_STRETCH), k,
                        fa_min(FA_THIN_PAGES, p->K - k));
        }
    }
}

/* The last columns of b (K, N), fewer than a vector, padded: a vector behind them is not ours. */
static void FN(copy_tail)(thin *p)
{
    const int64_t rest = p->N % WIDTH;
    const T *const b = p->b;
    T *const tail = p->scratch;
    for (int64_t k = 0; k < p->K && rest > 0; k++) {
        for (int64_t j = 0; j < WIDTH; j++) {
            tail[k * WIDTH + j] = j < rest ? b[k * p->N + p->N - rest + j] : 0;
        }
    }
}

/* a (M, K) turned and padded to whole vectors of rows. */
static void FN(turn)(void *context, int64_t begin, int64_t end)
{
    const thin *p = context;
    const int64_t wide = (p->M + WIDTH - 1) / WIDTH * WIDTH;
    const T *const a = p->a;
    T *const turned = p->scratch;
    for (int64_t k = begin; k < end; k++) {
        for (int64_t m = 0; m < wide; m++) turned[k * wide + m] = m < p->M ? a[m * p->K + k] : 0;
    }
}

/* Rows of b (N, K), ROWS at a time, times all of a: columns of out (M, N). */
static void FN(along)(void *context, int64_t begin, int64_t end)
{
    const thin *p = context;
    const int64_t wide = (p->M + WIDTH - 1) / WIDTH * WIDTH, depth = FA_THIN_DEPTH;
    const int64_t first = begin * ROWS, last = fa_min(end * ROWS, p->N);
    const T *const b = p->b, *const turned = p->scratch;
    T *const sums = (T *)p->scratch + p->K * wide, *const out = p->out;
    for (int64_t k = 0; k < p->K; k += depth) {
        for (int64_t n = first; n < last; n += ROWS) {
            for (int64_t m = 0; m < wide; m += 2 * WIDTH) {
                FN(tiles)(sums + n * wide + m, wide, b + n * p->K + k, p->K, turned + k * wide + m,
                          wide, fa_min(depth, p->K - k), k > 0, fa_min(ROWS, last - n),
                          wide - m > WIDTH ? 2 : 1);
            }
        }
    }
    for (int64_t n = first; n < last; n++) {
        for (int64_t m = 0; m < p->M; m++) {
            T *const to = out + m * p->N + n;
            *to = (p->add ? *to : 0) + sums[n * wide + m];
        }
    }
}

static int64_t FN(room)(const thin *p)
{
    const int64_t wide = (p->M + WIDTH - 1) / WIDTH * WIDTH;
    return (p->turned ? (p->K + p->N) * wide : p->K * WIDTH) * (int64_t)sizeof(T);
}

static void FN(run)(thin *p)
{
    if (p->turned) {
        fa_parallel_for(p->K, p->M, FN(turn), p);
        fa_parallel_for((p->N + ROWS - 1) / ROWS, ROWS * p->K, FN(along), p);
        return;
    }
    FN(copy_tail)(p);
    fa_parallel_for((p->N + FA_THIN_STRETCH - 1) / FA_THIN_STRETCH, FA_THIN_STRETCH * p->K,
                    FN(across), p);
    FN(last_columns)(p);
}

static const thin_ops FN(thin_ops) = {.room = FN(room), .run = FN(run)};
