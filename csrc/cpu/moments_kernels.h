/* The contributions of one draw to features 0..n-1, at most FA_RUN. */
static void FN(contributions)(ACC *restrict v, const fa_moments_args *args,
                              const T *restrict gradient, const T *restrict start,
                              const T *restrict base, int64_t n)
{
    ACC gradients[FA_RUN] = {0}, starts[FA_RUN], bases[FA_RUN];
    const ACC *const g = gradient != NULL ? FN(widen)(gradients, gradient, n) : gradients;
    if (args->multiply) {
        const ACC *const x = FN(widen)(starts, start, n), *const b = FN(widen)(bases, base, n);
        for (int64_t d = 0; d < n; d++) v[d] = g[d] * (x[d] - b[d]);
    } else {
        memcpy(v, g, (size_t)n * sizeof(ACC));
    }
    for (int64_t d = 0; args->square && d < n; d++) v[d] *= v[d];
}

/* `count` draws in their order; mean and deviation are loaded and stored once. */
static inline void FN(welford)(ACC *restrict mean, double *restrict deviation, ACC (*v)[FA_RUN],
                               const ACC *restrict share, int64_t count, int64_t n)
{
    for (int64_t d = 0; d < n; d++) {
        ACC m = mean[d];
        double squares = deviation[d];
        for (int64_t i = 0; i < count; i++) {
            const ACC before = v[i][d] - m;
            m += share[i] * before;
            squares += (double)before * (double)(v[i][d] - m);
        }
        mean[d] = m;
        deviation[d] = squares;
    }
}

/* Rows r..r+count-1 of the chunk, at most FA_TOGETHER, all draws of example e, features
 * begin..begin+n-1. */
static void FN(add_draws)(const fa_moments_args *args, const fa_drawn_row *rows, int64_t e,
                          int64_t r, int64_t count, int64_t begin, int64_t n)
{
    const int64_t D = args->input->shape[1];
    const T *const input = (const T *)fa_data(args->input) + e * D;
    ACC *const mean = (ACC *)fa_data(args->mean) + e * D;
    double *const deviation = (double *)fa_data(args->deviation) + e * D;
    for (int64_t d = begin; d < begin + n; d += FA_RUN) {
        const int64_t some = fa_min(begin + n - d, FA_RUN);
        ACC v[FA_TOGETHER][FA_RUN], share[FA_TOGETHER];
        int64_t draws = 0;
        for (int64_t i = 0; i < count; i++) {
            if (rows[i].draw < 0) continue;
            const int64_t base_row = args->base->shape[0] == 1 ? 0 : rows[i].base;
            const T *const base = (const T *)fa_data(args->base) + base_row * D + d;
            const T *const gradient = args->gradient != NULL
                                          ? (const T *)fa_data(args->gradient) + (r + i) * D + d
                                          : NULL;
            const T *const start =
                args->start != NULL ? (const T *)fa_data(args->start) + (r + i) * D + d : input + d;
            FN(contributions)(v[draws], args, gradient, start, base, some);
            share[draws++] = (ACC)(1.0 / (double)(rows[i].draw + 1));
        }
        if (draws == FA_TOGETHER) {
            FN(welford)(mean + d, deviation + d, v, share, FA_TOGETHER, some);
        } else {
            for (int64_t i = 0; i < draws; i++) {
                FN(welford)(mean + d, deviation + d, v + i, share + i, 1, some);
            }
        }
    }
}

/* Items are (example of the chunk, block of features). */
static void FN(moments)(void *context, int64_t begin, int64_t end)
{
    const fa_moments_args *args = context;
    const int64_t D = args->input->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    const int64_t rows = args->draws.draws + 1, first_example = args->first / rows;
    for (int64_t item = begin; item < end; item++) {
        const int64_t e = first_example + item / blocks, block = item % blocks * FA_BLOCK;
        const int64_t from = e * rows - args->first, to = fa_min(from + rows, args->count);
        for (int64_t r = from > 0 ? from : 0; r < to; r += FA_TOGETHER) {
            const int64_t count = fa_min(to - r, FA_TOGETHER);
            fa_drawn_row drawn[FA_TOGETHER];
            for (int64_t i = 0; i < count; i++) {
                drawn[i] = fa_drawn_row_at(&args->draws, args->first + r + i);
            }
            FN(add_draws)(args, drawn, e, r, count, block, fa_min(D - block, FA_BLOCK));
        }
    }
}
