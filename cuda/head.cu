/* head.cu -- softmax and its logarithm of the outputs of every row, in place, and the largest
 *
 * csrc/cpu/head.c with a warp a row: sums in another order, so within rounding of float64. Reads
 * T three times and writes it once an element; of C outputs the layers before took many times the
 * work. */
#include "context.h"

#include <math.h>

#define FA_WARP 32
#define FA_ALL 0xffffffffu

namespace
{

/* Whether (value, c) comes before (held, best): larger, NaN largest, the first of equals. */
FA_DEVICE bool is_larger(double value, int64_t c, double held, int64_t best)
{
    if (isnan(value) || isnan(held)) return isnan(value) && (!isnan(held) || c < best);
    return value > held || (value == held && c < best);
}

/* The class of the largest of C outputs, known to all lanes; lanes without any hold class C. */
template <typename T> FA_DEVICE int64_t largest(const T *row, int64_t C, int lane, double *top)
{
    double held = -INFINITY;
    int64_t best = C;
    for (int64_t c = lane; c < C; c += FA_WARP) {
        if (best == C || is_larger((double)row[c], c, held, best)) held = (double)row[c], best = c;
    }
    for (int width = FA_WARP / 2; width > 0; width /= 2) {
        const double value = __shfl_xor_sync(FA_ALL, held, width);
        const int64_t c = __shfl_xor_sync(FA_ALL, best, width);
        if (c < C && (best == C || is_larger(value, c, held, best))) held = value, best = c;
    }
    *top = held;
    return best;
}

FA_DEVICE double sum_lanes(double sum)
{
    for (int width = FA_WARP / 2; width > 0; width /= 2) {
        sum += __shfl_xor_sync(FA_ALL, sum, width);
    }
    return sum;
}

/* Whether these are no probabilities, known to all lanes. */
template <typename T> FA_DEVICE bool are_logits(const T *row, int64_t C, int lane)
{
    double sum = 0.0, wrong = 0.0;
    for (int64_t c = lane; c < C; c += FA_WARP) {
        sum += (double)row[c];
        if (!(row[c] >= 0)) wrong = 1.0;
    }
    sum = sum_lanes(sum);
    wrong = sum_lanes(wrong);
    return wrong > 0.0 || !(fabs(sum - 1.0) < 1e-3);
}

template <typename T>
__global__ void head_kernel(T *out, int64_t *predicted, int64_t *logits, int64_t R, int64_t C,
                            fa_head head)
{
    const int lane = (int)threadIdx.x % FA_WARP, warps = (int)blockDim.x / FA_WARP;
    const int64_t first = (int64_t)blockIdx.x * warps + threadIdx.x / FA_WARP;
    for (int64_t r = first; r < R; r += (int64_t)gridDim.x * warps) {
        T *const row = out + r * C;
        double top, sum = 0.0;
        const bool is_logits = logits != nullptr && are_logits(row, C, lane);
        const int64_t best = largest(row, C, lane, &top);
        if (lane == 0) predicted[r] = best;
        if (lane == 0 && is_logits) fa_add_bits(logits, 1);
        if (head == FA_RAW) continue;
        for (int64_t c = lane; c < C; c += FA_WARP) sum += exp((double)row[c] - top);
        sum = sum_lanes(sum);
        for (int64_t c = lane; c < C; c += FA_WARP) {
            const double z = (double)row[c] - top;
            row[c] = (T)(head == FA_SOFTMAX ? exp(z) / sum : z - log(sum));
        }
    }
}

template <typename F> void launch_head(const fa_head_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t R = args->out->shape[0], C = args->out->shape[1];
    if (R * C == 0) return;
    const unsigned blocks = fa_at_most(fa_parts(R, FA_THREADS / FA_WARP), FA_MOST_BLOCKS_X);
    FA_LAUNCH(head_kernel<T>, dim3(blocks), dim3(FA_THREADS), 0, stream, fa_typed<T>(args->out),
              args->predicted, args->logits, R, C, args->head);
}

} // namespace

fa_status fa_cuda_head(const fa_head_args *args, void *stream, fa_error *error)
{
    FA_RUN_REAL("head", args->out, launch_head, args, stream, error);
}
