/* thin.c -- a BLAS copies both factors into an order of its own before it multiplies them; with a
 * few rows the copy of a large matrix costs more than the product. Here its rows are streamed:
 *   b (K, N)    two vectors of columns at a time, all of k;
 *   b (N, K)    as the rows of out' = b a', with a turned, which is small. */
#include "thin.h"

#include <stdlib.h>

#include "cpu.h"

#ifdef FA_X86
#include <immintrin.h>
#endif

#define FA_THIN_ROWS 16         /* from more on, the copy costs a BLAS little */
#define FA_THIN_LEAST (1 << 18) /* elements of b: below, it is in the caches anyway    */
#define FA_THIN_DEPTH 1024      /* of a sum at a time: turned rows that pass while b's stay */
#define FA_THIN_STRETCH 512
#define FA_THIN_PAGES 64

typedef struct {
    void *out, *scratch;
    const void *a, *b;
    int64_t M, N, K;
    int turned, add; /* b is (N, K); out += */
} thin;

typedef struct {
    int64_t (*room)(const thin *p); /* bytes of scratch */
    void (*run)(thin *p);
} thin_ops;

#define FA_TEMPLATE "thin_kernels.h"
#include "foreach_real.h"

static const thin_ops *ops_of(fa_dtype dtype)
{
    static const thin_ops *const ops[FA_LEVELS][2] = FA_REAL_LEVELS(thin_ops);
    return ops[fa_cpu_level()][dtype == FA_FLOAT64];
}

int fa_cpu_thin(const fa_gemm_args *args)
{
    thin p = {.out = fa_data(args->out),
              .a = fa_data(args->a),
              .b = fa_data(args->b),
              .M = args->out->shape[0],
              .N = args->out->shape[1],
              .K = args->a->shape[args->transpose_a ? 0 : 1],
              .turned = args->transpose_b,
              .add = args->accumulate};
    if (args->transpose_a || p.M < 1 || p.M > FA_THIN_ROWS || p.K < 1 ||
        p.N < FA_THIN_LEAST / p.K) {
        return 0;
    }
    const thin_ops *ops = ops_of(fa_dtype_of(args->out->dtype));
    const size_t room = ((size_t)ops->room(&p) + 63) / 64 * 64;
    p.scratch = aligned_alloc(64, room);
    if (p.scratch == NULL) return 0;
    ops->run(&p);
    free(p.scratch);
    return 1;
}
