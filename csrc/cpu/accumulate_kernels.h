/* result[0..n-1] += weight * gradient[0..n-1] */
static void FN(add_row)(ACC *restrict result, const T *restrict gradient, ACC weight, int64_t n)
{
    for (int64_t d = 0; d < n; d++) result[d] += weight * LOAD(gradient[d]);
}

/* Rows from..to-1 of the chunk, all of example e, features begin..end-1, every level. */
static void FN(add_rows)(const fa_accumulate_args *args, int64_t e, int64_t from, int64_t to,
                         int64_t begin, int64_t end)
{
    const fa_rows *rows = &args->rows;
    const int64_t D = args->gradient->shape[1];
    ACC *const result = fa_data(args->result);
    const T *const gradient = fa_data(args->gradient);
    for (int64_t r = from; r < to; r++) {
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
