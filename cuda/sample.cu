/* sample.cu -- point[r] = base[m] + alpha (start - base[m]), start = input[e] + stdev[e] z
 *
 * The bits of csrc/cpu/sample.c. Writes one or two T an element and reads 2 T, mostly from the L2
 * cache. Without noise bound by the write; with noise by arithmetic: one Philox block and four
 * inverse normals in float64 for four elements, which is what a thread takes at a time. What a
 * row is (a Feistel network for its reference, a key for its noise) is found once per row. */
#include "../csrc/draws.h"
#include "context.h"

#define FA_QUAD 4  /* elements of one Philox block */
#define FA_QUADS 4 /* of a row that one thread writes */

namespace
{

template <typename T> struct fa_sampled {
    T *out, *start;
    int64_t *index, *scalars;
    const T *input, *base;
    const int64_t *target;
    const double *stdev;
    fa_draws draws;
    int64_t first, count, D, base_stride;
    uint32_t purpose;
};

struct fa_line {
    fa_drawn_row row;
    fa_key stream;
    double stdev;
    int noisy;
};

/* n elements of a quad: all four in one load where W says that rows are aligned. */
template <bool W, typename T> __device__ fa_pack<T, FA_QUAD> take_quad(const T *at, int64_t n)
{
    fa_pack<T, FA_QUAD> quad = {};
    if constexpr (W) {
        quad = fa_take<FA_QUAD>(at);
    } else {
        FA_UNROLL for (int v = 0; v < FA_QUAD; v++)
        {
            if (v < n) quad.item[v] = at[v];
        }
    }
    return quad;
}

template <bool W, typename T>
__device__ void put_quad(T *at, const fa_pack<T, FA_QUAD> &quad, int64_t n)
{
    if constexpr (W) {
        fa_put<FA_QUAD>(at, quad);
    } else {
        FA_UNROLL for (int v = 0; v < FA_QUAD; v++)
        {
            if (v < n) at[v] = quad.item[v];
        }
    }
}

/* Elements d..d+n-1 of row r. */
template <typename F, bool W>
__device__ void write_quad(const fa_sampled<typename F::element> &of, const fa_line &line,
                           int64_t r, int64_t d, int64_t n)
{
    typedef typename F::element T;
    typedef typename F::sum sum;
    fa_pack<T, FA_QUAD> start = take_quad<W>(of.input + line.row.example * of.D + d, n);
    if (line.noisy) {
        const fa_counter bits = fa_draw_block(line.stream, line.row.draw, d / FA_QUAD);
        FA_UNROLL for (int v = 0; v < FA_QUAD; v++)
        {
            const sum noise = (sum)(line.stdev * fa_normal(bits.word[v]));
            start.item[v] = F::store(F::load(start.item[v]) + noise);
        }
    }
    if (of.start != nullptr) put_quad<W>(of.start + r * of.D + d, start, n);
    if (line.row.alpha != 1.0) {
        const sum a = (sum)line.row.alpha;
        const fa_pack<T, FA_QUAD> base =
            take_quad<W>(of.base + line.row.base * of.base_stride + d, n);
        FA_UNROLL for (int v = 0; v < FA_QUAD; v++)
        {
            const sum b = F::load(base.item[v]);
            start.item[v] = F::store(b + a * (F::load(start.item[v]) - b));
        }
    }
    put_quad<W>(of.out + r * of.D + d, start, n);
}

template <typename T> __device__ void describe(fa_line *line, const fa_sampled<T> &of, int64_t r)
{
    line->row = fa_drawn_row_at(&of.draws, of.first + r);
    line->stream = fa_stream(of.draws.seed, of.draws.ids[line->row.example], of.purpose);
    line->noisy = of.stdev != nullptr && line->row.draw >= 0;
    line->stdev = line->noisy ? of.stdev[line->row.example] : 0.0;
    if (blockIdx.y > 0) return;
    if (of.index != nullptr) of.index[r] = line->row.example;
    if (of.scalars == nullptr) return;
    of.scalars[2 * r] = of.target[2 * line->row.example];
    of.scalars[2 * r + 1] = of.target[2 * line->row.example + 1];
}

template <typename F, bool W> __global__ void sample_kernel(fa_sampled<typename F::element> of)
{
    __shared__ fa_line lines[FA_THREADS];
    const int64_t quads = fa_parts(of.D, FA_QUAD), step = fa_row_step();
    for (int64_t top = (int64_t)blockIdx.x * blockDim.y; top < of.count; top += step) {
        const int64_t r = top + threadIdx.y;
        if (threadIdx.x == 0 && r < of.count) describe(&lines[threadIdx.y], of, r);
        __syncthreads();
        for (int64_t q = fa_first_column(); r < of.count && q < quads; q += fa_column_step()) {
            write_quad<F, W>(of, lines[threadIdx.y], r, q * FA_QUAD,
                             fa_lower(of.D - q * FA_QUAD, FA_QUAD));
        }
        __syncthreads();
    }
}

template <typename F> void launch_sample(const fa_sample_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t D = args->out->shape[1];
    const fa_sampled<T> of = {fa_typed<T>(args->out),
                              fa_typed<T>(args->start),
                              args->index,
                              args->scalars,
                              fa_typed<T>(args->input),
                              fa_typed<T>(args->base),
                              args->target,
                              args->stdev,
                              args->draws,
                              args->first,
                              args->count,
                              D,
                              args->base->shape[0] == 1 ? 0 : D,
                              (uint32_t)(FA_STREAM_NOISE + args->member)};
    const fa_shape shape = fa_shape_of(of.count, fa_parts(D, FA_QUAD), FA_QUADS);
    if (of.count <= 0) return;
    if (D % FA_QUAD == 0 && fa_is_wide<F>(F::wide, of.out, of.start, of.input, of.base)) {
        FA_LAUNCH((sample_kernel<F, true>), shape.grid, shape.block, 0, stream, of);
    } else {
        FA_LAUNCH((sample_kernel<F, false>), shape.grid, shape.block, 0, stream, of);
    }
}

} // namespace

fa_status fa_cuda_sample(const fa_sample_args *args, void *stream, fa_error *error)
{
    FA_RUN("sample", args->out, launch_sample, args, stream, error);
}
