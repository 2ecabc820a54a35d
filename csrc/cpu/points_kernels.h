/* Items are (row of the chunk, block of features), block by block within the rows of an example:
 * those read the same. */
static void FN(points)(void *context, int64_t begin, int64_t end)
{
    const fa_points_args *args = context;
    const fa_rows *rows = &args->rows;
    const int64_t D = args->out->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    const int64_t base_stride = args->base->shape[0] == 1 ? 0 : D;
    const int bypass = fa_bypasses(args->out);
    T *const out = fa_data(args->out);
    const T *const input = fa_data(args->input), *const base = fa_data(args->base);
    FN(ends) ends;
    ends.known = 0;
    for (int64_t item = begin; item < end; item++) {
        const fa_span span = fa_span_at(rows, item / blocks);
        const int64_t at = item - span.first * blocks;
        const int64_t r = span.first + at % span.count, d = at / span.count * FA_BLOCK;
        const fa_row row = fa_row_at(rows, rows->first + r);
        const int64_t n = fa_min(D - d, FA_BLOCK);
        const int between =
            row.alpha != 0.0 && row.alpha != 1.0; /* else the other end is not read */
        FN(look)(&ends, input + row.example * D + d, base + row.base * base_stride + d, n, between);
        FN(put_point)(out + r * D + d, &ends, row.alpha, n, bypass);
    }
    if (bypass) fa_bypass_end();
}
