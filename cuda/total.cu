/* total.cu -- out[i] (+)= sum over d of values[first + i, d], or of their squares
 *
 * The bits of csrc/cpu/total.c, by the same tree of sums. Reads T an element once, one block of
 * threads a row: bound as measure.cu. */
#include "context.h"
#include "reduce.cuh"

namespace
{

template <typename F>
__global__ void total_kernel(double *out, const typename F::element *values, int64_t count,
                             int64_t D, int square, int add)
{
    for (int64_t i = blockIdx.x; i < count; i += gridDim.x) {
        const typename F::element *const row = values + i * D;
        if (!add && threadIdx.x == 0) out[i] = 0.0; /* that thread adds the sum */
        fa_sum_features<1>(out + i, D, [&](double *sums, int64_t d) {
            const double v = (double)F::load(row[d]);
            sums[0] += square ? v * v : v;
        });
    }
}

template <typename F> void launch_total(const fa_total_args *args, cudaStream_t stream)
{
    const int64_t D = args->values->shape[1];
    if (args->count <= 0) return;
    FA_LAUNCH(total_kernel<F>, dim3(fa_at_most(args->count, FA_MOST_BLOCKS_X)), dim3(FA_THREADS), 0,
              stream, args->out, fa_typed<typename F::element>(args->values) + args->first * D,
              args->count, D, args->square, args->add);
}

} // namespace

fa_status fa_cuda_total(const fa_total_args *args, void *stream, fa_error *error)
{
    FA_RUN("total", args->values, launch_total, args, stream, error);
}
