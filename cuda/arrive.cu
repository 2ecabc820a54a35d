/* arrive.cu -- state[s] = whether the row's predicted class is the goal of slot s; value[s] = f_t
 *
 * One thread a row, for the slots that are at its point; bound by the launch. */
#include "context.h"

namespace
{

template <typename F>
__global__ void arrive_kernel(int64_t *state, double *value, const typename F::element *values,
                              const int64_t *predicted, fa_climbers climbers)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    int64_t r = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (; r < climbers.count; r += step) {
        const int64_t first = climbers.active[climbers.first + r];
        const double found = (double)F::load(values[r]);
        for (int64_t s = first; s < first + climbers.fan; s++) {
            state[s] = fa_slot_state(&climbers.slots[s], predicted[r]);
            value[s] = found;
        }
    }
}

template <typename F> void launch_arrive(const fa_arrive_args *args, cudaStream_t stream)
{
    if (args->climbers.count <= 0) return;
    const fa_shape shape = fa_line_of(args->climbers.count);
    FA_LAUNCH(arrive_kernel<F>, shape.grid, shape.block, 0, stream, args->state, args->value,
              fa_typed<typename F::element>(args->values), fa_typed<int64_t>(args->predicted),
              args->climbers);
}

} // namespace

fa_status fa_cuda_arrive(const fa_arrive_args *args, void *stream, fa_error *error)
{
    FA_RUN("arrive", args->values, launch_arrive, args, stream, error);
}
