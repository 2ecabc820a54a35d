/* One block of features. `out` may be `result`. */
static void FN(finish_run)(ACC *out, const ACC *result, const T *input, const T *base, int multiply,
                           int absolute, int64_t n)
{
    ACC inputs[FA_RUN], bases[FA_RUN];
    const ACC *const x = FN(widen)(inputs, input, n), *const b = FN(widen)(bases, base, n);
#pragma omp simd
    for (int64_t d = 0; d < n; d++) {
        const ACC value = result[d] * (multiply ? x[d] - b[d] : (ACC)1);
        out[d] = absolute && value < 0 ? -value : value;
    }
}

/* Items are (example, FA_RUN features). */
static void FN(finish)(void *context, int64_t begin, int64_t end)
{
    const fa_finish_args *args = context;
    const int64_t B = args->input->shape[0], D = args->input->shape[1];
    const int64_t base_stride = args->base->shape[0] == 1 ? 0 : D;
    const int64_t runs = (D + FA_RUN - 1) / FA_RUN;
    for (int64_t item = begin; item < end; item++) {
        const int64_t e = item / runs, d = item % runs * FA_RUN;
        FN(finish_run)((ACC *)fa_data(args->out) + e * D + d,
                       (const ACC *)fa_data(args->result) + (args->level[e] * B + e) * D + d,
                       (const T *)fa_data(args->input) + e * D + d,
                       (const T *)fa_data(args->base) + e * base_stride + d, args->multiply,
                       args->absolute, fa_min(D - d, FA_RUN));
    }
}
