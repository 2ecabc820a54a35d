/* thin.h -- the products of a few rows with a large matrix, read once from where it is. */
#ifndef FA_CPU_THIN_H
#define FA_CPU_THIN_H

#include "../fastattr.h"

/* out (M, N) = a (M, K) b, or += a b, with b (K, N), or (N, K) if transpose_b, large and M small.
 * Returns 0, with nothing done, where that is not so. An element's bits do not depend on M. */
int fa_cpu_thin(const fa_gemm_args *args);

#endif /* FA_CPU_THIN_H */
