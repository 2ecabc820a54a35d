/* store.cu -- out[first + r] = values[r], in float64
 *
 * Reads one number a row and writes 8 bytes; bound by the launch. */
#include "context.h"

namespace
{

template <typename F>
__global__ void store_kernel(double *out, const typename F::element *values, int64_t count)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t r = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; r < count; r += step) {
        out[r] = (double)F::load(values[r]);
    }
}

template <typename F> void launch_store(const fa_store_args *args, cudaStream_t stream)
{
    if (args->count <= 0) return;
    const fa_shape shape = fa_line_of(args->count);
    FA_LAUNCH(store_kernel<F>, shape.grid, shape.block, 0, stream, args->out + args->first,
              fa_typed<typename F::element>(args->values), args->count);
}

} // namespace

fa_status fa_cuda_store(const fa_store_args *args, void *stream, fa_error *error)
{
    FA_RUN("store", args->values, launch_store, args, stream, error);
}
