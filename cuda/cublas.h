/* cublas.h -- the door to cuBLAS, which is neither linked nor bundled.
 *
 * Found at the first matrix product: the copy that the process has (torch brings one), the one of
 * the nvidia-cublas wheel beside this package, or the system's. Only the functions named here are
 * used, by prototypes of our own; their binary interface is the same in versions 12 and 13.
 * https://docs.nvidia.com/cuda/cublas/ */
#ifndef FA_CUBLAS_H
#define FA_CUBLAS_H

#include "context.h"

typedef struct cublasContext *fa_cublas_handle;

enum { FA_CUBLAS_SUCCESS = 0, FA_CUBLAS_ALLOC_FAILED = 3 }; /* cublasStatus_t */
enum { FA_CUBLAS_PLAIN = 0, FA_CUBLAS_TRANSPOSED = 1 };     /* cublasOperation_t */
enum { FA_CUBLAS_MAJOR = 0 };                               /* libraryPropertyType */

typedef int fa_cublas_sgemm(fa_cublas_handle handle, int transpose_a, int transpose_b, int64_t m,
                            int64_t n, int64_t k, const float *alpha, const float *a, int64_t lda,
                            const float *b, int64_t ldb, const float *beta, float *c, int64_t ldc);
typedef int fa_cublas_dgemm(fa_cublas_handle handle, int transpose_a, int transpose_b, int64_t m,
                            int64_t n, int64_t k, const double *alpha, const double *a, int64_t lda,
                            const double *b, int64_t ldb, const double *beta, double *c,
                            int64_t ldc);

typedef struct {
    int (*get_property)(int type, int *value);                      /* cublasGetProperty  */
    int (*create)(fa_cublas_handle *handle);                        /* cublasCreate_v2    */
    int (*destroy)(fa_cublas_handle handle);                        /* cublasDestroy_v2   */
    int (*set_stream)(fa_cublas_handle handle, cudaStream_t queue); /* cublasSetStream_v2 */
    fa_cublas_sgemm *sgemm;                                         /* cublasSgemm_v2_64  */
    fa_cublas_dgemm *dgemm;                                         /* cublasDgemm_v2_64  */
} fa_cublas;

/* The functions, and this thread's handle for the current device, set to `stream`. */
fa_status fa_cublas_open(const fa_cublas **out, fa_cublas_handle *handle, cudaStream_t stream,
                         fa_error *error);

/* A status and a sentence for what cuBLAS said. */
fa_status fa_cublas_check(int result, const char *what, fa_error *error);

#endif /* FA_CUBLAS_H */
