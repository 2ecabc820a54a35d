/* blas.h -- SciPy's BLAS, for those who are about to multiply. */
#ifndef FA_BLAS_H
#define FA_BLAS_H

/* Hand SciPy's products to the core, at the first call; whether the core has any. Imports
 * scipy.linalg then, so it comes right before the first product. Holds the GIL. */
int fa_find_blas(void);

#endif /* FA_BLAS_H */
