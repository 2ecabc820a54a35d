/* collect.cu -- ends[0, e] = value at alpha 1, ends[1, e] = value at alpha 0, in float64
 *
 * One thread a row; a pass has at most one row at either end of an example. Reads one number a
 * row and the row's tables; bound by the launch. */
#include "../csrc/rows.h"
#include "context.h"

namespace
{

template <typename F>
__global__ void collect_kernel(double *ends, int64_t *target, const typename F::element *values,
                               const int64_t *predicted, fa_rows rows, int64_t examples)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t r = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; r < rows.count; r += step) {
        const fa_row row = fa_row_at(&rows, rows.first + r);
        const double value = (double)F::load(values[r]);
        if (row.alpha == 1.0) ends[row.example] = value;
        if (row.alpha == 0.0) ends[examples + row.example] = value;
        if (predicted != nullptr) target[2 * row.example] = predicted[r];
    }
}

template <typename F> void launch_collect(const fa_collect_args *args, cudaStream_t stream)
{
    if (args->rows.count <= 0) return;
    const fa_shape shape = fa_line_of(args->rows.count);
    FA_LAUNCH(collect_kernel<F>, shape.grid, shape.block, 0, stream, args->ends, args->target,
              fa_typed<typename F::element>(args->values), fa_typed<int64_t>(args->predicted),
              args->rows, args->examples);
}

} // namespace

fa_status fa_cuda_collect(const fa_collect_args *args, void *stream, fa_error *error)
{
    FA_RUN("collect", args->values, launch_collect, args, stream, error);
}
