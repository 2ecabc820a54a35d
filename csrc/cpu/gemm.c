/* gemm.c -- out = a b, or out += a b, either factor transposed if asked
 *
 * Through SciPy's BLAS, whose extents are 32-bit; beyond them, and where that BLAS is not
 * there, by a loop over tiles; a few rows by thin.c. M, N rows and columns of out, K the summed
 * extent. */
#include "gemm.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "cpu.h"
#include "thin.h"

#define FA_TILE 32 /* a tile of doubles takes 8 KB */

typedef struct {
    void *out;
    const void *a, *b;
    int64_t M, N, K;
    int transpose_a, transpose_b, accumulate;
} product;

typedef fa_sgemm fa_blas_f32;
typedef fa_dgemm fa_blas_f64;

static _Atomic(fa_sgemm) known_f32;
static _Atomic(fa_dgemm) known_f64;

void fa_blas_set(fa_sgemm single, fa_dgemm twice)
{
    atomic_store_explicit(&known_f32, single, memory_order_release);
    atomic_store_explicit(&known_f64, twice, memory_order_release);
}

int fa_blas_known(void)
{
    return atomic_load(&known_f32) != NULL && atomic_load(&known_f64) != NULL;
}

/* Multiplications a row of out takes, at most so many that they fit beside the row count. */
static int64_t fa_work(int64_t N, int64_t K)
{
    int64_t work = 0;
    return __builtin_mul_overflow(N, K, &work) ? INT64_MAX : work;
}

#define T float
#define FN(name) name##_f32
#include "gemm_kernels.h"
#undef T
#undef FN

#define T double
#define FN(name) name##_f64
#include "gemm_kernels.h"
#undef T
#undef FN

fa_status fa_cpu_gemm(const fa_gemm_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    product p = {.out = fa_data(args->out),
                 .a = fa_data(args->a),
                 .b = fa_data(args->b),
                 .M = args->out->shape[0],
                 .N = args->out->shape[1],
                 .K = args->a->shape[args->transpose_a ? 0 : 1],
                 .transpose_a = args->transpose_a,
                 .transpose_b = args->transpose_b,
                 .accumulate = args->accumulate};
    if (p.M == 0 || p.N == 0 || fa_cpu_thin(args)) return FA_OK;
    if (args->out->dtype.bits == 64) {
        multiply_f64(&p);
    } else {
        multiply_f32(&p);
    }
    return FA_OK;
}
