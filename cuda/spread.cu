/* spread.cu -- standard error sqrt(deviation / (n (n - 1))), its sum, |mean|_1 and sum of mean
 *
 * The bits of csrc/cpu/spread.c, by the same tree of sums. Reads and writes 8 bytes and an ACC an
 * element, once a call, one block of threads an example: bound as measure.cu. */
#include "context.h"
#include "reduce.cuh"

namespace
{

template <typename ACC>
__global__ void __launch_bounds__(FA_THREADS)
    spread_kernel(double *sums, ACC *mean, double *deviation, int64_t B, int64_t D,
                  double per_error, double per_draw, int variance)
{
    for (int64_t e = blockIdx.x; e < B; e += gridDim.x) {
        ACC *const m = mean + e * D;
        double *const s = deviation + e * D;
        fa_sum_features<FA_SPREADS>(sums + e * FA_SPREADS, D, [&](double *lane, int64_t d) {
            const double squares = s[d], root = sqrt(squares * per_error);
            const ACC value = variance ? (ACC)(squares * per_draw) : m[d];
            if (variance) m[d] = value;
            s[d] = root;
            lane[0] += root;
            lane[1] += fabs((double)value);
            lane[2] += (double)value;
        });
    }
}

template <typename F> void launch_spread(const fa_spread_args *args, cudaStream_t stream)
{
    typedef typename F::sum ACC; /* of the mean, whose own dtype this is */
    const int64_t B = args->mean->shape[0];
    const double draws = (double)args->draws;
    if (B <= 0) return;
    FA_LAUNCH(spread_kernel<ACC>, dim3(fa_at_most(B, FA_MOST_BLOCKS_X)), dim3(FA_THREADS), 0,
              stream, args->sums, fa_typed<ACC>(args->mean), fa_typed<double>(args->deviation), B,
              args->mean->shape[1], 1.0 / (draws * (draws - 1.0)), 1.0 / draws, args->variance);
}

} // namespace

fa_status fa_cuda_spread(const fa_spread_args *args, void *stream, fa_error *error)
{
    FA_RUN("spread", args->mean, launch_spread, args, stream, error);
}
