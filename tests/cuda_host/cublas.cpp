/* cublas.cpp -- stand-in for the functions of cuBLAS that cuda/cublas.h names.
 *
 * cuda/cublas.cu is compiled with its dlopen, dlsym and dlclose called cuda_host_..., which find
 * this file. Matrices are column-major: op(A) is m x k, and element (i, j) of A lies at i + j lda.
 */
#include <dlfcn.h>

#include "memory.h"
#include "streams.h"

struct cublasContext {
    cudaStream_t stream;
};

namespace
{

using namespace cuhost;

enum { success = 0, invalid_value = 7, execution_failed = 13 };

int get_property(int type, int *value)
{
    *value = type == 0 ? 13 : 0;
    return success;
}

int create(cublasContext **out)
{
    *out = new cublasContext{nullptr};
    return success;
}

int destroy(cublasContext *handle)
{
    delete handle;
    return success;
}

int set_stream(cublasContext *handle, cudaStream_t stream)
{
    handle->stream = stream;
    return success;
}

template <class T> struct matrix {
    T *data;
    int64_t leading;
    bool transposed;
    T &at(int64_t i, int64_t j) const
    {
        return transposed ? data[j + i * leading] : data[i + j * leading];
    }
};

/* All of rows x columns, as stored, lies on the device. */
template <class T> bool is_there(const matrix<T> &a, int64_t rows, int64_t columns)
{
    const int64_t height = a.transposed ? columns : rows, width = a.transposed ? rows : columns;
    if (a.leading < height || a.leading < 1) return false;
    const int64_t items = width > 0 && height > 0 ? (width - 1) * a.leading + height : 0;
    return chosen.managed || is_device_range(a.data, size_t(items) * sizeof(T));
}

template <class T>
void multiply(matrix<T> c, matrix<const T> a, matrix<const T> b, int64_t m, int64_t n, int64_t k,
              T alpha, T beta)
{
    const device_access access;
    for (int64_t j = 0; j < n; j++) {
        for (int64_t i = 0; i < m; i++) {
            T sum = 0;
            for (int64_t l = 0; l < k; l++) sum += a.at(i, l) * b.at(l, j);
            /* beta 0: what was there is not read */
            c.at(i, j) = beta == T(0) ? alpha * sum : alpha * sum + beta * c.at(i, j);
        }
    }
}

template <class T>
int gemm(cublasContext *handle, int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k,
         const T *alpha, const T *a, int64_t lda, const T *b, int64_t ldb, const T *beta, T *c,
         int64_t ldc)
{
    const matrix<const T> left = {a, lda, transpose_a != 0}, right = {b, ldb, transpose_b != 0};
    const matrix<T> out = {c, ldc, false};
    const std::lock_guard<std::recursive_mutex> lock(everything);
    if (m < 0 || n < 0 || k < 0 || !is_there(left, m, k) || !is_there(right, k, n) ||
        !is_there(out, m, n)) {
        report("cublas gemm", 0, "leading dimensions or memory do not fit m %lld, n %lld, k %lld",
               (long long)m, (long long)n, (long long)k);
        return invalid_value;
    }
    const T scale = *alpha, kept = *beta; /* the host's, read now */
    const cudaError_t error =
        enqueue(handle->stream, [=] { multiply<T>(out, left, right, m, n, k, scale, kept); });
    return error == cudaSuccess ? success : execution_failed;
}

char library; /* its address is the handle */

template <class Function> void *address(Function *function)
{
    return reinterpret_cast<void *>(function);
}

} // namespace

extern "C" {

void *cuda_host_dlopen(const char *name, int)
{
    return strcmp(name, "libcublas.so.13") == 0 ? &library : nullptr;
}

int cuda_host_dlclose(void *) { return 0; }

char *cuda_host_dlerror() { return nullptr; }

void *cuda_host_dlsym(void *, const char *name)
{
    const struct {
        const char *name;
        void *function;
    } list[] = {
        {"cublasGetProperty", address(get_property)}, {"cublasCreate_v2", address(create)},
        {"cublasDestroy_v2", address(destroy)},       {"cublasSetStream_v2", address(set_stream)},
        {"cublasSgemm_v2_64", address(gemm<float>)},  {"cublasDgemm_v2_64", address(gemm<double>)},
    };
    for (const auto &entry : list) {
        if (strcmp(entry.name, name) == 0) return entry.function;
    }
    return nullptr;
}
}
