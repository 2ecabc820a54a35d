/* accumulate.cu -- result[l, e] += weight[l, k] * gradient[r], e and k of row r
 *
 * The bits of csrc/cpu/accumulate.c: per element in ACC, in ascending row order. A thread keeps
 * the accumulators of one pack of features of one example for up to six levels (the nested rule
 * with 255 nodes) while it passes over the example's rows, so that a gradient is read once: one T
 * an element, and 2 ACC a feature and level and chunk; bound by reading the gradients. */
#include "../csrc/rows.h"
#include "context.h"

#define FA_LEVELS_AT_ONCE 6
#define FA_TOGETHER 4 /* rows whose gradients are on their way at the same time */

namespace
{

/* What a chunk holds of one example: rows from..to-1, the first of them node `node`. */
struct fa_share {
    int64_t from, to, node;
};

/* G levels from l0 on. A level without a weight in these rows is neither read nor written. */
template <typename F, int V, int G>
__device__ void add_rows(typename F::sum *result, const typename F::element *gradient,
                         const fa_rows &rows, const fa_share &share, int64_t l0, int64_t plane,
                         int64_t D)
{
    typedef typename F::sum sum;
    fa_pack<sum, V> total[G] = {};
    unsigned touched = 0;
    for (int64_t first = share.from; first < share.to; first += FA_TOGETHER) {
        fa_pack<typename F::element, V> slope[FA_TOGETHER] = {};
        FA_UNROLL for (int i = 0; i < FA_TOGETHER; i++)
        {
            if (first + i < share.to) slope[i] = fa_take<V>(gradient + (first + i) * D);
        }
        FA_UNROLL for (int i = 0; i < FA_TOGETHER; i++)
        {
            if (first + i >= share.to) continue;
            const int64_t k = share.node + (first + i - share.from);
            FA_UNROLL for (int g = 0; g < G; g++)
            {
                if (l0 + g >= rows.levels) continue;
                const double weight = rows.weight[(l0 + g) * rows.nodes + k];
                if (weight == 0.0) continue; /* not 0 * NaN */
                if (!(touched >> g & 1u)) total[g] = fa_take<V>(result + (l0 + g) * plane);
                touched |= 1u << g;
                FA_UNROLL for (int v = 0; v < V; v++)
                {
                    total[g].item[v] += (sum)weight * F::load(slope[i].item[v]);
                }
            }
        }
    }
    FA_UNROLL for (int g = 0; g < G; g++)
    {
        if (touched >> g & 1u) fa_put<V>(result + (l0 + g) * plane, total[g]);
    }
}

template <typename F, int V, int G>
__global__ void accumulate_kernel(typename F::sum *result, const typename F::element *gradient,
                                  fa_rows rows, int64_t examples, int64_t D, int64_t first_slot,
                                  int64_t slots)
{
    const int64_t start = rows.first - rows.lead, plane = examples * D;
    for (int64_t s = fa_first_row(); s < slots; s += fa_row_step()) {
        const int64_t slot = first_slot + s, begin = slot * rows.nodes - start;
        const int64_t from = fa_upper(begin, 0);
        const fa_share share = {from, fa_lower(begin + rows.nodes, rows.count), from - begin};
        const int64_t row = rows.active[slot] * D;
        for (int64_t c = fa_first_column(); c < D / V; c += fa_column_step()) {
            for (int64_t l0 = 0; l0 < rows.levels; l0 += G) {
                add_rows<F, V, G>(result + row + c * V, gradient + c * V, rows, share, l0, plane,
                                  D);
            }
        }
    }
}

template <typename F, int V>
void launch_packs(const fa_accumulate_args *args, int64_t first_slot, int64_t slots,
                  cudaStream_t stream)
{
    const int64_t D = args->gradient->shape[1];
    const fa_shape shape = fa_shape_of(slots, D / V, 1);
    typename F::sum *const result = fa_typed<typename F::sum>(args->result);
    const typename F::element *const gradient = fa_typed<typename F::element>(args->gradient);
    if (args->rows.levels == 1) {
        FA_LAUNCH((accumulate_kernel<F, V, 1>), shape.grid, shape.block, 0, stream, result,
                  gradient, args->rows, args->examples, D, first_slot, slots);
    } else {
        FA_LAUNCH((accumulate_kernel<F, V, FA_LEVELS_AT_ONCE>), shape.grid, shape.block, 0, stream,
                  result, gradient, args->rows, args->examples, D, first_slot, slots);
    }
}

template <typename F> void launch_accumulate(const fa_accumulate_args *args, cudaStream_t stream)
{
    const fa_rows *rows = &args->rows;
    const int64_t D = args->gradient->shape[1];
    const int64_t start = rows->first - rows->lead, stop = start + rows->count;
    if (stop <= 0 || rows->count <= 0 || D == 0) return; /* lead rows only, or nothing */
    const int64_t first_slot = start > 0 ? start / rows->nodes : 0;
    const int64_t slots = (stop - 1) / rows->nodes - first_slot + 1;
    if (fa_is_wide<F>(D, fa_data(args->result), fa_data(args->gradient))) {
        launch_packs<F, F::wide>(args, first_slot, slots, stream);
    } else {
        launch_packs<F, 1>(args, first_slot, slots, stream);
    }
}

} // namespace

fa_status fa_cuda_accumulate(const fa_accumulate_args *args, void *stream, fa_error *error)
{
    FA_RUN("accumulate", args->gradient, launch_accumulate, args, stream, error);
}
