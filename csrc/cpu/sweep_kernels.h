/* The loops of dense_sweep.c: units of a layer that change sides along a line. */

static double FN(sides)(const fa_sides *out, const void *p, const void *d, const double *alpha,
                        int64_t nodes, double slope, int64_t n)
{
    const VEC all = FN(fill)((T)1), off = FN(fill)((T)slope);
    VEC poison = {0};
    for (int64_t j = 0; j < n; j += WIDTH) {
        const VEC at = FN(load)((const T *)p + j), step = FN(load)((const T *)d + j);
        MASK on = {0};
        for (int64_t k = 0; k < nodes; k++) {
            on -= (MASK)(FMA(FN(fill)((T)alpha[k]), step, at) > (VEC){0}); /* -1 where it holds */
        }
        const MASK always = on == (BITS)nodes, met = on > 0, rises = (MASK)(step > (VEC){0});
        const VEC start = FN(where)(always | (met & ~rises), all, off);
        const VEC end = FN(where)(always | (met & rises), all, off);
        const MASK node = met & ~always & ((rises & ((BITS)nodes - on)) | (~rises & on));
        FN(save)((T *)out->start + j, start);
        FN(save)((T *)out->end + j, end);
        FN(save)((T *)out->turn + j, end - start);
        for (int64_t i = 0; i < WIDTH; i++) out->node[j + i] = (int32_t)node[i];
        poison += at * (T)0 + step * (T)0;
    }
    return (double)FN(sum)(poison);
}

/* Four units at a time, constants where this is used: u and v are read and written once for all. */
static inline __attribute__((always_inline)) void
FN(turn_some)(T *u, T *v, const T *const *column, const T *x, const T *y, int64_t n, const int some)
{
    for (int64_t i = 0; i < n; i += WIDTH) {
        VEC a = FN(load)(u + i), b = FN(load)(v + i);
        for (int s = 0; s < some; s++) {
            const VEC w = FN(load)(column[s] + i);
            a = FMA(FN(fill)(x[s]), w, a);
            b = FMA(FN(fill)(y[s]), w, b);
        }
        FN(save)(u + i, a);
        FN(save)(v + i, b);
    }
}

static void FN(turn)(void *u, void *v, const void *columns, int64_t stride, const int32_t *units,
                     int64_t count, const void *factor, const void *p, const void *d)
{
    const T *const scale = factor, *const at = p, *const slope = d;
    const T *column[4];
    T x[4], y[4];
    int some = 0;
    for (int64_t i = 0; i < count; i++) {
        const int32_t j = units[i];
        column[some] = (const T *)columns + j * stride;
        x[some] = scale[j] * at[j];
        y[some] = scale[j] * slope[j];
        if (++some < 4) continue;
        FN(turn_some)(u, v, column, x, y, stride, 4);
        some = 0;
    }
    for (int s = 0; s < some; s++) FN(turn_some)(u, v, column + s, x + s, y + s, stride, 1);
}

static inline __attribute__((always_inline)) void
FN(project_some)(T *sums, const T *const *column, const T *vector, int64_t n, const int some)
{
    VEC sum[4] = {{0}, {0}, {0}, {0}};
    for (int64_t i = 0; i < n; i += WIDTH) {
        const VEC g = FN(load)(vector + i);
        for (int s = 0; s < some; s++) sum[s] = FMA(FN(load)(column[s] + i), g, sum[s]);
    }
    for (int s = 0; s < some; s++) sums[s] = FN(sum)(sum[s]);
}

static void FN(project)(void *out, const void *columns, int64_t stride, const int32_t *units,
                        int64_t count, double sign, const void *factor, const void *vector)
{
    T *const to = out;
    const T *const scale = factor;
    const T *column[4];
    T sums[4];
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (int s = 0; s < 4; s++) column[s] = (const T *)columns + units[i + s] * stride;
        FN(project_some)(sums, column, vector, stride, 4);
        for (int s = 0; s < 4; s++) to[units[i + s]] += (T)sign * scale[units[i + s]] * sums[s];
    }
    for (; i < count; i++) {
        column[0] = (const T *)columns + units[i] * stride;
        FN(project_some)(sums, column, vector, stride, 1);
        to[units[i]] += (T)sign * scale[units[i]] * sums[0];
    }
}

static void FN(cumulate)(void *before, void *running, const void *gradient, int64_t stride,
                         const double *weight, int64_t rows)
{
    for (int64_t i = 0; i < stride; i += WIDTH) {
        VEC sum = FN(load)((T *)running + i);
        for (int64_t r = 0; r < rows; r++) {
            FN(save)((T *)before + r * stride + i, sum);
            sum = FMA(FN(fill)((T)weight[r]), FN(load)((const T *)gradient + r * stride + i), sum);
        }
        FN(save)((T *)running + i, sum);
    }
}
