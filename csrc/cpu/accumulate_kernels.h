/* Some rows of gradients, and what they weigh. */
typedef struct {
    const T *gradient[FA_TOGETHER];
    ACC weight[FA_TOGETHER];
} FN(terms);

/* result[0..n-1] += `count` terms, in their order; accumulators are loaded and stored once. */
static inline void FN(add_terms)(ACC *restrict result, const FN(terms) * terms, int64_t first,
                                 int64_t count, int64_t n)
{
    const T *const *const gradient = terms->gradient + first;
    const ACC *const weight = terms->weight + first;
    int64_t d = 0;
#ifdef STEP
    for (; d + STEP <= n; d += STEP) {
        VECTOR sum;
        memcpy(&sum, result + d, sizeof(sum));
        for (int64_t i = 0; i < count; i++) sum += weight[i] * LOADS(gradient[i] + d);
        memcpy(result + d, &sum, sizeof(sum));
    }
#endif
    for (; d < n; d++) {
        ACC sum = result[d];
        for (int64_t i = 0; i < count; i++) sum += weight[i] * LOAD(gradient[i][d]);
        result[d] = sum;
    }
}

/* Rows r..r+count-1 of the chunk, at most FA_TOGETHER and all of example e, to level l. */
static void FN(add_rows)(const fa_accumulate_args *args, int64_t l, int64_t e, int64_t r,
                         int64_t count, int64_t begin, int64_t end)
{
    const fa_rows *rows = &args->rows;
    const int64_t D = args->gradient->shape[1];
    ACC *const result = (ACC *)fa_data(args->result) + (l * args->examples + e) * D + begin;
    FN(terms) terms;
    int64_t n = 0;
    for (int64_t i = r; i < r + count; i++) {
        const int64_t k = (rows->first + i - rows->lead) % rows->nodes;
        const double weight = rows->weight[l * rows->nodes + k];
        if (weight == 0.0) continue; /* not 0 * NaN */
        terms.gradient[n] = (const T *)fa_data(args->gradient) + i * D + begin;
        terms.weight[n++] = (ACC)weight;
    }
    if (n == FA_TOGETHER) {
        FN(add_terms)(result, &terms, 0, FA_TOGETHER, end - begin);
    } else {
        for (int64_t i = 0; i < n; i++) FN(add_terms)(result, &terms, i, 1, end - begin);
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
        const int64_t from = slot * rows->nodes - start;
        const int64_t to = fa_min(from + rows->nodes, rows->count);
        for (int64_t r = from > 0 ? from : 0; r < to; r += FA_TOGETHER) {
            for (int64_t l = 0; l < rows->levels; l++) {
                FN(add_rows)(args, l, rows->active[slot], r, fa_min(to - r, FA_TOGETHER), block,
                             fa_min(block + FA_BLOCK, D));
            }
        }
    }
}
