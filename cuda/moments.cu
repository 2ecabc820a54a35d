/* moments.cu -- Welford's mean and squared deviations of the contributions, draw by draw
 *
 *   v = g (start - base[m]);  mean += (v - mean) / k;  deviation += (v - mean_old) (v - mean)
 *
 * The bits of csrc/cpu/moments.c: mean in ACC, deviation in float64, in the order of the draws. A
 * thread keeps both of one pack of features of one example while it passes over the example's
 * rows: reads the gradient (and start, and a reference) once, up to 3 T an element, and ACC and 8
 * bytes a feature and chunk twice; bound by reading. References of 32 rows are found at a time. */
#include "../csrc/draws.h"
#include "context.h"

#define FA_TILE 32

namespace
{

template <typename F> struct fa_contributions {
    typename F::sum *mean;
    double *deviation;
    const typename F::element *gradient, *start, *input, *base;
    fa_draws draws;
    int64_t first, count, D, base_stride;
    int multiply, square;
};

template <typename F, int V> struct fa_running {
    fa_pack<typename F::sum, V> mean;
    fa_pack<double, V> deviation;
};

/* Draw `draw`, row r of the chunk: features d..d+V-1 of example e, whose base is row b. */
template <typename F, int V>
__device__ void add_draw(fa_running<F, V> *run, const fa_contributions<F> &of, int64_t e, int64_t r,
                         int64_t draw, int64_t b, int64_t d)
{
    typedef typename F::element T;
    typedef typename F::sum sum;
    const sum share = (sum)(1.0 / (double)(draw + 1));
    fa_pack<T, V> slope = {}, start = {}, base = {};
    if (of.gradient != nullptr) slope = fa_take<V>(of.gradient + r * of.D + d);
    if (of.multiply) {
        start = of.start != nullptr ? fa_take<V>(of.start + r * of.D + d)
                                    : fa_take<V>(of.input + e * of.D + d);
        base = fa_take<V>(of.base + b * of.base_stride + d);
    }
    FA_UNROLL for (int v = 0; v < V; v++)
    {
        const sum g = of.gradient != nullptr ? F::load(slope.item[v]) : (sum)0;
        const sum value = of.multiply ? g * (F::load(start.item[v]) - F::load(base.item[v])) : g;
        const sum seen = of.square ? value * value : value;
        const sum before = seen - run->mean.item[v];
        run->mean.item[v] += share * before;
        run->deviation.item[v] += (double)before * (double)(seen - run->mean.item[v]);
    }
}

/* All rows of example e, for the pack of features that is this thread's in `slice`. Every thread
 * of the block goes through it, also one without features: there are barriers. */
template <typename F, int V>
__device__ void add_draws(const fa_contributions<F> &of, int64_t *bases, int64_t e, int64_t slice)
{
    const int64_t rows = of.draws.draws + 1, begin = e * rows - of.first;
    const int64_t from = fa_upper(begin, 0), to = fa_lower(begin + rows, of.count);
    const int64_t d = (slice * blockDim.x + threadIdx.x) * V;
    const bool mine = d < of.D;
    fa_running<F, V> run = {};
    if (mine) {
        run.mean = fa_take<V>(of.mean + e * of.D + d);
        run.deviation = fa_take<V>(of.deviation + e * of.D + d);
    }
    for (int64_t tile = from; tile < to; tile += FA_TILE) {
        const int64_t r0 = tile + threadIdx.x;
        if (of.multiply && threadIdx.x < FA_TILE && r0 < to) {
            bases[threadIdx.x] = fa_drawn_row_at(&of.draws, of.first + r0).base;
        }
        __syncthreads();
        for (int64_t r = tile; mine && r < fa_lower(tile + FA_TILE, to); r++) {
            const int64_t draw = r - begin - 1;
            if (draw >= 0)
                add_draw<F, V>(&run, of, e, r, draw, of.multiply ? bases[r - tile] : 0, d);
        }
        __syncthreads();
    }
    if (mine) {
        fa_put<V>(of.mean + e * of.D + d, run.mean);
        fa_put<V>(of.deviation + e * of.D + d, run.deviation);
    }
}

template <typename F, int V>
__global__ void moments_kernel(fa_contributions<F> of, int64_t first_example, int64_t examples)
{
    __shared__ int64_t bases[FA_TILE];
    const int64_t slices = fa_parts(of.D / V, blockDim.x);
    for (int64_t i = blockIdx.x; i < examples; i += gridDim.x) {
        for (int64_t slice = blockIdx.y; slice < slices; slice += gridDim.y) {
            add_draws<F, V>(of, bases, first_example + i, slice);
        }
    }
}

template <typename F, int V> void launch_packs(const fa_contributions<F> &of, cudaStream_t stream)
{
    const int64_t rows = of.draws.draws + 1, first = of.first / rows;
    const int64_t examples = (of.first + of.count - 1) / rows - first + 1;
    const dim3 grid(fa_at_most(examples, FA_MOST_BLOCKS_X),
                    fa_at_most(fa_parts(of.D / V, FA_THREADS), FA_MOST_BLOCKS_Y));
    FA_LAUNCH((moments_kernel<F, V>), grid, dim3(FA_THREADS), 0, stream, of, first, examples);
}

template <typename F> void launch_moments(const fa_moments_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t D = args->input->shape[1];
    const fa_contributions<F> of = {fa_typed<typename F::sum>(args->mean),
                                    fa_typed<double>(args->deviation),
                                    fa_typed<T>(args->gradient),
                                    fa_typed<T>(args->start),
                                    fa_typed<T>(args->input),
                                    fa_typed<T>(args->base),
                                    args->draws,
                                    args->first,
                                    args->count,
                                    D,
                                    args->base->shape[0] == 1 ? 0 : D,
                                    args->multiply,
                                    args->square};
    if (of.count <= 0 || D == 0) return;
    if (fa_is_wide<F>(D, of.mean, of.deviation, of.gradient, of.start, of.input, of.base)) {
        launch_packs<F, F::wide>(of, stream);
    } else {
        launch_packs<F, 1>(of, stream);
    }
}

} // namespace

fa_status fa_cuda_moments(const fa_moments_args *args, void *stream, fa_error *error)
{
    FA_RUN("moments", args->input, launch_moments, args, stream, error);
}
