/* Items are (example, FA_BLOCK features). */
static void FN(combine)(void *context, int64_t begin, int64_t end)
{
    const fa_combine_args *args = context;
    const int64_t D = args->result->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    const ACC scale = (ACC)args->scale;
    for (int64_t item = begin; item < end; item++) {
        const int64_t e = item / blocks, block = item % blocks * FA_BLOCK;
        const int64_t n = fa_min(FA_BLOCK, D - block);
        ACC *restrict const result = (ACC *)fa_data(args->result) + (args->first + e) * D + block;
        for (int64_t j = 0; j < args->fan; j++) {
            const ACC *restrict const sum =
                (const ACC *)fa_data(args->sum) + (e * args->fan + j) * D + block;
            for (int64_t d = 0; d < n; d++) result[d] += scale * sum[d];
        }
    }
}
