/* contribute.cu -- sum[s] -= factor * gradient[r] * step[s], s the slot of row r
 *
 * The bits of csrc/cpu/contribute.c. Reads T and 2 ACC and writes ACC an element; bound by
 * memory. */
#include "context.h"

#define FA_PACKS 4

namespace
{

template <typename F, int V>
__global__ void contribute_kernel(typename F::sum *total, const typename F::sum *step,
                                  const typename F::element *gradient, double factor,
                                  fa_climbers climbers, int64_t D)
{
    typedef typename F::sum sum;
    for (int64_t r = fa_first_row(); r < climbers.count; r += fa_row_step()) {
        const int64_t row = climbers.active[climbers.first + r] * D;
        for (int64_t c = fa_first_column(); c < D / V; c += fa_column_step()) {
            const fa_pack<typename F::element, V> g = fa_take<V>(gradient + r * D + c * V);
            const fa_pack<sum, V> last = fa_take<V>(step + row + c * V);
            fa_pack<sum, V> value = fa_take<V>(total + row + c * V);
            FA_UNROLL for (int v = 0; v < V; v++)
            {
                value.item[v] -= F::load(g.item[v]) * ((sum)factor * last.item[v]);
            }
            fa_put<V>(total + row + c * V, value);
        }
    }
}

template <typename F, int V> void launch_packs(const fa_contribute_args *args, cudaStream_t stream)
{
    const int64_t D = args->gradient->shape[1];
    const fa_shape shape = fa_shape_of(args->climbers.count, D / V, FA_PACKS);
    FA_LAUNCH((contribute_kernel<F, V>), shape.grid, shape.block, 0, stream,
              fa_typed<typename F::sum>(args->sum), fa_typed<typename F::sum>(args->step),
              fa_typed<typename F::element>(args->gradient), args->factor, args->climbers, D);
}

template <typename F> void launch_contribute(const fa_contribute_args *args, cudaStream_t stream)
{
    const int64_t D = args->gradient->shape[1];
    if (args->climbers.count <= 0 || D == 0) return;
    if (fa_is_wide<F>(D, fa_typed<void>(args->sum), fa_typed<void>(args->step),
                      fa_typed<void>(args->gradient))) {
        launch_packs<F, F::wide>(args, stream);
    } else {
        launch_packs<F, 1>(args, stream);
    }
}

} // namespace

fa_status fa_cuda_contribute(const fa_contribute_args *args, void *stream, fa_error *error)
{
    FA_RUN("contribute", args->gradient, launch_contribute, args, stream, error);
}
