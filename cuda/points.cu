/* points.cu -- point[r] = base[e] + alpha[k] * (input[e] - base[e]), e and k of row r
 *
 * The bits of csrc/cpu/points.c. Writes one T an element; input and base, 2 T, come from the L2
 * cache for all rows of an example but the first: bound by the write. A thread knows its row
 * once for four packs of 16 bytes. */
#include "../csrc/rows.h"
#include "context.h"

#define FA_PACKS 4 /* of a row that one thread writes */

namespace
{

template <typename F, int V>
__device__ void write_pack(typename F::element *out, const typename F::element *input,
                           const typename F::element *base, double alpha)
{
    typedef typename F::sum sum;
    if (alpha == 1.0 || alpha == 0.0) { /* copied, bit for bit */
        fa_put<V>(out, fa_take<V>(alpha == 1.0 ? input : base));
        return;
    }
    const sum a = (sum)alpha;
    const fa_pack<typename F::element, V> x = fa_take<V>(input), from = fa_take<V>(base);
    fa_pack<typename F::element, V> point;
    FA_UNROLL for (int v = 0; v < V; v++)
    {
        const sum b = F::load(from.item[v]);
        point.item[v] = F::store(b + a * (F::load(x.item[v]) - b));
    }
    fa_put<V>(out, point);
}

template <typename F, int V>
__global__ void points_kernel(typename F::element *out, int64_t *index, int64_t *scalars,
                              const typename F::element *input, const typename F::element *base,
                              const int64_t *target, fa_rows rows, int64_t D, int64_t base_stride)
{
    for (int64_t r = fa_first_row(); r < rows.count; r += fa_row_step()) {
        const fa_row row = fa_row_at(&rows, rows.first + r);
        if (fa_first_column() == 0) {
            if (index != nullptr) index[r] = row.example;
            if (scalars != nullptr) {
                scalars[2 * r] = target[2 * row.example];
                scalars[2 * r + 1] = target[2 * row.example + 1];
            }
        }
        for (int64_t c = fa_first_column(); c < D / V; c += fa_column_step()) {
            write_pack<F, V>(out + r * D + c * V, input + row.example * D + c * V,
                             base + row.base * base_stride + c * V, row.alpha);
        }
    }
}

template <typename F, int V> void launch_packs(const fa_points_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    const int64_t D = args->out->shape[1], base_stride = fa_stride(args->base);
    const fa_shape shape = fa_shape_of(args->rows.count, D / V, FA_PACKS);
    FA_LAUNCH((points_kernel<F, V>), shape.grid, shape.block, 0, stream, fa_typed<T>(args->out),
              args->index, args->scalars, fa_typed<T>(args->input), fa_typed<T>(args->base),
              args->target, args->rows, D, base_stride);
}

template <typename F> void launch_points(const fa_points_args *args, cudaStream_t stream)
{
    if (args->rows.count <= 0) return;
    if (fa_is_wide<F>(args->out->shape[1], fa_data(args->out), fa_data(args->input),
                      fa_data(args->base))) {
        launch_packs<F, F::wide>(args, stream);
    } else {
        launch_packs<F, 1>(args, stream);
    }
}

} // namespace

fa_status fa_cuda_points(const fa_points_args *args, void *stream, fa_error *error)
{
    FA_RUN("points", args->out, launch_points, args, stream, error);
}
