/* Up to FA_SUM_BLOCK features. */
static double FN(total_block)(const T *restrict values, int64_t n, int square)
{
    double lanes[FA_LANES] = {0};
    for (int64_t d = 0; d < n; d += FA_LANES) {
        const int64_t width = fa_min(n - d, FA_LANES);
        for (int64_t i = 0; i < width; i++) {
            const double v = (double)LOAD(values[d + i]);
            lanes[i] += square ? v * v : v;
        }
    }
    return fa_sum_lanes(lanes);
}

/* Rows begin..end-1. */
static void FN(total)(void *context, int64_t begin, int64_t end)
{
    const fa_total_args *args = context;
    const int64_t D = args->values->shape[1];
    for (int64_t i = begin; i < end; i++) {
        const T *const values = (const T *)fa_data(args->values) + (args->first + i) * D;
        fa_pairwise sums = {0};
        for (int64_t d = 0; d < D; d += FA_SUM_BLOCK) {
            double block[FA_MEASURES] = {
                FN(total_block)(values + d, fa_min(FA_SUM_BLOCK, D - d), args->square)};
            fa_pairwise_add(&sums, block);
        }
        double found[FA_MEASURES] = {0};
        fa_pairwise_total(&sums, found);
        args->out[i] = (args->add ? args->out[i] : 0.0) + found[0];
    }
}
