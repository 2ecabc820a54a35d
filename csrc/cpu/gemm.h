/* gemm.h -- which matrix product the CPU backend uses: a Fortran BLAS, or its own loop.
 *
 * The addresses are SciPy's, found by the binding at the first product; the core links no BLAS. */
#ifndef FA_GEMM_H
#define FA_GEMM_H

typedef void (*fa_sgemm)(char *transa, char *transb, int *m, int *n, int *k, float *alpha, float *a,
                         int *lda, float *b, int *ldb, float *beta, float *c, int *ldc);
typedef void (*fa_dgemm)(char *transa, char *transb, int *m, int *n, int *k, double *alpha,
                         double *a, int *lda, double *b, int *ldb, double *beta, double *c,
                         int *ldc);

void fa_blas_set(fa_sgemm single, fa_dgemm twice); /* NULL, NULL: the loop */
int fa_blas_known(void);

#endif /* FA_GEMM_H */
