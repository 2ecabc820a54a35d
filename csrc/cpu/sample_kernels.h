/* start[0..n-1] = input + stdev * z, z the normals of a draw at positions first..first+n-1,
 * first a multiple of FA_NOISE_BLOCK, n at most that. */
static void FN(add_noise)(T *restrict start, const T *restrict input, double stdev, fa_key stream,
                          int64_t draw, int64_t first, int64_t n)
{
    double z[FA_NOISE_BLOCK];
    FN(normals)(z, stream, draw, first / 4);
    for (int64_t i = 0; i < n; i++) start[i] = STORE(LOAD(input[i]) + (ACC)(stdev * z[i]));
}

/* Features begin..end-1 of one row; `begin` is a multiple of FA_NOISE_BLOCK. */
static void FN(sample_run)(const fa_sample_args *args, const fa_drawn_row *row, int64_t r,
                           int64_t begin, int64_t end)
{
    const int64_t D = args->out->shape[1];
    const int64_t base_row = args->base->shape[0] == 1 ? 0 : row->base;
    const T *const input = (const T *)fa_data(args->input) + row->example * D;
    const T *const base = (const T *)fa_data(args->base) + base_row * D;
    T *const out = (T *)fa_data(args->out) + r * D;
    T *const kept = args->start != NULL ? (T *)fa_data(args->start) + r * D : NULL;
    const int noisy = args->stdev != NULL && row->draw >= 0;
    const uint32_t purpose = (uint32_t)(FA_STREAM_NOISE + args->member);
    const fa_key stream = fa_stream(args->draws.seed, args->draws.ids[row->example], purpose);
    const ACC a = (ACC)row->alpha;
    for (int64_t d = begin; d < end; d += FA_NOISE_BLOCK) {
        const int64_t n = fa_min(end - d, FA_NOISE_BLOCK);
        T start[FA_NOISE_BLOCK];
        if (noisy) {
            FN(add_noise)(start, input + d, args->stdev[row->example], stream, row->draw, d, n);
        } else {
            memcpy(start, input + d, (size_t)n * sizeof(T));
        }
        if (kept != NULL) memcpy(kept + d, start, (size_t)n * sizeof(T));
        if (row->alpha == 1.0) {
            memcpy(out + d, start, (size_t)n * sizeof(T));
            continue;
        }
        for (int64_t i = 0; i < n; i++) {
            const ACC b = LOAD(base[d + i]);
            out[d + i] = STORE(b + a * (LOAD(start[i]) - b));
        }
    }
}

/* Items are (row of the chunk, FA_BLOCK features). */
static void FN(sample)(void *context, int64_t begin, int64_t end)
{
    const fa_sample_args *args = context;
    const int64_t D = args->out->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    for (int64_t item = begin; item < end; item++) {
        const int64_t r = item / blocks, block = item % blocks * FA_BLOCK;
        const fa_drawn_row row = fa_drawn_row_at(&args->draws, args->first + r);
        FN(sample_run)(args, &row, r, block, fa_min(block + FA_BLOCK, D));
    }
}
