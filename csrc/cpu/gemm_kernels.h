/* Compiled once for float and once for double: T the element, FN(f) the name, BLAS its product. */

/* Rows begin..end-1 of `out` in tiles of FA_TILE x FA_TILE of b, brought into one order on the
 * stack, where they stay in the first cache while all rows pass. */
static void FN(loop)(void *context, int64_t begin, int64_t end)
{
    const product *p = context;
    T tile[FA_TILE * FA_TILE];
    T *const out = p->out;
    const T *const a = p->a, *const b = p->b;
    for (int64_t j = 0; j < p->N; j += FA_TILE) {
        const int64_t width = fa_min(FA_TILE, p->N - j);
        for (int64_t k = 0; k < p->K; k += FA_TILE) {
            const int64_t depth = fa_min(FA_TILE, p->K - k);
            for (int64_t l = 0; l < depth; l++) {
                for (int64_t n = 0; n < width; n++) {
                    tile[l * FA_TILE + n] =
                        b[p->transpose_b ? (j + n) * p->K + k + l : (k + l) * p->N + j + n];
                }
            }
            for (int64_t m = begin; m < end; m++) {
                T *restrict const row = out + m * p->N + j;
                for (int64_t l = 0; l < depth; l++) {
                    const T factor = a[p->transpose_a ? (k + l) * p->M + m : m * p->K + k + l];
                    const T *restrict const other = tile + l * FA_TILE;
                    for (int64_t n = 0; n < width; n++) row[n] += factor * other[n];
                }
            }
        }
    }
}

/* Row-major out = a b is column-major out' = b' a'. All extents are >= 1 and fit an int. */
static void FN(ask)(const product *p, FN(fa_blas) blas)
{
    char first = p->transpose_b ? 'T' : 'N', second = p->transpose_a ? 'T' : 'N';
    int M = (int)p->M, N = (int)p->N, K = (int)p->K;
    int lda = p->transpose_a ? M : K, ldb = p->transpose_b ? K : N;
    T one = 1, beta = p->accumulate ? 1 : 0;
    blas(&first, &second, &N, &M, &K, &one, (T *)p->b, &ldb, (T *)p->a, &lda, &beta, p->out, &N);
}

static void FN(multiply)(product *p)
{
    const FN(fa_blas) blas = atomic_load_explicit(&FN(known), memory_order_acquire);
    if (blas != NULL && p->K > 0 && p->M <= INT_MAX && p->N <= INT_MAX && p->K <= INT_MAX) {
        FN(ask)(p, blas);
        return;
    }
    if (!p->accumulate) memset(p->out, 0, (size_t)(p->M * p->N) * sizeof(T));
    fa_parallel_for(p->M, fa_work(p->N, p->K), FN(loop), p);
}
