/* kernels.h -- kernels that use every part of the stand-in, and are right. */
#ifndef CUDA_HOST_SELFTEST_KERNELS_H
#define CUDA_HOST_SELFTEST_KERNELS_H

#include <cuda_runtime.h>

/* out[r] = sum over d of in[r, d] (R, D); total[0] += all of them. */
void row_sums(float *out, float *total, const float *in, int64_t R, int64_t D, int block,
              cudaStream_t stream);
void row_sums(double *out, double *total, const double *in, int64_t R, int64_t D, int block,
              cudaStream_t stream);

/* index of the elements of x (n) above `limit`, in order, and how many; counts and offsets are
 * scratch, one number a block. */
void compact(int *index, int *total, int *counts, int *offsets, const float *x, float limit, int n,
             int block, cudaStream_t stream);

/* out[r] = first d with the largest in[r, d]; a warp to a row. */
void argmax(int *out, const float *in, int R, int D, cudaStream_t stream);

/* bins[x[i] % 64] += 1, by way of shared memory. */
void histogram(unsigned *bins, const unsigned *x, int n, int block, cudaStream_t stream);

/* out[i] = a x[i] + y[i], four at a time; n % 4 is 0. */
void scale_add(float *out, const float *x, const float *y, float a, int n, cudaStream_t stream);

/* out[z, y, x] = x + 10 y + 100 z, of a grid and blocks of three axes. */
void coordinates(int *out, dim3 extent, cudaStream_t stream);

/* mirrored in blocks of `block`: out[b, i] = in[b, block - 1 - i]; the last one may be short. */
void mirror(double *out, const double *in, int n, int block, cudaStream_t stream);

/* out[lane] of 32: votes and shuffles in groups of 8. */
void votes(unsigned *out, const int *in, cudaStream_t stream);
#define VOTES 9

#endif /* CUDA_HOST_SELFTEST_KERNELS_H */
