/* Adds one feature to its lane of the four measures. */
static inline void FN(add_feature)(double lanes[FA_MEASURES][FA_LANES], int64_t lane, ACC updated,
                                   ACC previous, ACC difference, ACC factor)
{
    const double now = (double)(updated * factor);
    const double before = (double)(previous * factor);
    const double product = (double)(updated * difference);
    lanes[0][lane] += fabs(now - before);
    lanes[1][lane] += fabs(now);
    lanes[2][lane] += product;
    lanes[3][lane] += fabs(product);
}

/* The four measures over features 0..n-1 (at most one FA_SUM_BLOCK), each in 16 interleaved
 * float64 lanes that are then added pairwise. */
static void FN(measure_block)(double *out, const ACC *restrict updated,
                              const ACC *restrict previous, const T *restrict input,
                              const T *restrict base, int multiply, int64_t n)
{
    double lanes[FA_MEASURES][FA_LANES] = {{0}};
    for (int64_t d = 0; d < n; d += FA_LANES) {
        const int64_t width = fa_min(n - d, FA_LANES);
        ACC difference[FA_LANES], factor[FA_LANES], before[FA_LANES] = {0};
        for (int64_t i = 0; i < width; i++) {
            difference[i] = LOAD(input[d + i]) - LOAD(base[d + i]);
            factor[i] = multiply ? difference[i] : (ACC)1;
            if (previous != NULL) before[i] = previous[d + i];
        }
        for (int64_t i = 0; i < width; i++) {
            FN(add_feature)(lanes, i, updated[d + i], before[i], difference[i], factor[i]);
        }
    }
    for (int64_t m = 0; m < FA_MEASURES; m++) out[m] = fa_sum_lanes(lanes[m]);
}

/* Active examples begin..end-1. */
static void FN(measure)(void *context, int64_t begin, int64_t end)
{
    const fa_measure_args *args = context;
    const int64_t D = args->input->shape[1];
    const int64_t base_stride = args->base->shape[0] == 1 ? 0 : D;
    const T *const input = fa_data(args->input), *const base = fa_data(args->base);
    for (int64_t a = begin; a < end; a++) {
        const int64_t e = args->active[a];
        const ACC *const updated = (const ACC *)args->updated + e * D;
        const ACC *const previous =
            args->previous != NULL ? (const ACC *)args->previous + e * D : NULL;
        fa_pairwise sums = {0};
        for (int64_t d = 0; d < D; d += FA_SUM_BLOCK) {
            double block[FA_MEASURES];
            FN(measure_block)(block, updated + d, previous != NULL ? previous + d : NULL,
                              input + e * D + d, base + e * base_stride + d, args->multiply,
                              fa_min(D - d, FA_SUM_BLOCK));
            fa_pairwise_add(&sums, block);
        }
        fa_pairwise_total(&sums, args->out + a * FA_MEASURES);
    }
}
