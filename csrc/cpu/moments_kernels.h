/* The contributions of one draw to features 0..n-1. */
static inline void FN(contributions)(ACC *restrict v, const fa_moments_args *args,
                                     const T *restrict gradient, const T *restrict start,
                                     const T *restrict base, int64_t n)
{
    for (int64_t d = 0; d < n; d++) {
        const ACC g = gradient != NULL ? LOAD(gradient[d]) : (ACC)0;
        const ACC value = args->multiply ? g * (LOAD(start[d]) - LOAD(base[d])) : g;
        v[d] = args->square ? value * value : value;
    }
}

/* Rows from..to-1 of the chunk, all draws of example e, features begin..begin+n-1. */
static void FN(add_draws)(const fa_moments_args *args, int64_t e, int64_t from, int64_t to,
                          int64_t begin, int64_t n)
{
    const int64_t D = args->input->shape[1];
    const T *const input = (const T *)fa_data(args->input) + e * D + begin;
    ACC *const mean = (ACC *)fa_data(args->mean) + e * D + begin;
    double *const deviation = (double *)fa_data(args->deviation) + e * D + begin;
    for (int64_t r = from; r < to; r++) {
        const fa_drawn_row row = fa_drawn_row_at(&args->draws, args->first + r);
        if (row.draw < 0) continue;
        const int64_t base_row = args->base->shape[0] == 1 ? 0 : row.base;
        const T *const base = (const T *)fa_data(args->base) + base_row * D + begin;
        const T *const gradient =
            args->gradient != NULL ? (const T *)fa_data(args->gradient) + r * D + begin : NULL;
        const T *const start =
            args->start != NULL ? (const T *)fa_data(args->start) + r * D + begin : input;
        const ACC share = (ACC)(1.0 / (double)(row.draw + 1));
        ACC v[FA_BLOCK];
        FN(contributions)(v, args, gradient, start, base, n);
        for (int64_t d = 0; d < n; d++) {
            const ACC before = v[d] - mean[d];
            mean[d] += share * before;
            deviation[d] += (double)before * (double)(v[d] - mean[d]);
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
        const int64_t from = e * rows - args->first;
        FN(add_draws)(args, e, from > 0 ? from : 0, fa_min(from + rows, args->count), block,
                      fa_min(D - block, FA_BLOCK));
    }
}
