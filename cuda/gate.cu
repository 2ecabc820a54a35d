/* gate.cu -- out = delta * slope
 *
 * The bits of csrc/cpu/gate.c. Reads 2 T and writes T an element; bound by memory. */
#include "context.h"

namespace
{

template <typename T>
__global__ void gate_kernel(T *out, const T *slope, const T *delta, int64_t count)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        out[i] = slope != nullptr ? delta[i] * slope[i] : delta[i];
    }
}

template <typename F> void launch_gate(const fa_gate_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t count = fa_numel(args->out);
    if (count == 0) return;
    const fa_shape shape = fa_line_of(count);
    FA_LAUNCH(gate_kernel<T>, shape.grid, shape.block, 0, stream, fa_typed<T>(args->out),
              fa_typed<const T>(args->slope), fa_typed<const T>(args->delta), count);
}

} // namespace

fa_status fa_cuda_gate(const fa_gate_args *args, void *stream, fa_error *error)
{
    FA_RUN_REAL("gate", args->out, launch_gate, args, stream, error);
}
