/* One run of elements begin..end-1 of a row. alpha 1 and 0 copy, bit for bit. */
static void FN(point)(T *restrict out, const T *restrict input, const T *restrict base,
                      double alpha, int64_t begin, int64_t end)
{
    const ACC a = (ACC)alpha;
    if (alpha == 1.0 || alpha == 0.0) {
        memcpy(out + begin, (alpha == 1.0 ? input : base) + begin,
               (size_t)(end - begin) * sizeof(T));
        return;
    }
    for (int64_t d = begin; d < end; d++) {
        const ACC b = LOAD(base[d]);
        out[d] = STORE(b + a * (LOAD(input[d]) - b));
    }
}

/* Elements begin..end-1 of the chunk, flat over (R, D). */
static void FN(points)(void *context, int64_t begin, int64_t end)
{
    const fa_points_args *args = context;
    const int64_t D = args->out->shape[1];
    const int64_t base_stride = args->base->shape[0] == 1 ? 0 : D;
    T *const out = fa_data(args->out);
    const T *const input = fa_data(args->input), *const base = fa_data(args->base);
    for (int64_t r = begin / D; r * D < end; r++) {
        const fa_row row = fa_row_at(&args->rows, args->rows.first + r);
        FN(point)(out + r * D, input + row.example * D, base + row.base * base_stride, row.alpha,
                  begin > r * D ? begin - r * D : 0, fa_min(end - r * D, D));
    }
}
