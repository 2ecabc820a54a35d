/* dense_block.c -- forward through all layers, each leaving its activations and slopes; for every
 * scalar back from the outputs (cpu/head.c) by d h = d z W, d z = d h * act'(z). A raw output needs
 * two rows of the last layer's weights only, so its product is left out. */
#include "dense_block.h"

#include <string.h>

#include "../cpu/head.h"

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
    for (int64_t r = 0; r < b->rows && layer->out > 0; r++) { /* no features: no memory either */
        memcpy(h + r * layer->stride * item, a + r * stride * item, (size_t)(layer->out * item));
    }
}

static char *outputs_of(const fa_block *b, int64_t r)
{
    const int64_t last = b->net->count - 1;
    return fa_block_outputs(b, last) + r * b->net->layers[last].stride * item_of(b);
}

static void apply_head(fa_block *b)
{
    const fa_dense *net = b->net;
    const int64_t C = net->layers[net->count - 1].out;
    for (int64_t r = 0; r < b->rows && net->head != FA_RAW; r++) {
        char *const row = outputs_of(b, r);
        if (!b->checked && !fa_are_probabilities(net->dtype, row, C)) b->logits = 1;
        fa_apply_head(net->dtype, row, C, net->head);
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

int64_t fa_block_predicted(const fa_block *b, int64_t r)
{
    return fa_largest(b->net->dtype, outputs_of(b, r), b->net->layers[b->net->count - 1].out);
}

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
            for (int64_t r = 0; r < b->rows && layer->in > 0; r++) {
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

/* The value of a raw output's scalar, and d h of the layer before into `delta` (in), or NULL. */
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
        const double z = ops->dot(weights[i], input, last->in) +
                         fa_get_real(b->net->dtype, last->bias, picked[i]);
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
                   : fa_pick_output(net->dtype, place, outputs_of(b, r), net->layers[last].out,
                                    picked, net->head);
        fa_put_real(net->dtype, values, r, value);
    }
    if (!gradients || alone) return out;
    gate(b, l, 0);
    return backward(b, l, out);
}
