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
                           int64_t begin, int64_t end, int bypass)
{
    const int64_t D = args->out->shape[1];
    const int64_t base_row = args->base->shape[0] == 1 ? 0 : row->base;
    const T *const input = (const T *)fa_data(args->input) + row->example * D;
    const T *const base = (const T *)fa_data(args->base) + base_row * D;
    T *const out = (T *)fa_data(args->out) + r * D;
    T *const kept = args->start != NULL ? (T *)fa_data(args->start) + r * D : NULL;
    const int noisy = args->stdev != NULL && row->draw >= 0;
    const uint32_t purpose = (uint32_t)(FA_STREAM_NOISE + args->member);
    const fa_key key = fa_stream(args->draws.seed, args->draws.ids[row->example], purpose);
    const int64_t step = noisy ? FA_NOISE_BLOCK : end - begin;
    FN(ends) ends;
    ends.known = 0;
    for (int64_t d = begin; d < end; d += step) {
        const int64_t n = fa_min(end - d, step);
        const T *start = input + d;
        T noise[FA_NOISE_BLOCK];
        if (noisy) {
            FN(add_noise)(noise, start, args->stdev[row->example], key, row->draw, d, n);
            start = noise;
        }
        if (kept != NULL) memcpy(kept + d, start, (size_t)n * sizeof(T));
        FN(look)(&ends, start, base + d, n, 0);
        FN(put_point)(out + d, &ends, row->alpha, n, bypass);
    }
}

/* Items are (row of the chunk, FA_BLOCK features). What a row is costs as much as a block. */
static void FN(sample)(void *context, int64_t begin, int64_t end)
{
    const fa_sample_args *args = context;
    const int64_t D = args->out->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    const int bypass = fa_bypasses(args->out);
    fa_drawn_row row = {0};
    for (int64_t item = begin; item < end; item++) {
        const int64_t r = item / blocks, block = item % blocks * FA_BLOCK;
        if (item == begin || block == 0) row = fa_drawn_row_at(&args->draws, args->first + r);
        FN(sample_run)(args, &row, r, block, fa_min(block + FA_BLOCK, D), bypass);
    }
    if (bypass) fa_bypass_end();
}
