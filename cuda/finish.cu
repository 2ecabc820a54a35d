/* finish.cu -- out[e] = result[level[e], e] * (input[e] - base[e]), |.| if asked
 *
 * The bits of csrc/cpu/finish.c. Reads ACC and 2 T and writes ACC an element, once a call; bound
 * by memory. `out` may be plane 0 of `result`: an element is read and written by one thread. */
#include "context.h"

#define FA_PACKS 4

namespace
{

template <typename F, int V>
__global__ void finish_kernel(typename F::sum *out, const typename F::sum *result,
                              const typename F::element *input, const typename F::element *base,
                              const int64_t *level, int64_t B, int64_t D, int64_t base_stride,
                              int multiply, int absolute)
{
    typedef typename F::sum sum;
    for (int64_t e = fa_first_row(); e < B; e += fa_row_step()) {
        const sum *const plane = result + level[e] * B * D;
        for (int64_t c = fa_first_column(); c < D / V; c += fa_column_step()) {
            const int64_t at = e * D + c * V;
            const fa_pack<typename F::element, V> x = fa_take<V>(input + at);
            const fa_pack<typename F::element, V> b = fa_take<V>(base + e * base_stride + c * V);
            fa_pack<sum, V> value = fa_take<V>(plane + at);
            FA_UNROLL for (int v = 0; v < V; v++)
            {
                const sum factor = multiply ? F::load(x.item[v]) - F::load(b.item[v]) : (sum)1;
                const sum product = value.item[v] * factor;
                value.item[v] = absolute && product < 0 ? -product : product;
            }
            fa_put<V>(out + at, value);
        }
    }
}

template <typename F, int V> void launch_packs(const fa_finish_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t B = args->input->shape[0], D = args->input->shape[1];
    const fa_shape shape = fa_shape_of(B, D / V, FA_PACKS);
    FA_LAUNCH((finish_kernel<F, V>), shape.grid, shape.block, 0, stream,
              fa_typed<typename F::sum>(args->out), fa_typed<typename F::sum>(args->result),
              fa_typed<T>(args->input), fa_typed<T>(args->base), args->level, B, D,
              args->base->shape[0] == 1 ? (int64_t)0 : D, args->multiply, args->absolute);
}

template <typename F> void launch_finish(const fa_finish_args *args, cudaStream_t stream)
{
    if (fa_numel(args->input) == 0) return;
    if (fa_is_wide<F>(args->input->shape[1], fa_data(args->out), fa_data(args->result),
                      fa_data(args->input), fa_data(args->base))) {
        launch_packs<F, F::wide>(args, stream);
    } else {
        launch_packs<F, 1>(args, stream);
    }
}

} // namespace

fa_status fa_cuda_finish(const fa_finish_args *args, void *stream, fa_error *error)
{
    FA_RUN("finish", args->input, launch_finish, args, stream, error);
}
