/* Features d..d+width-1 (at most FA_LANES) of member e of a group: changes are added to their
 * lanes, the attribution itself to `total` and its product with input - base to `product`. */
static inline void FN(add_member)(double *restrict change, double *restrict total,
                                  double *restrict product, const fa_measure_args *args, int64_t e,
                                  int64_t d, int64_t width)
{
    const int64_t D = args->input->shape[1], at = e * D + d;
    const int64_t base_at = args->base->shape[0] == 1 ? d : at;
    const T *restrict const input = (const T *)fa_data(args->input) + at;
    const T *restrict const base = (const T *)fa_data(args->base) + base_at;
    const ACC *restrict const updated = (const ACC *)args->updated + at;
    const ACC *restrict const previous =
        args->previous != NULL ? (const ACC *)args->previous + at : NULL;
    ACC inputs[FA_LANES], bases[FA_LANES];
    const ACC *const x = FN(widen)(inputs, input, width), *const b = FN(widen)(bases, base, width);
#pragma omp simd
    for (int64_t i = 0; i < width; i++) {
        const ACC difference = x[i] - b[i], factor = args->multiply ? difference : (ACC)1;
        const double now = (double)(updated[i] * factor);
        const double then = previous != NULL ? (double)(previous[i] * factor) : 0.0;
        change[i] += fabs(now - then);
        total[i] += now;
        product[i] += (double)(updated[i] * difference);
    }
}

/* The four measures of one group over features begin..end-1, at most FA_SUM_BLOCK of them. */
static void FN(measure_block)(double *out, const fa_measure_args *args, const int64_t *members,
                              int64_t begin, int64_t end)
{
    double lanes[FA_MEASURES][FA_LANES] = {{0}};
    for (int64_t d = begin; d < end; d += FA_LANES) {
        const int64_t width = fa_min(end - d, FA_LANES);
        double total[FA_LANES] = {0}, product[FA_LANES] = {0};
        for (int64_t s = 0; s < args->group; s++) {
            FN(add_member)(lanes[0], total, product, args, members[s], d, width);
        }
        for (int64_t i = 0; i < width; i++) {
            lanes[1][i] += fabs(total[i]);
            lanes[2][i] += product[i];
            lanes[3][i] += fabs(product[i]);
        }
    }
    for (int64_t m = 0; m < FA_MEASURES; m++) out[m] = fa_sum_lanes(lanes[m]);
}

/* Active groups begin..end-1. */
static void FN(measure)(void *context, int64_t begin, int64_t end)
{
    const fa_measure_args *args = context;
    const int64_t D = args->input->shape[1];
    for (int64_t a = begin; a < end; a++) {
        fa_pairwise sums = {0};
        for (int64_t d = 0; d < D; d += FA_SUM_BLOCK) {
            double block[FA_MEASURES];
            FN(measure_block)(block, args, args->active + a * args->group, d,
                              fa_min(d + FA_SUM_BLOCK, D));
            fa_pairwise_add(&sums, block);
        }
        fa_pairwise_total(&sums, args->out + a * FA_MEASURES);
    }
}
