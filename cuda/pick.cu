/* pick.cu -- one scalar of every row's outputs, and its gradient in all of them
 *
 * csrc/cpu/pick.c, element by element: its bits but for exp. Reads T and writes T an element. */
#include "context.h"

#include <math.h>

namespace
{

/* d of the output chosen, at `at`, in output c before the head, whose value behind it is z. */
FA_DEVICE double slope_of(fa_head head, double chosen, double z, bool own)
{
    if (head == FA_RAW) return own;
    return head == FA_SOFTMAX ? chosen * ((double)own - z) : (double)own - exp(z);
}

template <typename T>
__global__ void pick_kernel(T *values, T *delta, int64_t *picked, const T *out,
                            const int64_t *scalars, const int64_t *predicted, int64_t R, int64_t C,
                            fa_head head)
{
    for (int64_t r = fa_first_row(); r < R; r += fa_row_step()) {
        const int64_t plus = scalars[2 * r] >= 0 ? scalars[2 * r] : predicted[r];
        const int64_t minus = scalars[2 * r + 1];
        const double high = (double)out[r * C + plus];
        const double low = minus >= 0 ? (double)out[r * C + minus] : 0.0;
        for (int64_t c = fa_first_column(); c < C; c += fa_column_step()) {
            if (c == 0) {
                values[r] = (T)(high - low);
                if (picked != nullptr) picked[r] = plus;
            }
            if (delta == nullptr) continue;
            const double z = (double)out[r * C + c];
            T slope = (T)slope_of(head, high, z, c == plus);
            if (minus >= 0) slope = (T)((double)slope - slope_of(head, low, z, c == minus));
            delta[r * C + c] = slope;
        }
    }
}

template <typename F> void launch_pick(const fa_pick_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t R = args->out->shape[0], C = args->out->shape[1];
    if (R * C == 0) return;
    const fa_shape shape = fa_shape_of(R, C, 1);
    FA_LAUNCH(pick_kernel<T>, shape.grid, shape.block, 0, stream, fa_typed<T>(args->values),
              fa_typed<T>(args->delta), args->picked, fa_typed<const T>(args->out), args->scalars,
              args->predicted, R, C, args->head);
}

} // namespace

fa_status fa_cuda_pick(const fa_pick_args *args, void *stream, fa_error *error)
{
    FA_RUN_REAL("pick", args->out, launch_pick, args, stream, error);
}
