/* dense_run.c -- values and gradients of a chunk of rows, block by block.
 *
 * Forward through all layers, each leaving its activations and slopes; for every scalar back from
 *   d z_C = +1 at `plus`, -1 at `minus`           raw outputs,
 *   d z_C = p_c (e_c - p) or e_c - p              softmax p, or its logarithm,
 * by d h = d z W, d z = d h * act'(z). A raw output needs two rows of the last layer's weights
 * only, so its product is left out. Softmax in float64. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "dense.h"

#define FA_BLOCK_ROWS 256
#define FA_BLOCK_BYTES (640 << 10) /* of a thread's activations: they stay in its second cache */
#define FA_FLOPS_PER_ELEMENT 64    /* a pool of threads is worth waking from 4 MFLOP on */

/* The chunk, and how it is cut. */
typedef struct {
    fa_dense_run *run;
    const fa_dense *net;
    const fa_batch *batch;
    int64_t block, blocks, lanes; /* rows of a block; a lane is a thread's share of the blocks */
    size_t item;
    char *scratch; /* of all lanes */
    int64_t lane_bytes;
    int64_t *predicted; /* (R), or NULL */
    atomic_int logits;  /* a row was met that is no vector of probabilities */
} chunk;

/* One block. Activations and slopes of layer l lie at h[l], gate[l]. */
typedef struct {
    const chunk *job;
    int64_t first, rows;
    const char *points;
    char *memory; /* (block, stride) of h and gate of every layer, then two of the widest, then C */
} block;

static int64_t bytes_of_row(const fa_dense *net, size_t item)
{
    int64_t elements = 2 * net->widest;
    for (int64_t l = 0; l < net->count; l++) elements += 2 * net->layers[l].stride;
    return elements * (int64_t)item;
}

static char *layer_memory(const block *b, int64_t l, int which)
{
    const fa_dense *net = b->job->net;
    int64_t elements = 0;
    for (int64_t k = 0; k < l; k++) elements += 2 * net->layers[k].stride;
    elements += which * (l < net->count ? net->layers[l].stride : net->widest);
    return b->memory + elements * b->job->block * (int64_t)b->job->item;
}

static char *activations(const block *b, int64_t l) { return layer_memory(b, l, 0); }
static char *slopes(const block *b, int64_t l) { return layer_memory(b, l, 1); }
static char *deltas(const block *b, int which)
{
    return layer_memory(b, b->job->net->count, which);
}

static int is_sparse(const fa_dense *net)
{
    return net->head == FA_RAW && net->layers[net->count - 1].weight != NULL;
}

static double number(const chunk *job, const void *at, int64_t i)
{
    return job->item == 8 ? ((const double *)at)[i] : (double)((const float *)at)[i];
}

static void put(const chunk *job, void *at, int64_t i, double value)
{
    if (job->item == 8) {
        ((double *)at)[i] = value;
    } else {
        ((float *)at)[i] = (float)value;
    }
}

/* ---- forward ----------------------------------------------------------------------------- */

static const char *input_of(const block *b, int64_t l, int64_t *stride)
{
    *stride = l == 0 ? b->job->net->layers[0].in : b->job->net->layers[l - 1].stride;
    return l == 0 ? b->points : activations(b, l - 1);
}

static void forward(const block *b, int64_t layers)
{
    const chunk *job = b->job;
    const fa_dense *net = job->net;
    for (int64_t l = 0; l < layers; l++) {
        const fa_layer *layer = &net->layers[l];
        int64_t stride;
        const char *const a = input_of(b, l, &stride);
        char *const h = activations(b, l);
        if (layer->forward != NULL) {
            net->ops->multiply(h, layer->stride, 1, a, stride, layer->forward, layer->bias, b->rows,
                               layer->out, layer->in);
        } else {
            for (int64_t r = 0; r < b->rows; r++) {
                memcpy(h + r * layer->stride * (int64_t)job->item,
                       a + r * stride * (int64_t)job->item, (size_t)layer->out * job->item);
            }
        }
        net->ops->activate(h, slopes(b, l), layer->stride, b->rows, layer->out, &layer->activate);
    }
}

/* NaN counts as the largest, as torch has it. */
static int64_t largest(const chunk *job, const void *row, int64_t C)
{
    int64_t best = 0;
    for (int64_t c = 1; c < C; c++) {
        const double value = number(job, row, c), held = number(job, row, best);
        if (value > held || (isnan(value) && !isnan(held))) best = c;
    }
    return best;
}

/* Whether softmax would be applied to these outputs a second time. */
static int are_probabilities(const chunk *job, const void *row, int64_t C)
{
    double sum = 0.0;
    for (int64_t c = 0; c < C; c++) {
        const double value = number(job, row, c);
        if (!(value >= 0.0)) return 0;
        sum += value;
    }
    return fabs(sum - 1.0) < 1e-3;
}

/* z becomes softmax(z) or its logarithm. */
static void apply_head(const block *b)
{
    chunk *const job = (chunk *)b->job;
    const fa_layer *last = &job->net->layers[job->net->count - 1];
    for (int64_t r = 0; r < b->rows && job->net->head != FA_RAW; r++) {
        char *const row =
            activations(b, job->net->count - 1) + r * last->stride * (int64_t)job->item;
        if (!job->run->checked && !are_probabilities(job, row, last->out)) {
            atomic_store_explicit(&job->logits, 1, memory_order_relaxed);
        }
        const double top = number(job, row, largest(job, row, last->out));
        double sum = 0.0;
        for (int64_t c = 0; c < last->out; c++) sum += exp(number(job, row, c) - top);
        for (int64_t c = 0; c < last->out; c++) {
            const double z = number(job, row, c) - top;
            put(job, row, c, job->net->head == FA_SOFTMAX ? exp(z) / sum : z - log(sum));
        }
    }
}

/* ---- backward ---------------------------------------------------------------------------- */

/* From d z of layer `l`, in deltas `which`, to the gradient (rows, D). */
static void backward(const block *b, int64_t l, int which, char *gradient)
{
    const fa_dense *net = b->job->net;
    const int64_t D = net->layers[0].in, item = (int64_t)b->job->item;
    for (;; l--) {
        const fa_layer *layer = &net->layers[l];
        const fa_layer *before = l > 0 ? &net->layers[l - 1] : NULL;
        const int64_t stride = before != NULL ? before->stride : D;
        char *const out = before != NULL ? deltas(b, !which) : gradient;
        if (layer->backward != NULL) {
            net->ops->multiply(out, stride, before != NULL, deltas(b, which), layer->stride,
                               layer->backward, NULL, b->rows, layer->in, layer->out);
        } else {
            for (int64_t r = 0; r < b->rows; r++) {
                memcpy(out + r * stride * item, deltas(b, which) + r * layer->stride * item,
                       (size_t)layer->in * b->job->item);
            }
        }
        if (before == NULL) return;
        which = !which;
        net->ops->gate(deltas(b, which), stride, activations(b, l - 1), slopes(b, l - 1), stride,
                       b->rows, before->out, &before->activate);
    }
}

/* Value and d z of one scalar of a row whose outputs (after the head) are at `row`. */
static double seed(const chunk *job, char *delta, const char *row, int64_t plus, int64_t minus)
{
    const int64_t C = job->net->layers[job->net->count - 1].out, picked[2] = {plus, minus};
    double value = 0.0;
    memset(delta, 0, (size_t)C * job->item);
    for (int i = 0; i < 2; i++) {
        const double sign = i == 0 ? 1.0 : -1.0;
        if (picked[i] < 0) continue;
        const double chosen = number(job, row, picked[i]);
        value += sign * chosen;
        for (int64_t c = 0; c < C; c++) {
            const double own = c == picked[i] ? 1.0 : 0.0, z = number(job, row, c);
            const double slope = job->net->head == FA_RAW       ? own
                                 : job->net->head == FA_SOFTMAX ? chosen * (own - z)
                                                                : own - exp(z);
            put(job, delta, c, number(job, delta, c) + sign * slope);
        }
    }
    return value;
}

/* The same of a raw output: its value, and d h of the layer before into `delta` (in), or NULL. */
static double seed_sparse(const block *b, char *delta, const char *input, int64_t plus,
                          int64_t minus)
{
    const chunk *job = b->job;
    const fa_dense_ops *ops = job->net->ops;
    const fa_layer *last = &job->net->layers[job->net->count - 1];
    const int64_t picked[2] = {plus, minus};
    const char *weights[2] = {last->weight, last->weight};
    double value = 0.0, slopes_of[2] = {0.0, 0.0};
    for (int i = 0; i < 2; i++) {
        if (picked[i] < 0) continue;
        weights[i] += picked[i] * last->in * (int64_t)job->item;
        const double z = ops->dot(weights[i], input, last->in) + number(job, last->bias, picked[i]);
        const double chosen = fa_activation_at(&last->activate, z, &slopes_of[i]);
        value += i == 0 ? chosen : -chosen;
    }
    if (delta != NULL) {
        ops->blend(delta, slopes_of[0], weights[0], -slopes_of[1], weights[1], last->in);
    }
    return value;
}

/* ---- blocks and threads ------------------------------------------------------------------ */

/* Scalar q of a block: values, and if wanted gradients. */
static void explain(const block *b, int64_t q, int sparse)
{
    const chunk *job = b->job;
    const fa_dense *net = job->net;
    const fa_batch *batch = job->batch;
    const fa_layer *last = &net->layers[net->count - 1];
    const int64_t D = net->layers[0].in, item = (int64_t)job->item;
    const int64_t at = q * batch->rows + b->first;
    char *const gradient = (char *)job->run->gradients.data + at * D * item;
    char *const delta = net->count == 1 && sparse ? gradient : deltas(b, 0);
    const int64_t step = !sparse           ? last->stride
                         : net->count == 1 ? D
                                           : net->layers[net->count - 2].stride;
    int64_t stride;
    const char *const input = input_of(b, net->count - 1, &stride);
    for (int64_t r = 0; r < b->rows; r++) {
        const int64_t *const pair = batch->scalars + 2 * (at + r);
        const int64_t plus = pair[0] >= 0 ? pair[0] : job->predicted[b->first + r];
        char *const place = delta + r * step * item;
        const double value =
            sparse ? seed_sparse(b, batch->gradients ? place : NULL, input + r * stride * item,
                                 plus, pair[1])
                   : seed(job, place, activations(b, net->count - 1) + r * last->stride * item,
                          plus, pair[1]);
        put(job, job->run->values.data, at + r, value);
    }
    if (!batch->gradients || (sparse && net->count == 1)) return;
    const int64_t l = net->count - (sparse ? 2 : 1);
    const fa_layer *layer = &net->layers[l];
    net->ops->gate(deltas(b, 0), layer->stride, activations(b, l), slopes(b, l), layer->stride,
                   b->rows, layer->out, &layer->activate);
    backward(b, l, 0, gradient);
}

static void run_block(const block *b)
{
    const chunk *job = b->job;
    const fa_dense *net = job->net;
    const fa_layer *last = &net->layers[net->count - 1];
    const int sparse = is_sparse(net);
    forward(b, net->count - (sparse && job->predicted == NULL ? 1 : 0));
    apply_head(b);
    for (int64_t r = 0; job->predicted != NULL && r < b->rows; r++) {
        const char *const row =
            activations(b, net->count - 1) + r * last->stride * (int64_t)job->item;
        job->predicted[b->first + r] = largest(job, row, last->out);
    }
    for (int64_t q = 0; q < job->batch->scalar_count; q++) explain(b, q, sparse);
}

static void run_lanes(void *context, int64_t begin, int64_t end)
{
    const chunk *job = context;
    const int64_t D = job->net->layers[0].in, R = job->batch->rows;
    for (int64_t lane = begin; lane < end; lane++) {
        for (int64_t i = lane; i < job->blocks; i += job->lanes) {
            const int64_t first = i * job->block;
            const block b = {.job = job,
                             .first = first,
                             .rows = fa_min(job->block, R - first),
                             .points = (const char *)fa_data(&job->batch->points[0]) +
                                       first * D * (int64_t)job->item,
                             .memory = job->scratch + lane * job->lane_bytes};
            run_block(&b);
        }
    }
}

/* Blocks as large as a cache allows, and as many as there are threads to share them. */
static void cut(chunk *job)
{
    const int64_t R = job->batch->rows, threads = job->run->threads;
    const int64_t row = bytes_of_row(job->net, job->item);
    const int64_t fit = FA_BLOCK_BYTES / row / 8 * 8,
                  share = ((R + threads - 1) / threads + 7) / 8 * 8;
    job->block = fa_min(FA_BLOCK_ROWS, fit > 16 ? fit : 16);
    if (share < job->block) job->block = share;
    job->blocks = (R + job->block - 1) / job->block;
    job->lanes = fa_min(threads, job->blocks);
    job->lane_bytes = (job->block * row + 63) / 64 * 64;
}

/* Gradients (Q, R, D), values (Q, R), predicted (R), then the lanes. */
static fa_status reserve(chunk *job, fa_error *error)
{
    fa_dense_run *run = job->run;
    const int64_t R = job->batch->rows, Q = job->batch->scalar_count, D = job->net->layers[0].in;
    const int64_t item = (int64_t)job->item;
    const int64_t gradients = job->batch->gradients ? (Q * R * D * item + 63) / 64 * 64 : 0;
    const int64_t values = (Q * R * item + 63) / 64 * 64, predicted = (R * 8 + 63) / 64 * 64;
    const int64_t bytes = gradients + values + predicted + job->lanes * job->lane_bytes;
    if (bytes > run->bytes) {
        free(run->memory);
        run->memory = aligned_alloc(64, (size_t)bytes);
        run->bytes = run->memory != NULL ? bytes : 0;
        if (run->memory == NULL) {
            return fa_fail(error, FA_ENOMEM, "no memory for the layers of %lld rows", (long long)R);
        }
    }
    const DLDataType real = {kDLFloat, (uint8_t)(8 * item), 1}, integer = {kDLInt, 64, 1};
    const DLDevice cpu = {kDLCPU, 0};
    char *const memory = run->memory;
    run->shapes[0][0] = Q * R, run->shapes[0][1] = D;
    run->shapes[1][0] = Q * R, run->shapes[1][1] = 1;
    run->shapes[2][0] = R, run->shapes[2][1] = 1;
    run->gradients = (DLTensor){memory, cpu, 2, real, run->shapes[0], NULL, 0};
    run->values = (DLTensor){memory + gradients, cpu, 2, real, run->shapes[1], NULL, 0};
    run->predicted =
        (DLTensor){memory + gradients + values, cpu, 2, integer, run->shapes[2], NULL, 0};
    job->scratch = memory + gradients + values + predicted;
    return FA_OK;
}

/* Whether a row asks for its predicted class, after a check of all targets. */
static fa_status read_scalars(chunk *job, int *predicts, fa_error *error)
{
    const fa_batch *batch = job->batch;
    const int64_t C = job->net->layers[job->net->count - 1].out;
    int64_t least = 0, most = -1;
    for (int64_t i = 0; i < 2 * batch->scalar_count * batch->rows; i++) {
        if (batch->scalars[i] > most) most = batch->scalars[i];
        if (i % 2 == 0 && batch->scalars[i] < least) least = batch->scalars[i];
    }
    *predicts = least < 0;
    if (most < C && (C > 0 || !*predicts)) return FA_OK;
    return fa_fail(error, FA_EINVAL, "target: expected less than %lld, got %lld", (long long)C,
                   (long long)most);
}

static fa_status evaluate(void *self, const fa_batch *batch, fa_evaluation *out, fa_error *error)
{
    fa_dense_run *run = self;
    chunk job = {
        .run = run, .net = run->net, .batch = batch, .item = run->net->dtype == FA_FLOAT64 ? 8 : 4};
    int predicts;
    FA_TRY(read_scalars(&job, &predicts, error));
    cut(&job);
    FA_TRY(reserve(&job, error));
    if (predicts) job.predicted = run->predicted.data;
    const double flops = run->net->flops * (double)batch->rows / (double)job.lanes;
    fa_parallel_for(job.lanes, (int64_t)(flops / FA_FLOPS_PER_ELEMENT) + 1, run_lanes, &job);
    if (!run->checked && run->net->head != FA_RAW && !job.logits) {
        return fa_fail(
            error, FA_EINVAL,
            "output: expected a model that returns logits for output=\"%s\", got "
            "probabilities (rows are >= 0 and sum to 1): softmax would be applied twice; "
            "use output=\"raw\"",
            run->net->head == FA_SOFTMAX ? "softmax" : "log_softmax");
    }
    run->checked = 1;
    out->values = &run->values;
    out->predicted = predicts && !batch->gradients ? &run->predicted : NULL;
    if (batch->gradients) out->gradients[0] = &run->gradients;
    return FA_OK;
}

static void release(void *self) { (void)self; }

void fa_dense_begin(fa_dense_run *run, fa_model *out, const fa_dense *net)
{
    *run = (fa_dense_run){.net = net, .threads = fa_thread_count()};
    *out = (fa_model){.self = run, .evaluate = evaluate, .release = release};
}

void fa_dense_end(fa_dense_run *run) { free(run->memory); }
