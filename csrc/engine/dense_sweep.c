/* dense_sweep.c -- the sums of gradients along straight lines, without two products a point.
 *
 * Where x moves along a line, so does z = W1 x + b1 = p + alpha d, and a unit of a ReLU or
 * LeakyReLU behind it changes sides at most once: h_j = s_j (p_j + alpha d_j), s_j in {1, a}. With
 * W_j, column j of the next weights, the products of the next layer are
 *   u + alpha v,   u = b2 + sum_j s_j p_j W_j,   v = sum_j s_j d_j W_j,
 * and a change of side moves u and v by a column. On the way back, g_k their gradient at node k,
 *   sum_k w_k s_j(k) W_j . g_k = W_j . (s_j(end) G - (s_j(end) - s_j(start)) G_j),
 * G the sum of w_k g_k over all nodes, G_j over those before the change. So a line costs about four
 * products of the second layer and two of the first, whatever the number of its nodes; the layers
 * behind go row by row as in dense_run.c. The numbers are those of the points, but for rounding. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "dense_run.h"

#define FA_GROUP 8                /* examples that share one reading of the first weights, */
#define FA_GROUP_WIDE 32          /* and where those are beyond the first caches           */
#define FA_WIDE_BYTES (256 << 10) /* of weights                                            */
#define FA_GROUP_BYTES (1 << 20)  /* of a group's inputs, at most                          */

typedef struct {
    fa_dense_run *run;
    const fa_dense *net;
    const fa_lines *lines;
    int64_t item, nodes, count; /* of an element; N; examples */
    int64_t lowest;             /* level with a weight that is not 0 */
    int64_t end;                /* 1: the node at alpha 1 is first in the tables, else 0 */
    int64_t group, groups, lanes, lane_bytes;
    int64_t block; /* rows of a block */
    char *scratch;
    atomic_int logits;
} sweep;

/* A lane's memory. E units of the first layer, H outputs of the second, both padded. */
typedef struct {
    char *rows;            /* (2 group, D) inputs, later gradients there        */
    char *p, *d;           /* (group, E) each                                   */
    char *slope;           /* (L, group, E) sums of gradients in z              */
    fa_sides sides;        /* (E)                                               */
    char *u, *v, *running; /* (H), (H), (L, H)                                  */
    char *values;          /* (block)                                           */
    int64_t *pairs;        /* (block, 2)                                        */
    double *alpha;         /* (N) ascending                                     */
    double *weight;        /* (L, N) for them                                   */
    int32_t *units;        /* (E) in the order of the nodes where they change   */
    int32_t *at;           /* (N + 1) where in `units` a node begins            */
    int32_t *some;         /* (E) units with a slope that is not 0              */
    char *block;
} lane;

static const fa_layer *units_of(const sweep *job) { return &job->net->layers[0]; }
static const fa_layer *outputs_of(const sweep *job) { return &job->net->layers[1]; }

int fa_dense_sweeps(const fa_dense *net)
{
    if (net->count < 2) return 0;
    const fa_layer *first = &net->layers[0], *second = &net->layers[1];
    const fa_activation kind = first->activate.kind;
    return (kind == FA_RELU || kind == FA_LEAKY_RELU) && second->forward != NULL && first->in > 0 &&
           first->out > 0 && second->out > 0;
}

static int64_t lay_out(lane *out, char *memory, const sweep *job)
{
    const int64_t item = job->item, E = units_of(job)->stride, H = outputs_of(job)->stride;
    const int64_t G = job->group, L = job->lines->rows.levels, N = job->nodes;
    const int64_t D = units_of(job)->forward != NULL ? units_of(job)->in : 0;
    const struct {
        void *field;
        int64_t bytes;
    } list[] = {
        {&out->rows, 2 * G * D * item},
        {&out->p, G * E * item},
        {&out->d, G * E * item},
        {&out->slope, L * G * E * item},
        {&out->sides.start, E * item},
        {&out->sides.end, E * item},
        {&out->sides.turn, E * item},
        {&out->sides.node, E * 4},
        {&out->u, H * item},
        {&out->v, H * item},
        {&out->running, L * H * item},
        {&out->values, job->block * item},
        {&out->pairs, job->block * 16},
        {&out->alpha, N * 8},
        {&out->weight, L * N * 8},
        {&out->units, E * 4},
        {&out->at, (N + 1) * 4},
        {&out->some, E * 4},
        {&out->block, job->block * fa_block_row_bytes(job->net)},
    };
    int64_t used = 0;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        char *const at = memory + used;
        memcpy(list[i].field, &at, sizeof(at));
        used += (list[i].bytes + 63) / 64 * 64;
    }
    return used;
}

/* ---- the first layer --------------------------------------------------------------------- */

static const char *row_of(const sweep *job, const DLTensor *tensor, int64_t i)
{
    const int64_t D = units_of(job)->in, own = tensor->shape[0] == 1 ? 0 : i;
    return (const char *)fa_data(tensor) + own * D * job->item;
}

/* Whether all of `numel` are zeros, and so their products: weights that are not finite, which make
 * no zero of a zero, leave no finite d, and the line no numbers (see `begin`). */
static int are_zeros(const sweep *job, const char *bytes, int64_t numel)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, (size_t)(numel * job->item - 1)) == 0;
}

/* p and d of the examples `first` .. of the list, `count` of them. */
static void enter(const sweep *job, const lane *mine, int64_t first, int64_t count)
{
    const fa_layer *layer = units_of(job);
    const fa_dense_ops *ops = job->net->ops;
    const int64_t *const active = job->lines->rows.active + first;
    const int64_t D = layer->in, item = job->item, E = layer->stride * item;
    const int weighted = layer->forward != NULL;
    const int64_t step = weighted ? D * item : E;
    char *const bases = weighted ? mine->rows : mine->p;
    char *const differences = weighted ? mine->rows + count * step : mine->d;
    for (int64_t i = 0; i < count; i++) {
        const char *const base = row_of(job, job->lines->base, active[i]);
        memcpy(bases + i * step, base, (size_t)(D * item));
        ops->blend(differences + i * step, 1.0, row_of(job, job->lines->input, active[i]), -1.0,
                   base, D);
        if (!weighted && E > D * item) {
            memset(bases + i * step + D * item, 0, (size_t)(E - D * item));
            memset(differences + i * step + D * item, 0, (size_t)(E - D * item));
        }
    }
    if (!weighted) return;
    ops->multiply(mine->d, layer->stride, 1, differences, D, layer->forward, NULL, count,
                  layer->out, D);
    int64_t own = job->lines->base->shape[0] == 1 ? 1 : count;
    if (are_zeros(job, bases, own * D)) {
        memcpy(mine->p, layer->bias, (size_t)E);
        own = 1;
    } else {
        ops->multiply(mine->p, layer->stride, 1, bases, D, layer->forward, layer->bias, own,
                      layer->out, D);
    }
    for (int64_t i = own; i < count; i++) memcpy(mine->p + i * E, mine->p, (size_t)E);
}

/* The sums of gradients in z, brought to the inputs, for every level. */
static void leave(const sweep *job, const lane *mine, int64_t first, int64_t count)
{
    const fa_layer *layer = units_of(job);
    const fa_dense_ops *ops = job->net->ops;
    const int64_t *const active = job->lines->rows.active + first;
    const int64_t D = layer->in, item = job->item, B = job->lines->input->shape[0];
    for (int64_t l = job->lowest; l < job->lines->rows.levels; l++) {
        const char *from = mine->slope + l * job->group * layer->stride * item;
        int64_t step = layer->stride * item;
        if (layer->backward != NULL) {
            ops->multiply(mine->rows, D, 0, from, layer->stride, layer->backward, NULL, count, D,
                          layer->out);
            from = mine->rows;
            step = D * item;
        }
        for (int64_t i = 0; i < count; i++) {
            char *const sum = (char *)fa_data(job->lines->sum) + (l * B + active[i]) * D * item;
            ops->blend(sum, 1.0, sum, 1.0, from + i * step, D);
        }
    }
}

/* ---- one line ---------------------------------------------------------------------------- */

/* All units in the order of the nodes where they change; those that never do come first. */
static void sort_units(const sweep *job, const lane *mine)
{
    const int64_t N = job->nodes, E = units_of(job)->out;
    memset(mine->at, 0, (size_t)(N + 1) * 4);
    for (int64_t j = 0; j < E; j++) mine->at[mine->sides.node[j] + 1]++;
    for (int64_t k = 0; k < N; k++) mine->at[k + 1] += mine->at[k];
    for (int64_t j = 0; j < E; j++) mine->units[mine->at[mine->sides.node[j]]++] = (int32_t)j;
    memmove(mine->at + 1, mine->at, (size_t)N * 4); /* each had moved to where the next begins */
    mine->at[0] = 0;
}

/* The units whose slope is not 0. */
static int64_t list(const sweep *job, int32_t *out, const char *slopes)
{
    int64_t count = 0;
    for (int64_t j = 0; j < units_of(job)->out; j++) {
        out[count] = (int32_t)j;
        count += fa_get_real(job->net->dtype, slopes, j) != 0.0;
    }
    return count;
}

/* Where the units change, and u and v at the first node. */
static void begin(const sweep *job, const lane *mine, const char *p, const char *d)
{
    const fa_layer *layer = units_of(job), *next = outputs_of(job);
    const fa_dense_ops *ops = job->net->ops;
    const double off = layer->activate.kind == FA_RELU ? 0.0 : layer->activate.a;
    const double poison =
        ops->sides(&mine->sides, p, d, mine->alpha, job->nodes, off, layer->stride);
    sort_units(job, mine);
    for (int64_t i = 0; i < next->stride; i++) {
        fa_put_real(job->net->dtype, mine->u, i,
                    fa_get_real(job->net->dtype, next->bias, i) + poison);
    }
    memset(mine->v, 0, (size_t)(next->stride * job->item));
    ops->turn(mine->u, mine->v, next->columns, next->stride, mine->some,
              list(job, mine->some, mine->sides.start), mine->sides.start, p, d);
}

/* The units that change at node k. */
static const int32_t *changes(const lane *mine, int64_t k, int64_t *count)
{
    *count = k > 0 ? mine->at[k + 1] - mine->at[k] : 0;
    return mine->units + mine->at[k];
}

/* The products of the second layer at the nodes k .. k + rows - 1 */
static void forward(const sweep *job, const lane *mine, const fa_block *b, int64_t k, const char *p,
                    const char *d)
{
    const fa_layer *next = outputs_of(job);
    const fa_dense_ops *ops = job->net->ops;
    char *const z = fa_block_outputs(b, 1);
    for (int64_t r = 0; r < b->rows; r++) {
        int64_t count;
        const int32_t *const units = changes(mine, k + r, &count);
        if (count > 0) {
            ops->turn(mine->u, mine->v, next->columns, next->stride, units, count, mine->sides.turn,
                      p, d);
        }
        ops->blend(z + r * next->stride * job->item, 1.0, mine->u, mine->alpha[k + r], mine->v,
                   next->stride);
    }
}

/* From the gradients there to the sums `slope` (L, group, E) of one example. */
static void backward(const sweep *job, const lane *mine, const fa_block *b, int64_t k,
                     char *gradient, char *slope)
{
    const fa_layer *next = outputs_of(job);
    const fa_dense_ops *ops = job->net->ops;
    const int64_t item = job->item, H = next->stride * item;
    char *const before = fa_block_outputs(b, 1); /* read already */
    for (int64_t r = 0; r < b->rows && next->out < next->stride; r++) {
        memset(gradient + r * H + next->out * item, 0, (size_t)(H - next->out * item));
    }
    for (int64_t l = job->lowest; l < job->lines->rows.levels; l++) {
        char *const sums = slope + l * job->group * units_of(job)->stride * item;
        ops->cumulate(before, mine->running + l * H, gradient, next->stride,
                      mine->weight + l * job->nodes + k, b->rows);
        for (int64_t r = 0; r < b->rows; r++) {
            int64_t count;
            const int32_t *const units = changes(mine, k + r, &count);
            if (count == 0) continue;
            ops->project(sums, next->columns, next->stride, units, count, -1.0, mine->sides.turn,
                         before + r * H);
        }
    }
}

/* Example a of the list, number i of its group. */
static int run_line(const sweep *job, const lane *mine, int64_t a, int64_t i)
{
    const fa_layer *layer = units_of(job), *next = outputs_of(job);
    const int64_t item = job->item, N = job->nodes, L = job->lines->rows.levels;
    const int64_t E = layer->stride * item, H = next->stride * item;
    const char *const p = mine->p + i * E, *const d = mine->d + i * E;
    char *const slope = mine->slope + i * E;
    char *const values = (char *)job->run->values.data + a * N * item;
    fa_block b = {.net = job->net, .capacity = job->block, .given = 1, .memory = mine->block};
    b.checked = job->run->checked;
    for (int64_t r = 0; r < fa_min(job->block, N); r++) {
        memcpy(mine->pairs + 2 * r, job->lines->target + 2 * job->lines->rows.active[a], 16);
    }
    begin(job, mine, p, d);
    memset(mine->running, 0, (size_t)(L * H));
    for (int64_t l = job->lowest; l < L; l++) memset(slope + l * job->group * E, 0, (size_t)E);
    for (int64_t k = 0; k < N; k += b.rows) {
        b.rows = fa_min(job->block, N - k);
        forward(job, mine, &b, k, p, d);
        fa_block_forward(&b, 0);
        char *const gradient = fa_block_explain(&b, mine->pairs, NULL, mine->values, NULL, 1);
        for (int64_t r = 0; r < b.rows; r++) { /* in the order of the tables */
            const int64_t place = (k + r + job->end) % N;
            memcpy(values + place * item, mine->values + r * item, (size_t)item);
        }
        backward(job, mine, &b, k, gradient, slope);
    }
    const int64_t ending = list(job, mine->some, mine->sides.end);
    for (int64_t l = job->lowest; l < L; l++) {
        job->net->ops->project(slope + l * job->group * E, next->columns, next->stride, mine->some,
                               ending, 1.0, mine->sides.end, mine->running + l * H);
    }
    return b.logits;
}

static void run_lanes(void *context, int64_t first_lane, int64_t last)
{
    sweep *const job = context;
    const fa_rows *rows = &job->lines->rows;
    const int64_t N = job->nodes, end = job->end;
    for (int64_t i = first_lane; i < last; i++) {
        lane mine;
        lay_out(&mine, job->scratch + i * job->lane_bytes, job);
        for (int64_t k = 0; k < N; k++) {
            mine.alpha[k] = rows->alpha[(k + end) % N];
            for (int64_t l = 0; l < rows->levels; l++) {
                mine.weight[l * N + k] = rows->weight[l * N + (k + end) % N];
            }
        }
        for (int64_t g = i; g < job->groups; g += job->lanes) {
            const int64_t first = g * job->group, count = fa_min(job->group, job->count - first);
            int logits = 0;
            enter(job, &mine, first, count);
            for (int64_t e = 0; e < count; e++) logits |= run_line(job, &mine, first + e, e);
            leave(job, &mine, first, count);
            if (logits) atomic_store_explicit(&job->logits, 1, memory_order_relaxed);
        }
    }
}

/* ---- the call ---------------------------------------------------------------------------- */

static double flops_of_line(const sweep *job)
{
    double flops = 4.0 * (double)outputs_of(job)->in * (double)outputs_of(job)->out;
    flops += (double)job->nodes * (double)(units_of(job)->out + 8 * outputs_of(job)->out);
    for (int64_t l = 0; l < job->net->count; l++) {
        const fa_layer *layer = &job->net->layers[l];
        const double rows = l == 0 ? 1.0 : l == 1 ? 0.0 : (double)job->nodes;
        if (layer->forward != NULL) flops += 4.0 * rows * (double)layer->in * (double)layer->out;
    }
    return flops;
}

static fa_status cut(sweep *job, fa_error *error)
{
    const int64_t threads = job->run->threads, D = units_of(job)->in;
    const int64_t fit = FA_GROUP_BYTES / (2 * D * job->item);
    const int64_t share = (job->count + threads - 1) / threads;
    lane unused;
    char origin;
    const int wide = D * units_of(job)->out * job->item > FA_WIDE_BYTES;
    job->group = fa_min(fa_min(wide ? FA_GROUP_WIDE : FA_GROUP, share), fit > 1 ? fit : 1);
    job->groups = (job->count + job->group - 1) / job->group;
    job->lanes = fa_min(threads, job->groups);
    job->block = fa_block_capacity(job->net, job->nodes);
    job->lane_bytes = lay_out(&unused, &origin, job);
    const int64_t rows = job->count * job->nodes, values = (rows * job->item + 63) / 64 * 64;
    FA_TRY(fa_dense_reserve(job->run, values + job->lanes * job->lane_bytes, rows, error));
    char *const memory = job->run->memory;
    fa_dense_describe(&job->run->values, job->run->shapes[1], memory, job->net, rows, 1);
    job->scratch = memory + values;
    return FA_OK;
}

static int is_zero(const double *weight, int64_t nodes)
{
    while (nodes > 0 && weight[nodes - 1] == 0.0) nodes--;
    return nodes == 0;
}

fa_status fa_dense_sweep(void *self, const fa_lines *lines, fa_evaluation *out, fa_error *error)
{
    fa_dense_run *const run = self;
    const fa_rows *rows = &lines->rows;
    sweep job = {.run = run,
                 .net = run->net,
                 .lines = lines,
                 .item = fa_dense_item(run->net),
                 .nodes = rows->nodes,
                 .count = rows->count / rows->nodes,
                 .end = rows->nodes > 1 && rows->alpha[0] > rows->alpha[1]};
    const double *weight = rows->weight;
    int predicts;
    FA_TRY(
        fa_dense_check_targets(job.net, lines->target, lines->input->shape[0], &predicts, error));
    if (predicts) return fa_fail(error, FA_EINVAL, "target: expected the classes of all lines");
    while (job.lowest < rows->levels - 1 && is_zero(weight + job.lowest * job.nodes, job.nodes)) {
        job.lowest++;
    }
    FA_TRY(cut(&job, error));
    const double flops = flops_of_line(&job) * (double)job.count / (double)job.lanes;
    fa_parallel_for(job.lanes, (int64_t)(flops / FA_FLOPS_PER_ELEMENT) + 1, run_lanes, &job);
    FA_TRY(fa_dense_check_logits(run, job.logits, error));
    out->values = &run->values;
    return FA_OK;
}
