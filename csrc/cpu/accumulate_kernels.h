/* result[0..n-1] += weight * gradient[0..n-1] */
static void FN(add_row)(ACC *restrict result, const T *restrict gradient, ACC weight, int64_t n)
{
    for (int64_t d = 0; d < n; d++) result[d] += weight * LOAD(gradient[d]);
}

/* The same for FA_TOGETHER rows, D apart: each accumulator is loaded and stored once for all of
 * them, and the additions keep their order. */
static void FN(add_together)(ACC *restrict result, const T *restrict gradient, const ACC *weight,
                             int64_t D, int64_t n)
{
    for (int64_t d = 0; d < n; d++) {
        ACC sum = result[d];
        for (int64_t i = 0; i < FA_TOGETHER; i++) sum += weight[i] * LOAD(gradient[i * D + d]);
        result[d] = sum;
    }
}

/* The weights of rows r..r+FA_TOGETHER-1, if those may be added together: one level, one example,
 * no weight of 0. */
static int FN(together)(ACC *weight, const fa_rows *rows, int64_t r, int64_t to)
{
    if (rows->levels != 1 || r + FA_TOGETHER > to) return 0;
    for (int64_t i = 0; i < FA_TOGETHER; i++) {
        const double w = rows->weight[(rows->first + r + i - rows->lead) % rows->nodes];
        if (w == 0.0) return 0;
        weight[i] = (ACC)w;
    }
    return 1;
}

/* Rows from..to-1 of the chunk, all of example e, features begin..end-1, every level. */
static void FN(add_rows)(const fa_accumulate_args *args, int64_t e, int64_t from, int64_t to,
                         int64_t begin, int64_t end)
{
    const fa_rows *rows = &args->rows;
    const int64_t D = args->gradient->shape[1];
    ACC *const result = fa_data(args->result);
    const T *const gradient = fa_data(args->gradient);
    ACC weights[FA_TOGETHER];
    for (int64_t r = from; r < to; r++) {
        if (FN(together)(weights, rows, r, to)) {
            FN(add_together)(result + e * D + begin, gradient + r * D + begin, weights, D,
                             end - begin);
            r += FA_TOGETHER - 1;
            continue;
        }
        const int64_t k = (rows->first + r - rows->lead) % rows->nodes;
        for (int64_t l = 0; l < rows->levels; l++) {
            const double weight = rows->weight[l * rows->nodes + k];
            if (weight == 0.0) continue; /* not 0 * NaN */
            FN(add_row)(result + (l * args->examples + e) * D + begin, gradient + r * D + begin,
                        (ACC)weight, end - begin);
        }
    }
}

/* Items are (example slot of the chunk, block of features): one item, one piece of memory. */
static void FN(accumulate)(void *context, int64_t begin, int64_t end)
{
    const fa_accumulate_args *args = context;
    const fa_rows *rows = &args->rows;
    const int64_t D = args->gradient->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    const int64_t start = rows->first - rows->lead,
                  first_slot = start > 0 ? start / rows->nodes : 0;
    for (int64_t item = begin; item < end; item++) {
        const int64_t slot = first_slot + item / blocks, block = item % blocks * FA_BLOCK;
        const int64_t from = slot * rows->nodes - start, to = from + rows->nodes;
        FN(add_rows)(args, rows->active[slot], from > 0 ? from : 0, fa_min(to, rows->count), block,
                     fa_min(block + FA_BLOCK, D));
    }
}
