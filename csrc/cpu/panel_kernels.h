/* The product of dense.h, and the vectors that the kernels of a dense layer are written in. */

typedef T VEC __attribute__((vector_size(BYTES)));
typedef T LOOSE __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
typedef BITS MASK __attribute__((vector_size(BYTES)));

static inline VEC FN(load)(const T *at) { return (VEC)(*(const LOOSE *)at); }
static inline void FN(save)(T *at, VEC v) { *(LOOSE *)at = (LOOSE)v; }
static inline VEC FN(fill)(T value) { return (VEC){0} + value; }

static int64_t FN(packed)(int64_t N, int64_t K) { return (N + WIDTH - 1) / WIDTH * WIDTH * K; }

static void FN(pack)(void *packed, const void *weight, int64_t row, int64_t column, int64_t N,
                     int64_t K)
{
    T *out = packed;
    const T *const from = weight;
    for (int64_t first = 0; first < N; first += 2 * WIDTH) {
        const int64_t columns = N - first > WIDTH ? 2 * WIDTH : WIDTH;
        for (int64_t k = 0; k < K; k++) {
            for (int64_t n = first; n < first + columns; n++) {
                *out++ = n < N ? from[k * row + n * column] : 0;
            }
        }
    }
}

/* `rows` rows by `vectors` vectors, both constants where this is used. */
static inline __attribute__((always_inline)) void FN(tile)(T *out, int64_t out_stride, const T *a,
                                                           int64_t stride, const T *panel,
                                                           const T *bias, int64_t K, const int rows,
                                                           const int vectors)
{
    VEC sum[ROWS][2];
    for (int i = 0; i < rows; i++) {
        for (int v = 0; v < vectors; v++) {
            sum[i][v] = bias != NULL ? FN(load)(bias + v * WIDTH) : (VEC){0};
        }
    }
    for (int64_t k = 0; k < K; k++) {
        for (int i = 0; i < rows; i++) {
            const VEC factor = FN(fill)(a[i * stride + k]);
            for (int v = 0; v < vectors; v++) {
                const VEC weight = FN(load)(panel + (k * vectors + v) * WIDTH);
                sum[i][v] = FMA(factor, weight, sum[i][v]);
            }
        }
    }
    for (int i = 0; i < rows; i++) {
        for (int v = 0; v < vectors; v++) FN(save)(out + i * out_stride + v * WIDTH, sum[i][v]);
    }
}

static void FN(tiles)(T *out, int64_t out_stride, const T *a, int64_t stride, const T *panel,
                      const T *bias, int64_t K, int64_t rows, int64_t vectors)
{
#define FA_TILE_CASE(n)                                                                   \
    case n:                                                                               \
        if (vectors == 2) {                                                               \
            FN(tile)(out, out_stride, a, stride, panel, bias, K, n < ROWS ? n : ROWS, 2); \
        } else {                                                                          \
            FN(tile)(out, out_stride, a, stride, panel, bias, K, n < ROWS ? n : ROWS, 1); \
        }                                                                                 \
        break;
    switch (rows) {
        FA_TILE_CASE(1)
        FA_TILE_CASE(2)
        FA_TILE_CASE(3)
        FA_TILE_CASE(4)
        FA_TILE_CASE(5)
        FA_TILE_CASE(6)
        FA_TILE_CASE(7)
        FA_TILE_CASE(8)
    }
#undef FA_TILE_CASE
}

static void FN(multiply)(void *out, int64_t out_stride, int padded, const void *a, int64_t stride,
                         const void *packed, const void *bias, int64_t M, int64_t N, int64_t K)
{
    T spare[ROWS * 2 * WIDTH];
    const T *panel = packed, *constant = bias;
    for (int64_t first = 0; first < N; first += 2 * WIDTH) {
        const int64_t vectors = N - first > WIDTH ? 2 : 1, columns = fa_min(N - first, 2 * WIDTH);
        const int fits = padded || columns == vectors * WIDTH;
        for (int64_t m = 0; m < M; m += ROWS) {
            const int64_t rows = fa_min(ROWS, M - m);
            T *const place = (T *)out + m * out_stride + first;
            FN(tiles)(fits ? place : spare, fits ? out_stride : 2 * WIDTH,
                      (const T *)a + m * stride, stride, panel, constant, K, rows, vectors);
            for (int64_t i = 0; !fits && i < rows; i++) {
                memcpy(place + i * out_stride, spare + i * 2 * WIDTH, (size_t)columns * sizeof(T));
            }
        }
        panel += vectors * WIDTH * K;
        if (constant != NULL) constant += vectors * WIDTH;
    }
}

/* The lanes of a vector, halves upon halves. */
static inline T FN(sum)(VEC v)
{
    T lanes[WIDTH];
    FN(save)(lanes, v);
    for (int64_t half = WIDTH / 2; half > 0; half /= 2) {
        for (int64_t i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

/* Four vectors of partial sums, then one, then what is left in float64. */
static double FN(dot)(const void *left, const void *right, int64_t n)
{
    const T *const a = left, *const b = right;
    VEC sums[4] = {{0}, {0}, {0}, {0}};
    int64_t k = 0;
    for (; k + 4 * WIDTH <= n; k += 4 * WIDTH) {
        for (int v = 0; v < 4; v++) {
            sums[v] = FMA(FN(load)(a + k + v * WIDTH), FN(load)(b + k + v * WIDTH), sums[v]);
        }
    }
    for (; k + WIDTH <= n; k += WIDTH) {
        sums[0] = FMA(FN(load)(a + k), FN(load)(b + k), sums[0]);
    }
    double total = (double)FN(sum)((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (; k < n; k++) total += (double)a[k] * (double)b[k];
    return total;
}

static void FN(blend)(void *out, double x, const void *a, double y, const void *b, int64_t n)
{
    T *const to = out;
    const T *const left = a, *const right = b, p = (T)x, q = (T)y;
    if (q == 0) {
        for (int64_t k = 0; k < n; k++) to[k] = p * left[k];
    } else {
        for (int64_t k = 0; k < n; k++) to[k] = p * left[k] + q * right[k];
    }
}
