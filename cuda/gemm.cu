/* gemm.cu -- out = a b, or out += a b, either factor transposed if asked
 *
 * cuBLAS sees columns where we have rows: the product is taken transposed, out' = b' a', and so no
 * memory is moved. Arithmetic of the element type (no TF32), bound by it; within rounding of the
 * CPU's, whose order of sums is another. M, N rows and columns of out, K the summed extent. */
#include "cublas.h"

namespace
{

int multiply(const fa_cublas *blas, fa_cublas_handle handle, int b_is, int a_is, int64_t N,
             int64_t M, int64_t K, const float *b, int64_t ldb, const float *a, int64_t lda,
             int accumulate, float *out)
{
    const float one = 1.0f, kept = accumulate ? 1.0f : 0.0f;
    return blas->sgemm(handle, b_is, a_is, N, M, K, &one, b, ldb, a, lda, &kept, out, N);
}

int multiply(const fa_cublas *blas, fa_cublas_handle handle, int b_is, int a_is, int64_t N,
             int64_t M, int64_t K, const double *b, int64_t ldb, const double *a, int64_t lda,
             int accumulate, double *out)
{
    const double one = 1.0, kept = accumulate ? 1.0 : 0.0;
    return blas->dgemm(handle, b_is, a_is, N, M, K, &one, b, ldb, a, lda, &kept, out, N);
}

/* A sum of no products. */
fa_status add_nothing(const fa_gemm_args *args, cudaStream_t stream, fa_error *error)
{
    const size_t bytes = (size_t)fa_numel(args->out) * (args->out->dtype.bits / 8u);
    if (args->accumulate) return FA_OK;
    return fa_cuda_check(cudaMemsetAsync(fa_data(args->out), 0, bytes, stream), "gemm", error);
}

template <typename T> fa_status run(const fa_gemm_args *args, cudaStream_t stream, fa_error *error)
{
    const fa_cublas *blas = nullptr;
    fa_cublas_handle handle = nullptr;
    const int64_t K = args->a->shape[args->transpose_a ? 0 : 1];
    if (K == 0) return add_nothing(args, stream, error);
    FA_TRY(fa_cublas_open(&blas, &handle, stream, error));
    const int result = multiply(
        blas, handle, args->transpose_b ? FA_CUBLAS_TRANSPOSED : FA_CUBLAS_PLAIN,
        args->transpose_a ? FA_CUBLAS_TRANSPOSED : FA_CUBLAS_PLAIN, args->out->shape[1],
        args->out->shape[0], K, fa_typed<const T>(args->b), args->b->shape[1],
        fa_typed<const T>(args->a), args->a->shape[1], args->accumulate, fa_typed<T>(args->out));
    return fa_cublas_check(result, "gemm", error);
}

} // namespace

fa_status fa_cuda_gemm(const fa_gemm_args *args, void *stream, fa_error *error)
{
    const fa_device_scope scope(args->out->device.device_id, error);
    if (scope.status != FA_OK) return scope.status;
    if (fa_numel(args->out) == 0) return FA_OK;
    if (fa_dtype_of(args->out->dtype) == FA_FLOAT64) {
        return run<double>(args, static_cast<cudaStream_t>(stream), error);
    }
    return run<float>(args, static_cast<cudaStream_t>(stream), error);
}
