/* Features begin..begin+n-1 of one example; `sums` gains three sums in 16 lanes each. */
static void FN(spread_run)(double sums[FA_SPREADS][FA_LANES], ACC *restrict mean,
                           double *restrict deviation, const fa_spread_args *args, int64_t n)
{
    const double draws = (double)args->draws;
    const double per_error = 1.0 / (draws * (draws - 1.0)), per_draw = 1.0 / draws;
    for (int64_t d = 0; d < n; d++) {
        const int64_t lane = d % FA_LANES;
        if (args->variance) mean[d] = (ACC)(deviation[d] * per_draw);
        deviation[d] = sqrt(deviation[d] * per_error);
        sums[0][lane] += deviation[d];
        sums[1][lane] += fabs((double)mean[d]);
        sums[2][lane] += (double)mean[d];
    }
}

/* Examples begin..end-1. */
static void FN(spread)(void *context, int64_t begin, int64_t end)
{
    const fa_spread_args *args = context;
    const int64_t D = args->mean->shape[1];
    for (int64_t e = begin; e < end; e++) {
        fa_pairwise total = {0};
        for (int64_t d = 0; d < D; d += FA_SUM_BLOCK) {
            double lanes[FA_SPREADS][FA_LANES] = {{0}}, block[FA_MEASURES] = {0};
            FN(spread_run)(lanes, (ACC *)fa_data(args->mean) + e * D + d,
                           (double *)fa_data(args->deviation) + e * D + d, args,
                           fa_min(D - d, FA_SUM_BLOCK));
            for (int s = 0; s < FA_SPREADS; s++) block[s] = fa_sum_lanes(lanes[s]);
            fa_pairwise_add(&total, block);
        }
        double sums[FA_MEASURES] = {0};
        fa_pairwise_total(&total, sums);
        for (int s = 0; s < FA_SPREADS; s++) args->sums[e * FA_SPREADS + s] += sums[s];
    }
}
