/* place.cu -- out[r] = at[s], or at[s] - step[s] / 2, s the slot of row r
 *
 * The bits of csrc/cpu/place.c. Reads one T, and an ACC with a step, and writes one T an element;
 * bound by memory. */
#include "context.h"

#define FA_PACKS 4

namespace
{

__device__ void describe(int64_t *index, int64_t *scalars, const fa_climbers &climbers, int64_t r)
{
    const fa_slot *const slots = climbers.slots + climbers.active[climbers.first + r];
    const int64_t R = climbers.count, ascents = climbers.ascents ? climbers.fan : 0;
    if (index != nullptr) index[r] = slots[0].example;
    if (scalars == nullptr) return;
    if (climbers.explained) {
        scalars[2 * r] = slots[0].target;
        scalars[2 * r + 1] = -1;
        scalars += 2 * R;
    }
    for (int64_t j = 0; j < ascents; j++, scalars += 2 * R) {
        scalars[2 * r] = slots[j].goal;
        scalars[2 * r + 1] = slots[j].minus;
    }
}

template <typename F, int V>
__global__ void place_kernel(typename F::element *out, int64_t *index, int64_t *scalars,
                             const typename F::element *start, const typename F::element *at,
                             const typename F::sum *step, fa_climbers climbers, int64_t D)
{
    typedef typename F::sum sum;
    for (int64_t r = fa_first_row(); r < climbers.count; r += fa_row_step()) {
        const int64_t s = climbers.active[climbers.first + r];
        const typename F::element *const vertex =
            climbers.fresh ? start + climbers.slots[s].example * D : at + s * D;
        if (fa_first_column() == 0) describe(index, scalars, climbers, r);
        for (int64_t c = fa_first_column(); c < D / V; c += fa_column_step()) {
            fa_pack<typename F::element, V> point = fa_take<V>(vertex + c * V);
            if (step != nullptr) {
                const fa_pack<sum, V> last = fa_take<V>(step + s * D + c * V);
                FA_UNROLL for (int v = 0; v < V; v++)
                {
                    point.item[v] = F::store(F::load(point.item[v]) - (sum)0.5 * last.item[v]);
                }
            }
            fa_put<V>(out + r * D + c * V, point);
        }
    }
}

template <typename F, int V> void launch_packs(const fa_place_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t D = args->out->shape[1];
    const fa_shape shape = fa_shape_of(args->climbers.count, D / V, FA_PACKS);
    FA_LAUNCH((place_kernel<F, V>), shape.grid, shape.block, 0, stream, fa_typed<T>(args->out),
              args->index, args->scalars, fa_typed<T>(args->start), fa_typed<T>(args->at),
              fa_typed<typename F::sum>(args->step), args->climbers, D);
}

template <typename F> void launch_place(const fa_place_args *args, cudaStream_t stream)
{
    if (args->climbers.count <= 0) return;
    if (fa_is_wide<F>(args->out->shape[1], fa_typed<void>(args->out), fa_typed<void>(args->start),
                      fa_typed<void>(args->at), fa_typed<void>(args->step))) {
        launch_packs<F, F::wide>(args, stream);
    } else {
        launch_packs<F, 1>(args, stream);
    }
}

} // namespace

fa_status fa_cuda_place(const fa_place_args *args, void *stream, fa_error *error)
{
    FA_RUN("place", args->out, launch_place, args, stream, error);
}
