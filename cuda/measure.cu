/* measure.cu -- |A m - A' m|_1, |A m|_1, sum A (x - x'), |A (x - x')|_1 per active example
 *
 * The bits of csrc/cpu/measure.c, by the same tree of sums. Reads 2 ACC and 2 T an element, once
 * a level. One block of threads takes one group of examples: the bound is what one multiprocessor
 * can read, until there are as many groups as multiprocessors. */
#include "context.h"
#include "reduce.cuh"

namespace
{

/* The tensors of one call, on the device. */
template <typename F> struct fa_measured {
    const typename F::sum *updated, *previous;
    const typename F::element *input, *base;
    int64_t D, base_stride, group;
    int multiply;
};

/* Feature d of all members of a group. */
template <typename F>
__device__ void add_feature(double *sums, const fa_measured<F> &of, const int64_t *members,
                            int64_t d)
{
    typedef typename F::sum sum;
    double total = 0.0, product = 0.0;
    for (int64_t s = 0; s < of.group; s++) {
        const int64_t e = members[s], at = e * of.D + d;
        const sum difference = F::load(of.input[at]) - F::load(of.base[e * of.base_stride + d]);
        const sum factor = of.multiply ? difference : (sum)1;
        const double now = (double)(of.updated[at] * factor);
        const double then = of.previous != nullptr ? (double)(of.previous[at] * factor) : 0.0;
        sums[0] += fabs(now - then);
        total += now;
        product += (double)(of.updated[at] * difference);
    }
    sums[1] += fabs(total);
    sums[2] += product;
    sums[3] += fabs(product);
}

template <typename F>
__global__ void __launch_bounds__(FA_THREADS)
    measure_kernel(double *out, fa_measured<F> of, const int64_t *active, int64_t count)
{
    for (int64_t a = blockIdx.x; a < count; a += gridDim.x) {
        const int64_t *const members = active + a * of.group;
        fa_sum_features<FA_MEASURES>(out + a * FA_MEASURES, of.D, [&](double *sums, int64_t d) {
            add_feature<F>(sums, of, members, d);
        });
    }
}

template <typename F> void launch_measure(const fa_measure_args *args, cudaStream_t stream)
{
    const int64_t D = args->input->shape[1];
    const fa_measured<F> of = {static_cast<const typename F::sum *>(args->updated),
                               static_cast<const typename F::sum *>(args->previous),
                               fa_typed<typename F::element>(args->input),
                               fa_typed<typename F::element>(args->base),
                               D,
                               args->base->shape[0] == 1 ? 0 : D,
                               args->group,
                               args->multiply};
    if (args->count <= 0) return;
    FA_LAUNCH(measure_kernel<F>, dim3(fa_at_most(args->count, FA_MOST_BLOCKS_X)), dim3(FA_THREADS),
              0, stream, args->out, of, args->active, args->count);
}

} // namespace

fa_status fa_cuda_measure(const fa_measure_args *args, void *stream, fa_error *error)
{
    FA_RUN("measure", args->input, launch_measure, args, stream, error);
}
