/* The four measures over features begin..end-1 (at most one FA_SUM_BLOCK), each in 16
 * interleaved float64 lanes that are then added pairwise. */
static void FN(measure_block)(double *out, const ACC *restrict updated,
                              const ACC *restrict previous, const T *restrict input,
                              const T *restrict base, int multiply, int64_t begin, int64_t end)
{
    double lanes[FA_MEASURES][FA_LANES] = {{0}};
    for (int64_t d = begin; d < end; d++) {
        const int64_t lane = (d - begin) % FA_LANES;
        const ACC difference = LOAD(input[d]) - LOAD(base[d]);
        const ACC factor = multiply ? difference : (ACC)1;
        const double now = (double)(updated[d] * factor);
        const double before = previous != NULL ? (double)(previous[d] * factor) : 0.0;
        const double product = (double)(updated[d] * difference);
        lanes[0][lane] += fabs(now - before);
        lanes[1][lane] += fabs(now);
        lanes[2][lane] += product;
        lanes[3][lane] += fabs(product);
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
            FN(measure_block)(block, updated, previous, input + e * D, base + e * base_stride,
                              args->multiply, d, fa_min(d + FA_SUM_BLOCK, D));
            fa_pairwise_add(&sums, block);
        }
        fa_pairwise_total(&sums, args->out + a * FA_MEASURES);
    }
}
