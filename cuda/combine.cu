/* combine.cu -- result[e] += scale * (sum[s] + ...) over the slots of example e, in their order
 *
 * The bits of csrc/cpu/combine.c: one addition a path, in ascending order. Reads ACC an element of
 * every path, and reads and writes ACC a feature of the example; bound by memory. */
#include "context.h"

namespace
{

template <typename ACC, int V>
__global__ void combine_kernel(ACC *result, const ACC *sum, int64_t count, int64_t fan,
                               double scale, int64_t D)
{
    const ACC factor = (ACC)scale;
    for (int64_t e = fa_first_row(); e < count; e += fa_row_step()) {
        for (int64_t c = fa_first_column(); c < D / V; c += fa_column_step()) {
            fa_pack<ACC, V> value = fa_take<V>(result + e * D + c * V);
            for (int64_t j = 0; j < fan; j++) {
                const fa_pack<ACC, V> path = fa_take<V>(sum + (e * fan + j) * D + c * V);
                FA_UNROLL for (int v = 0; v < V; v++) value.item[v] += factor * path.item[v];
            }
            fa_put<V>(result + e * D + c * V, value);
        }
    }
}

template <typename ACC, int V> void launch_packs(const fa_combine_args *args, cudaStream_t stream)
{
    const int64_t D = args->result->shape[1];
    const fa_shape shape = fa_shape_of(args->count, D / V, 1);
    FA_LAUNCH((combine_kernel<ACC, V>), shape.grid, shape.block, 0, stream,
              fa_typed<ACC>(args->result) + args->first * D, fa_typed<ACC>(args->sum), args->count,
              args->fan, args->scale, D);
}

template <typename F> void launch_combine(const fa_combine_args *args, cudaStream_t stream)
{
    typedef typename F::sum ACC; /* of the result, whose own dtype this is */
    const int64_t D = args->result->shape[1];
    if (args->count <= 0 || D == 0) return;
    if (fa_is_wide<F>(D, fa_typed<void>(args->result), fa_typed<void>(args->sum))) {
        launch_packs<ACC, F::wide>(args, stream);
    } else {
        launch_packs<ACC, 1>(args, stream);
    }
}

} // namespace

fa_status fa_cuda_combine(const fa_combine_args *args, void *stream, fa_error *error)
{
    FA_RUN("combine", args->result, launch_combine, args, stream, error);
}
