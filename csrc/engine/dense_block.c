/* dense_block.c -- forward through all layers, each leaving its activations and slopes; for every
 * scalar back from
 *   d z_C = +1 at `plus`, -1 at `minus`           raw outputs,
 *   d z_C = p_c (e_c - p) or e_c - p              softmax p, or its logarithm,
 * by d h = d z W, d z = d h * act'(z). A raw output needs two rows of the last layer's weights
 * only, so its product is left out. Softmax in float64. */
#include "dense_block.h"

#include <math.h>
#include <string.h>

static int64_t item_of(const fa_block *b) { return fa_dense_item(b->net); }

int64_t fa_block_row_bytes(const fa_dense *net)
{
    int64_t elements = 2 * net->widest;
    for (int64_t l = 0; l < net->count; l++) elements += 2 * net->layers[l].stride;
    return elements * fa_dense_item(net);
}

int64_t fa_block_capacity(const fa_dense *net, int64_t most)
{
    const int64_t fit = FA_BLOCK_BYTES / fa_block_row_bytes(net) / 8 * 8;
    const int64_t rows = fa_min(FA_BLOCK_ROWS, fit > 16 ? fit : 16);
    return fa_min(rows, (most + 7) / 8 * 8);
}

/* (capacity, stride) of h and of the slopes of every layer, then two of the widest for d z. */
static char *layer_memory(const fa_block *b, int64_t l, int which)
{
    const fa_dense *net = b->net;
    int64_t elements = 0;
    for (int64_t k = 0; k < l; k++) elements += 2 * net->layers[k].stride;
    elements += which * (l < net->count ? net->layers[l].stride : net->widest);
    return b->memory + elements * b->capacity * item_of(b);
}

char *fa_block_outputs(const fa_block *b, int64_t l) { return layer_memory(b, l, 0); }
static char *slopes(const fa_block *b, int64_t l) { return layer_memory(b, l, 1); }
static char *deltas(const fa_block *b, int which) { return layer_memory(b, b->net->count, which); }

int fa_block_is_sparse(const fa_block *b)
{
    const fa_dense *net = b->net;
    const int product = net->count - 1 > b->given || b->given == 0;
    return product && net->head == FA_RAW && net->layers[net->count - 1].weight != NULL;
}

/* ---- forward ----------------------------------------------------------------------------- */

static const char *input_of(const fa_block *b, int64_t l, int64_t *stride)
{
    *stride = l == 0 ? b->net->layers[0].in : b->net->layers[l - 1].stride;
    return l == 0 ? b->points : fa_block_outputs(b, l - 1);
}

static void multiply(const fa_block *b, int64_t l)
{
    const fa_layer *layer = &b->net->layers[l];
    const int64_t item = item_of(b);
    int64_t stride;
    const char *const a = input_of(b, l, &stride);
    char *const h = fa_block_outputs(b, l);
    if (layer->forward != NULL) {
        b->net->ops->multiply(h, layer->stride, 1, a, stride, layer->forward, layer->bias, b->rows,
                              layer->out, layer->in);
        return;
    }
    for (int64_t r = 0; r < b->rows; r++) {
        memcpy(h + r * layer->stride * item, a + r * stride * item, (size_t)(layer->out * item));
    }
}

/* NaN counts as the largest, as torch has it. */
static int64_t largest(const fa_block *b, const void *row)
{
    const int64_t C = b->net->layers[b->net->count - 1].out;
    int64_t best = 0;
    for (int64_t c = 1; c < C; c++) {
        const double value = fa_dense_get(b->net, row, c), held = fa_dense_get(b->net, row, best);
        if (value > held || (isnan(value) && !isnan(held))) best = c;
    }
    return best;
}

/* Whether softmax would be applied to these outputs a second time. */
static int are_probabilities(const fa_block *b, const void *row, int64_t C)
{
    double sum = 0.0;
    for (int64_t c = 0; c < C; c++) {
        const double value = fa_dense_get(b->net, row, c);
        if (!(value >= 0.0)) return 0;
        sum += value;
    }
    return fabs(sum - 1.0) < 1e-3;
}

static char *outputs_of(const fa_block *b, int64_t r)
{
    const int64_t last = b->net->count - 1;
    return fa_block_outputs(b, last) + r * b->net->layers[last].stride * item_of(b);
}

/* z becomes softmax(z) or its logarithm. */
static void apply_head(fa_block *b)
{
    const int64_t C = b->net->layers[b->net->count - 1].out;
    for (int64_t r = 0; r < b->rows && b->net->head != FA_RAW; r++) {
        char *const row = outputs_of(b, r);
        if (!b->checked && !are_probabilities(b, row, C)) b->logits = 1;
        const double top = fa_dense_get(b->net, row, largest(b, row));
        double sum = 0.0;
        for (int64_t c = 0; c < C; c++) sum += exp(fa_dense_get(b->net, row, c) - top);
        for (int64_t c = 0; c < C; c++) {
            const double z = fa_dense_get(b->net, row, c) - top;
            fa_dense_put(b->net, row, c, b->net->head == FA_SOFTMAX ? exp(z) / sum : z - log(sum));
        }
    }
}

void fa_block_forward(fa_block *b, int classes)
{
    const int64_t layers = b->net->count - (!classes && fa_block_is_sparse(b) ? 1 : 0);
    for (int64_t l = b->given; l < layers; l++) {
        const fa_layer *layer = &b->net->layers[l];
        if (l > b->given || b->given == 0) multiply(b, l);
        b->net->ops->activate(fa_block_outputs(b, l), slopes(b, l), layer->stride, b->rows,
                              layer->out, &layer->activate);
    }
    apply_head(b);
}

int64_t fa_block_predicted(const fa_block *b, int64_t r) { return largest(b, outputs_of(b, r)); }

/* ---- backward ---------------------------------------------------------------------------- */

static void gate(const fa_block *b, int64_t l, int which)
{
    const fa_layer *layer = &b->net->layers[l];
    b->net->ops->gate(deltas(b, which), layer->stride, fa_block_outputs(b, l), slopes(b, l),
                      layer->stride, b->rows, layer->out, &layer->activate);
}

/* From d z of layer l, in deltas 0, to `out` (rows, D), or to d z of the layer given. */
static char *backward(const fa_block *b, int64_t l, char *out)
{
    const fa_dense *net = b->net;
    const int64_t D = net->layers[0].in, item = item_of(b);
    int which = 0;
    for (; b->given == 0 || l > b->given; l--) {
        const fa_layer *layer = &net->layers[l];
        const int64_t stride = l > 0 ? net->layers[l - 1].stride : D;
        const char *const from = deltas(b, which);
        char *const to = l > 0 ? deltas(b, !which) : out;
        if (layer->backward != NULL) {
            net->ops->multiply(to, stride, l > 0, from, layer->stride, layer->backward, NULL,
                               b->rows, layer->in, layer->out);
        } else {
            for (int64_t r = 0; r < b->rows; r++) {
                memcpy(to + r * stride * item, from + r * layer->stride * item,
                       (size_t)(layer->in * item));
            }
        }
        if (l == 0) return out;
        which = !which;
        gate(b, l - 1, which);
    }
    return deltas(b, which);
}

/* Value and d z of one scalar of a row whose outputs (after the head) are at `row`. */
static double seed(const fa_block *b, char *delta, const char *row, const int64_t picked[2])
{
    const int64_t C = b->net->layers[b->net->count - 1].out;
    double value = 0.0;
    memset(delta, 0, (size_t)(C * item_of(b)));
    for (int i = 0; i < 2; i++) {
        const double sign = i == 0 ? 1.0 : -1.0;
        if (picked[i] < 0) continue;
        const double chosen = fa_dense_get(b->net, row, picked[i]);
        value += sign * chosen;
        for (int64_t c = 0; c < C; c++) {
            const double own = c == picked[i] ? 1.0 : 0.0, z = fa_dense_get(b->net, row, c);
            const double slope = b->net->head == FA_RAW       ? own
                                 : b->net->head == FA_SOFTMAX ? chosen * (own - z)
                                                              : own - exp(z);
            fa_dense_put(b->net, delta, c, fa_dense_get(b->net, delta, c) + sign * slope);
        }
    }
    return value;
}

/* The same of a raw output: its value, and d h of the layer before into `delta` (in), or NULL. */
static double seed_sparse(const fa_block *b, char *delta, const char *input,
                          const int64_t picked[2])
{
    const fa_dense_ops *ops = b->net->ops;
    const fa_layer *last = &b->net->layers[b->net->count - 1];
    const char *weights[2] = {last->weight, last->weight};
    double value = 0.0, slopes_of[2] = {0.0, 0.0};
    for (int i = 0; i < 2; i++) {
        if (picked[i] < 0) continue;
        weights[i] += picked[i] * last->in * item_of(b);
        const double z =
            ops->dot(weights[i], input, last->in) + fa_dense_get(b->net, last->bias, picked[i]);
        const double chosen = fa_activation_at(&last->activate, z, &slopes_of[i]);
        value += i == 0 ? chosen : -chosen;
    }
    if (delta != NULL) {
        ops->blend(delta, slopes_of[0], weights[0], -slopes_of[1], weights[1], last->in);
    }
    return value;
}

char *fa_block_explain(const fa_block *b, const int64_t *pairs, const int64_t *predicted,
                       void *values, char *out, int gradients)
{
    const fa_dense *net = b->net;
    const int64_t item = item_of(b), last = net->count - 1;
    const int sparse = fa_block_is_sparse(b), alone = sparse && last == 0;
    const int64_t l = sparse ? last - 1 : last; /* where d z begins */
    const int64_t step = alone ? net->layers[0].in : net->layers[l].stride;
    char *const delta = alone ? out : deltas(b, 0);
    int64_t stride;
    const char *const input = input_of(b, last, &stride);
    for (int64_t r = 0; r < b->rows; r++) {
        const int64_t *const asked = pairs + 2 * r;
        const int64_t picked[2] = {asked[0] >= 0 ? asked[0] : predicted[r], asked[1]};
        char *const place = delta + r * step * item;
        const double value =
            sparse ? seed_sparse(b, gradients ? place : NULL, input + r * stride * item, picked)
                   : seed(b, place, outputs_of(b, r), picked);
        fa_dense_put(b->net, values, r, value);
    }
    if (!gradients || alone) return out;
    gate(b, l, 0);
    return backward(b, l, out);
}
