/* ascend.cu -- next = clip(at + step_size u); sum -= gradient of f_t * (next - at)
 *
 * The bits of csrc/cpu/ascend.c. Reads two gradients, the vertex, the centre, up to two bounds (T)
 * and sum and step (ACC) an element, writes vertex, sum and step; bound by memory. Slots of a row
 * lie side by side, so that gradients they share come from the cache. */
#include "context.h"

#define FA_PACKS 4

namespace
{

template <typename F> struct fa_ascent {
    typename F::element *at;
    typename F::sum *sum, *step;
    int64_t *state;
    const typename F::element *gradient, *start, *centre, *low, *high;
    const double *norm;
    double step_size, radius;
    fa_step_rule rule;
    int restart, stop;
    fa_climbers climbers;
    int64_t D, low_stride, high_stride;
};

/* One slot, as all of its features see it: number j of row r. */
template <typename F> struct fa_climb {
    int64_t r, plane, s, example;
    typename F::sum scale; /* step size, over the norm */
    bool moves;
};

template <typename F>
__device__ fa_climb<F> find_climb(const fa_ascent<F> &of, int64_t r, int64_t j)
{
    typedef typename F::sum sum;
    fa_climb<F> climb;
    climb.r = r;
    climb.plane = fa_ascent_plane(&of.climbers, j);
    climb.s = of.climbers.active[of.climbers.first + r] + j;
    climb.example = of.climbers.slots[climb.s].example;
    climb.scale = (sum)of.step_size;
    if (of.norm != nullptr) {
        const double square = of.norm[j * of.climbers.count + r];
        climb.scale = square != 0.0 ? (sum)(of.step_size / sqrt(square)) : (sum)0;
    }
    const bool reached = of.stop && (fa_glance(of.state + climb.s) & FA_SLOT_REACHED);
    climb.moves = of.gradient != nullptr && !reached;
    return climb;
}

/* The next vertex: up from `from`, into the ball, then into the bounds; NaN stays. */
template <typename F, int V>
__device__ fa_pack<typename F::element, V> next_of(const fa_ascent<F> &of, const fa_climb<F> &climb,
                                                   const fa_pack<typename F::element, V> &from,
                                                   const fa_pack<typename F::element, V> &centre,
                                                   int64_t d)
{
    typedef typename F::element T;
    typedef typename F::sum sum;
    const sum radius = (sum)of.radius;
    const int64_t row = climb.plane * of.climbers.count + climb.r;
    const fa_pack<T, V> ascent = fa_take<V>(of.gradient + row * of.D + d);
    fa_pack<T, V> next, low = {}, high = {};
    if (of.low != nullptr) low = fa_take<V>(of.low + climb.example * of.low_stride + d);
    if (of.high != nullptr) high = fa_take<V>(of.high + climb.example * of.high_stride + d);
    FA_UNROLL for (int v = 0; v < V; v++)
    {
        const sum g = F::load(ascent.item[v]);
        const sum sign = g > 0 ? (sum)1 : g < 0 ? (sum)-1 : g; /* 0 and NaN are their own */
        const sum u = of.norm == nullptr ? sign : g;
        next.item[v] = F::store(F::load(from.item[v]) + climb.scale * u);
        if (of.radius >= 0.0) {
            const sum x = F::load(next.item[v]), c = F::load(centre.item[v]);
            const sum least = c - radius, most = c + radius;
            next.item[v] = F::store(x < least ? least : x > most ? most : x);
        }
        if (of.low != nullptr && F::load(next.item[v]) < F::load(low.item[v])) {
            next.item[v] = low.item[v];
        }
        if (of.high != nullptr && F::load(next.item[v]) > F::load(high.item[v])) {
            next.item[v] = high.item[v];
        }
    }
    return next;
}

/* sum -= gradient * d; by the trapezoid, half of it with the step before, half with this one. */
template <typename F, int V>
__device__ fa_pack<typename F::sum, V> add_step(const fa_ascent<F> &of, const fa_climb<F> &climb,
                                                const fa_pack<typename F::sum, V> &moved, int64_t d)
{
    typedef typename F::sum sum;
    const int64_t at = climb.s * of.D + d;
    const bool halves = of.rule == FA_STEP_TRAPEZOID && of.step != nullptr;
    fa_pack<sum, V> total = {}, last = {};
    if (!of.climbers.fresh) {
        total = fa_take<V>(of.sum + at);
        if (halves) last = fa_take<V>(of.step + at);
    }
    if (of.gradient == nullptr || of.rule == FA_STEP_MIDPOINT) return total;
    const fa_pack<typename F::element, V> slope = fa_take<V>(of.gradient + climb.r * of.D + d);
    FA_UNROLL for (int v = 0; v < V; v++)
    {
        const sum way = halves ? (sum)0.5 * (last.item[v] + moved.item[v]) : moved.item[v];
        total.item[v] -= F::load(slope.item[v]) * way;
    }
    return total;
}

template <typename F, int V>
__device__ int64_t step_pack(const fa_ascent<F> &of, const fa_climb<F> &climb, int64_t d)
{
    typedef typename F::element T;
    typedef typename F::sum sum;
    const int64_t at = climb.s * of.D + d, example = climb.example * of.D + d;
    const fa_pack<T, V> centre = fa_take<V>(of.centre + example);
    const fa_pack<T, V> vertex = fa_take<V>(of.climbers.fresh ? of.start + example : of.at + at);
    const fa_pack<T, V> from = of.restart ? centre : vertex;
    const fa_pack<T, V> next = climb.moves ? next_of<F, V>(of, climb, from, centre, d) : vertex;
    fa_pack<sum, V> moved = {}, total = {};
    FA_UNROLL for (int v = 0; v < V; v++)
    {
        if (climb.moves) moved.item[v] = F::load(next.item[v]) - F::load(from.item[v]);
    }
    if (of.sum != nullptr) {
        total = add_step<F, V>(of, climb, moved, d);
        fa_put<V>(of.sum + at, total);
    }
    if (of.step != nullptr) fa_put<V>(of.step + at, moved);
    fa_put<V>(of.at + at, next);
    int64_t found = 0;
    FA_UNROLL for (int v = 0; v < V; v++)
    {
        const bool finite =
            moved.item[v] - moved.item[v] == 0 && total.item[v] - total.item[v] == 0;
        found |= (moved.item[v] != 0 ? FA_SLOT_MOVED : 0) | (finite ? 0 : FA_SLOT_BROKEN);
    }
    return found;
}

template <typename F, int V> __global__ void ascend_kernel(fa_ascent<F> of)
{
    const int64_t places = of.climbers.count * of.climbers.fan;
    for (int64_t i = fa_first_row(); i < places; i += fa_row_step()) {
        const fa_climb<F> climb = find_climb<F>(of, i / of.climbers.fan, i % of.climbers.fan);
        int64_t found = 0;
        for (int64_t c = fa_first_column(); c < of.D / V; c += fa_column_step()) {
            found |= step_pack<F, V>(of, climb, c * V);
        }
        if (found != 0) fa_add_bits(of.state + climb.s, found);
    }
}

template <typename F> void launch_ascend(const fa_ascend_args *args, cudaStream_t stream)
{
    typedef typename F::element T;
    typedef typename F::sum sum;
    const int64_t D = args->at->shape[1], places = args->climbers.count * args->climbers.fan;
    const fa_ascent<F> of = {fa_typed<T>(args->at),
                             fa_typed<sum>(args->sum),
                             fa_typed<sum>(args->step),
                             args->state,
                             fa_typed<T>(args->gradient),
                             fa_typed<T>(args->start),
                             fa_typed<T>(args->centre),
                             fa_typed<T>(args->low),
                             fa_typed<T>(args->high),
                             args->norm,
                             args->step_size,
                             args->radius,
                             args->rule,
                             args->restart,
                             args->stop,
                             args->climbers,
                             D,
                             fa_stride(args->low),
                             fa_stride(args->high)};
    if (places <= 0 || D == 0) return;
    const bool wide =
        fa_is_wide<F>(D, of.at, of.sum, of.step, of.gradient, of.start, of.centre, of.low, of.high);
    const fa_shape shape = fa_shape_of(places, wide ? D / F::wide : D, FA_PACKS);
    if (wide) {
        FA_LAUNCH((ascend_kernel<F, F::wide>), shape.grid, shape.block, 0, stream, of);
    } else {
        FA_LAUNCH((ascend_kernel<F, 1>), shape.grid, shape.block, 0, stream, of);
    }
}

} // namespace

fa_status fa_cuda_ascend(const fa_ascend_args *args, void *stream, fa_error *error)
{
    FA_RUN("ascend", args->at, launch_ascend, args, stream, error);
}
