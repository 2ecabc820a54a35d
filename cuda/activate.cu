/* activate.cu -- out = act(in + bias), slope = act'(in + bias)
 *
 * csrc/cpu/activate.c in the precision of T: within rounding of it. Reads T and writes 2 T an
 * element; bound by memory, but for the exponentials of float64. */
#include "context.h"

#include <math.h>

#define T float
#define FA_ACTIVATION FA_DEVICE float fa_activation_at
#include "../csrc/activation.h"
#undef FA_ACTIVATION
#undef T
#define T double
#define FA_ACTIVATION FA_DEVICE double fa_activation_at
#include "../csrc/activation.h"
#undef FA_ACTIVATION
#undef T

#define FA_EACH 4

namespace
{

template <typename T>
__global__ void activate_kernel(T *out, T *slopes, const T *in, const T *bias, int64_t R, int64_t N,
                                fa_activate activate)
{
    for (int64_t r = fa_first_row(); r < R; r += fa_row_step()) {
        for (int64_t n = fa_first_column(); n < N; n += fa_column_step()) {
            const int64_t at = r * N + n;
            T slope;
            out[at] =
                fa_activation_at(&activate, bias != nullptr ? in[at] + bias[n] : in[at], &slope);
            if (slopes != nullptr) slopes[at] = slope;
        }
    }
}

template <typename F> void launch_activate(const fa_activate_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t R = args->out->shape[0], N = args->out->shape[1];
    if (R * N == 0) return;
    const fa_shape shape = fa_shape_of(R, N, FA_EACH);
    FA_LAUNCH(activate_kernel<T>, shape.grid, shape.block, 0, stream, fa_typed<T>(args->out),
              fa_typed<T>(args->slope), fa_typed<const T>(args->in),
              static_cast<const T *>(args->bias), R, N, args->activate);
}

} // namespace

fa_status fa_cuda_activate(const fa_activate_args *args, void *stream, fa_error *error)
{
    FA_RUN_REAL("activate", args->out, launch_activate, args, stream, error);
}
