/* exact.c -- A = (x - x') * W1' G,   G_h = integral over a of slope_h(a) df/dh_h(a) da
 *
 * On the straight path z = W1 x' + b1 + a dz, dz = W1 (x - x'), every unit of the first layer sees
 * one variable. With one hidden layer G_h = v_h (act(z_h(1)) - act(z_h(0))) / dz_h; where dz_h is
 * so small that the quotient would lose digits, eight Gauss-Legendre nodes have its value to
 * rounding. With two layers of (leaky) ReLUs f is piecewise linear in a: a sweep goes over the
 * breakpoints a_h at which units of the first layer switch, between which the second layer's
 * y_k(a) are straight lines that spend a known share of the piece above zero. With
 * C_k(a) = integral to a of v_k slope_k, a unit that switches at a_h from slope s to t has
 *   G_h = s sum_k W2_kh C_k(a_h) + t sum_k W2_kh (C_k(1) - C_k(a_h)),
 * so that a sweep costs one pass over W2. H, K units of the two layers. */
#include "exact.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../quadrature.h"

#define FA_EXAMPLES 64    /* at a time: what the calls of the products share */
#define FA_SMALL_STEP 0.1 /* |dz| below which the quotient is replaced by nodes: exact to 1e-16 */
#define FA_NODES 8

typedef struct {
    fa_exact *job;
    const fa_layer *first, *second; /* second: NULL, or the second hidden layer */
    const fa_layer *last;
    int64_t D, H, K;
    const double *nodes, *weights;
    int64_t from, count; /* examples of the block */
    int64_t lanes;
    double *step;        /* (block, D) x - x'                      */
    double *z0, *dz, *G; /* (block, stride of the first layer)     */
    double *bound;       /* (D) the largest weight of a feature, for the bound of rounding errors */
    double *size;        /* (block) that bound for the G of an example, over eps */
    double *columns;     /* (H, K): W2 transposed                   */
    double *room;        /* (lanes, room_of) of a sweep             */
} exact;

typedef struct {
    double at;
    int64_t unit;
} breakpoint;

static int is_rectifier(fa_activation kind) { return kind == FA_RELU || kind == FA_LEAKY_RELU; }

int fa_exact_applies(const fa_dense *net)
{
    const fa_layer *const layers = net->layers;
    for (int64_t l = 0; l < net->count; l++) {
        if (layers[l].weight == NULL) return 0;
    }
    if (net->dtype != FA_FLOAT64 || net->head != FA_RAW || net->count < 2 || net->count > 3 ||
        layers[net->count - 1].activate.kind != FA_IDENTITY) {
        return 0;
    }
    return net->count == 2 ||
           (is_rectifier(layers[0].activate.kind) && is_rectifier(layers[1].activate.kind));
}

/* ---- one variable ------------------------------------------------------------------------ */

static double negative_slope(const fa_activate *activate)
{
    return activate->kind == FA_RELU ? 0.0 : activate->a;
}

/* The mean slope of a (leaky) ReLU between two arguments: no digits cancel. */
static double mean_rectifier(const fa_activate *activate, double from, double to)
{
    const double low = negative_slope(activate), size = fabs(from) + fabs(to);
    if ((from > 0.0) == (to > 0.0)) return from > 0.0 ? 1.0 : low;
    const double share = fmax(from, to) / size;
    return share + (1.0 - share) * low;
}

static double mean_slope(const exact *run, const fa_activate *activate, double from, double step)
{
    const double to = from + step;
    double slope, sum = 0.0;
    const double scale = activate->kind == FA_SOFTPLUS ? fmax(1.0, fabs(activate->a)) : 1.0;
    if (activate->kind == FA_IDENTITY) return 1.0;
    if (is_rectifier(activate->kind)) return mean_rectifier(activate, from, to);
    const int kink = activate->kind == FA_ELU && (from > 0.0) != (to > 0.0);
    if (fabs(step) * scale >= FA_SMALL_STEP || (kink && fabs(step) > 0.0)) {
        return (fa_activation_at(activate, to, &slope) - fa_activation_at(activate, from, &slope)) /
               step;
    }
    for (int i = 0; i < FA_NODES; i++) {
        (void)fa_activation_at(activate, from + run->nodes[i] * step, &slope);
        sum += run->weights[i] * slope;
    }
    return sum;
}

/* Rounding moves z0 by some eps of its largest term, and with it the place where a unit switches:
 * by so many eps of the whole path. */
static double unsteadiness(const exact *run, int64_t e, int64_t h, double from, double step)
{
    const double *const base = run->job->base + (run->job->base_rows == 1 ? 0 : e * run->D);
    const double *const weight = (const double *)run->first->weight + h * run->D;
    double size = fabs(((const double *)run->first->bias)[h]) + fabs(step);
    if ((from > 0.0) == (from + step > 0.0)) return 0.0;
    for (int64_t d = 0; d < run->D; d++) size += fabs(weight[d] * base[d]);
    return size / fabs(step);
}

/* v = W_last[plus] - W_last[minus]; returns its bias. */
static double chosen(double *v, const exact *run, int64_t e)
{
    const int64_t *const pair = run->job->target + 2 * e;
    const double *const weight = run->last->weight, *const bias = run->last->bias;
    const int64_t n = run->last->in;
    for (int64_t h = 0; h < n; h++) {
        v[h] = weight[pair[0] * n + h] - (pair[1] >= 0 ? weight[pair[1] * n + h] : 0.0);
    }
    return bias[pair[0]] - (pair[1] >= 0 ? bias[pair[1]] : 0.0);
}

static void one_hidden(const exact *run, int64_t i, double *room)
{
    const int64_t e = run->from + i, stride = run->first->stride;
    const double *const z0 = run->z0 + i * stride, *const dz = run->dz + i * stride;
    double *const v = room, *const G = run->G + i * stride, slope;
    const double constant = chosen(v, run, e);
    double high = constant, low = constant;
    run->size[i] = 0.0;
    for (int64_t h = 0; h < run->H; h++) {
        G[h] = v[h] * mean_slope(run, &run->first->activate, z0[h], dz[h]);
        run->size[i] += fabs(G[h]) + fabs(v[h]) * unsteadiness(run, e, h, z0[h], dz[h]);
        high += v[h] * fa_activation_at(&run->first->activate, z0[h] + dz[h], &slope);
        low += v[h] * fa_activation_at(&run->first->activate, z0[h], &slope);
    }
    run->job->output[e] = high;
    run->job->base_output[e] = low;
}

/* ---- the sweep --------------------------------------------------------------------------- */

static int by_place(const void *left, const void *right)
{
    const double a = ((const breakpoint *)left)->at, b = ((const breakpoint *)right)->at;
    return (a > b) - (a < b);
}

static int64_t room_of(const exact *run) { return run->H * 2 + 4 * run->K + run->last->in; }

/* C_k over a piece of length `length` in which y_k goes on by rate_k. */
static void advance(const exact *run, double *C, double *y, const double *rate, const double *v,
                    double length)
{
    for (int64_t k = 0; k < run->K && length > 0.0; k++) {
        const double to = y[k] + rate[k] * length;
        C[k] += v[k] * length * mean_rectifier(&run->second->activate, y[k], to);
        y[k] = to;
    }
}

static double output_of(const exact *run, const double *y, const double *v, double constant)
{
    double slope;
    for (int64_t k = 0; k < run->K; k++) {
        constant += v[k] * fa_activation_at(&run->second->activate, y[k], &slope);
    }
    return constant;
}

static double along(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

/* y and its rate at alpha 0, and where the first layer's units switch. Returns how many do. */
static int64_t start_sweep(const exact *run, int64_t i, double *y, double *rate, breakpoint *stops)
{
    const fa_activate *act = &run->first->activate;
    const double *const z0 = run->z0 + i * run->first->stride, low = negative_slope(act);
    const double *const dz = run->dz + i * run->first->stride;
    int64_t count = 0;
    memcpy(y, run->second->bias, (size_t)run->K * sizeof(double));
    memset(rate, 0, (size_t)run->K * sizeof(double));
    for (int64_t h = 0; h < run->H; h++) {
        const double z1 = z0[h] + dz[h], *const column = run->columns + h * run->K;
        const double slope = z0[h] > 0.0 ? 1.0 : low;
        for (int64_t k = 0; k < run->K; k++) {
            y[k] += slope * z0[h] * column[k];
            rate[k] += slope * dz[h] * column[k];
        }
        if ((z0[h] > 0.0) != (z1 > 0.0)) {
            stops[count++] = (breakpoint){fabs(z0[h]) / (fabs(z0[h]) + fabs(z1)), h};
        }
    }
    qsort(stops, (size_t)count, sizeof(*stops), by_place);
    return count;
}

static void two_hidden(const exact *run, int64_t i, double *room)
{
    const int64_t e = run->from + i, stride = run->first->stride, K = run->K;
    const double *const z0 = run->z0 + i * stride, *const dz = run->dz + i * stride;
    double *const G = run->G + i * stride, *const y = room + 2 * run->H, *const rate = y + K;
    double *const C = rate + K, *const v = C + K;
    breakpoint *const stops = (breakpoint *)(void *)room;
    const double low = negative_slope(&run->first->activate), constant = chosen(v, run, e);
    const int64_t count = start_sweep(run, i, y, rate, stops);
    double place = 0.0;
    run->job->base_output[e] = output_of(run, y, v, constant);
    memset(C, 0, (size_t)K * sizeof(double));
    memset(G, 0, (size_t)run->H * sizeof(double));
    run->size[i] = 0.0;
    for (int64_t s = 0; s < count; s++) {
        const int64_t h = stops[s].unit;
        const double *const column = run->columns + h * K;
        const double shift = unsteadiness(run, e, h, z0[h], dz[h]);
        const double before = z0[h] > 0.0 ? 1.0 : low, after = z0[h] > 0.0 ? low : 1.0;
        advance(run, C, y, rate, v, stops[s].at - place);
        place = fmax(place, stops[s].at);
        G[h] = (before - after) * along(column, C, K);
        for (int64_t k = 0; k < K; k++) {
            rate[k] += (after - before) * dz[h] * column[k];
            run->size[i] += fabs(column[k] * v[k]) * shift;
        }
    }
    advance(run, C, y, rate, v, 1.0 - place);
    for (int64_t h = 0; h < run->H; h++) {
        const double last = z0[h] + dz[h] > 0.0 ? 1.0 : low;
        G[h] += last * along(run->columns + h * K, C, K);
        for (int64_t k = 0; k < K; k++) run->size[i] += fabs(run->columns[h * K + k] * v[k]);
    }
    /* f(x) from its own forward pass: the sweep's end is what the gap is to judge */
    memcpy(y, run->second->bias, (size_t)K * sizeof(double));
    for (int64_t h = 0; h < run->H; h++) {
        const double z1 = z0[h] + dz[h], active = z1 > 0.0 ? z1 : low * z1;
        for (int64_t k = 0; k < K; k++) y[k] += active * run->columns[h * K + k];
    }
    run->job->output[e] = output_of(run, y, v, constant);
}

/* ---- blocks ------------------------------------------------------------------------------ */

static void work(void *context, int64_t begin, int64_t end)
{
    const exact *run = context;
    for (int64_t lane = begin; lane < end; lane++) {
        double *const room = run->room + lane * room_of(run);
        for (int64_t i = lane; i < run->count; i += run->lanes) {
            if (run->second != NULL) {
                two_hidden(run, i, room);
            } else {
                one_hidden(run, i, room);
            }
        }
    }
}

/* From G to the values, and their sums. Rounding: every product and sum of H terms, D features. */
static void finish(const exact *run)
{
    const fa_exact *job = run->job;
    const double eps = 0x1p-52 * (double)(8 + run->H + run->K + run->D);
    for (int64_t i = 0; i < run->count; i++) {
        double *const sums = job->sums + FA_EXACT_SUMS * (run->from + i);
        double *const values = job->values + (run->from + i) * run->D;
        double total = 0.0, norm = 0.0, bound = 0.0;
        for (int64_t d = 0; d < run->D; d++) {
            const double step = run->step[i * run->D + d];
            const double factor = job->multiply ? step : 1.0;
            total += values[d] * step;
            values[d] *= factor;
            norm += fabs(values[d]);
            bound += run->bound[d] * fabs(factor);
        }
        sums[0] = total;
        sums[1] = norm;
        sums[2] = eps * bound * run->size[i];
    }
}

static void run_block(exact *run)
{
    const fa_exact *job = run->job;
    const fa_dense_ops *ops = job->net->ops;
    const int64_t D = run->D, base_stride = job->base_rows == 1 ? 0 : D,
                  stride = run->first->stride;
    const double *const base = job->base + run->from * base_stride;
    for (int64_t i = 0; i < run->count; i++) {
        for (int64_t d = 0; d < D; d++) {
            run->step[i * D + d] = job->input[(run->from + i) * D + d] - base[i * base_stride + d];
        }
    }
    ops->multiply(run->z0, stride, 1, base, base_stride, run->first->forward, run->first->bias,
                  run->count, run->H, D);
    ops->multiply(run->dz, stride, 1, run->step, D, run->first->forward, NULL, run->count, run->H,
                  D);
    fa_parallel_for(run->lanes, run->count * run->H * (run->K + 8) / run->lanes + 1, work, run);
    ops->multiply(job->values + run->from * D, D, 0, run->G, stride, run->first->backward, NULL,
                  run->count, D, run->H);
    finish(run);
}

/* The second layer by columns, and the largest weight of each feature. */
static void prepare(exact *run)
{
    const double *const W1 = run->first->weight;
    for (int64_t d = 0; d < run->D; d++) {
        run->bound[d] = 0.0;
        for (int64_t h = 0; h < run->H; h++)
            run->bound[d] = fmax(run->bound[d], fabs(W1[h * run->D + d]));
    }
    for (int64_t h = 0; run->second != NULL && h < run->H; h++) {
        const double *const W2 = run->second->weight;
        for (int64_t k = 0; k < run->K; k++) run->columns[h * run->K + k] = W2[k * run->H + h];
    }
}

fa_status fa_exact_run(fa_exact *job, fa_error *error)
{
    const fa_dense *net = job->net;
    exact run = {.job = job,
                 .first = &net->layers[0],
                 .second = net->count == 3 ? &net->layers[1] : NULL,
                 .last = &net->layers[net->count - 1],
                 .D = net->layers[0].in,
                 .H = net->layers[0].out,
                 .K = net->count == 3 ? net->layers[1].out : 0};
    const int64_t block = fa_min(job->examples, FA_EXAMPLES), wide = block * run.first->stride;
    run.lanes = fa_min(fa_thread_count(), block > 0 ? block : 1);
    const int64_t room = run.lanes * room_of(&run);
    const int64_t items = 3 * wide + run.H * run.K + room + block * (run.D + 1) + run.D;
    FA_TRY(fa_quadrature(&run.nodes, &run.weights, FA_GAUSS_LEGENDRE, FA_NODES, error));
    double *const memory = calloc((size_t)items + 1, sizeof(double));
    if (memory == NULL) {
        return fa_fail(error, FA_ENOMEM, "no memory for %lld examples", (long long)block);
    }
    run.z0 = memory;
    run.dz = run.z0 + wide;
    run.G = run.dz + wide;
    run.columns = run.G + wide;
    run.room = run.columns + run.H * run.K;
    run.step = run.room + room;
    run.bound = run.step + block * run.D;
    run.size = run.bound + run.D;
    prepare(&run);
    for (run.from = 0; run.from < job->examples; run.from += FA_EXAMPLES) {
        run.count = fa_min(FA_EXAMPLES, job->examples - run.from);
        run_block(&run);
    }
    free(memory);
    return FA_OK;
}
