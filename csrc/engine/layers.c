/* layers.c -- h = act(W h + b) from layer to layer, and back from every scalar by
 * d z = d h * act'(z), d h = d z W, each step an operation of the backend on all rows of a chunk.
 *
 * Nothing is waited for, but once a call behind a softmax, whether it is applied to logits. */
#include "layers.h"

#include <string.h>

#include "dense_run.h"

#define FA_PART_BYTES 256 /* the parts of the memory begin at multiples of this */

/* The parts of the memory, in order; layer l has its outputs and then its slopes. */
enum { LOGITS, PREDICTED, PICKED, VALUES, GRADIENTS, DELTAS, LAYERS };

static int64_t item_of(const fa_layers *net) { return net->dtype == FA_FLOAT64 ? 8 : 4; }

static int64_t widest(const fa_layers *net)
{
    int64_t most = 0;
    for (int64_t l = 0; l < net->count; l++) {
        if (net->specs[l].out > most) most = net->specs[l].out;
        if (net->specs[l].in > most && l > 0) most = net->specs[l].in;
    }
    return most;
}

/* rows * columns items in whole lines are added to *sum, or it becomes the largest number. */
static void add(int64_t *sum, int64_t rows, int64_t columns, int64_t item)
{
    int64_t bytes;
    if (__builtin_mul_overflow(rows, columns, &bytes) ||
        __builtin_mul_overflow(bytes, item, &bytes) ||
        __builtin_add_overflow(bytes, FA_PART_BYTES - 1, &bytes) ||
        __builtin_add_overflow(*sum, bytes / FA_PART_BYTES * FA_PART_BYTES, sum)) {
        *sum = INT64_MAX;
    }
}

/* Where `part` begins; part LAYERS + 2 l + 1 are the slopes of layer l. */
static int64_t offset_of(const fa_layers *net, int64_t rows, int64_t pairs, int64_t part)
{
    const int64_t item = item_of(net), most = widest(net);
    int64_t sum = 0;
    if (part > LOGITS) add(&sum, 1, 1, 8);
    if (part > PREDICTED) add(&sum, rows, 1, 8);
    if (part > PICKED) add(&sum, rows, 1, 8);
    if (part > VALUES) add(&sum, pairs, 1, item);
    if (part > GRADIENTS) add(&sum, pairs, net->specs[0].in, item);
    if (part > DELTAS) add(&sum, rows, most, item);
    if (part > DELTAS) add(&sum, rows, most, item);
    for (int64_t i = LAYERS; i < part && sum < INT64_MAX; i++) {
        add(&sum, rows, net->specs[(i - LAYERS) / 2].out, item);
    }
    return sum;
}

int64_t fa_layers_bytes(const fa_layers *net, int64_t rows, int64_t pairs)
{
    return offset_of(net, rows, pairs, LAYERS + 2 * net->count);
}

/* ---- views of the memory ----------------------------------------------------------------- */

typedef struct {
    DLTensor tensor;
    int64_t shape[2];
} view;

static char *part_of(const fa_layers_run *run, int64_t part)
{
    return (char *)run->memory + offset_of(run->net, run->rows, run->pairs, part);
}

static DLTensor *look(view *out, const fa_layers_run *run, const void *data, int64_t rows,
                      int64_t columns)
{
    const uint8_t bits = run->net->dtype == FA_FLOAT64 ? 64 : 32;
    out->shape[0] = rows, out->shape[1] = columns;
    out->tensor =
        (DLTensor){(void *)data, run->net->device, 2, {kDLFloat, bits, 1}, out->shape, NULL, 0};
    return &out->tensor;
}

static DLTensor *outputs(view *out, const fa_layers_run *run, int64_t l, int64_t rows)
{
    return look(out, run, part_of(run, LAYERS + 2 * l), rows, run->net->specs[l].out);
}

static DLTensor *slopes(view *out, const fa_layers_run *run, int64_t l, int64_t rows)
{
    return look(out, run, part_of(run, LAYERS + 2 * l + 1), rows, run->net->specs[l].out);
}

static DLTensor *deltas(view *out, const fa_layers_run *run, int which, int64_t rows,
                        int64_t columns)
{
    const int64_t bytes = (part_of(run, LAYERS) - part_of(run, DELTAS)) / 2;
    return look(out, run, part_of(run, DELTAS) + which * bytes, rows, columns);
}

/* ---- forward and back -------------------------------------------------------------------- */

static fa_status multiply(const fa_layers_run *run, DLTensor *out, const DLTensor *a,
                          const fa_layer_spec *spec, int transposed, fa_error *error)
{
    view weight;
    const fa_gemm_args args = {.out = out,
                               .a = a,
                               .b = look(&weight, run, spec->weight, spec->out, spec->in),
                               .transpose_b = transposed};
    return run->net->backend->gemm(&args, run->stream, error);
}

static fa_status forward(const fa_layers_run *run, const DLTensor *points, int64_t rows,
                         int gradients, fa_error *error)
{
    const fa_backend *backend = run->net->backend;
    view before, made, slope;
    for (int64_t l = 0; l < run->net->count; l++) {
        const fa_layer_spec *spec = &run->net->specs[l];
        DLTensor *const out = outputs(&made, run, l, rows);
        const DLTensor *in = l > 0 ? outputs(&before, run, l - 1, rows) : points;
        if (spec->weight != NULL) {
            FA_TRY(multiply(run, out, in, spec, 1, error));
            in = out;
        }
        const int curved = spec->activate.kind != FA_IDENTITY;
        if (in == out && !curved && spec->bias == NULL) continue;
        const fa_activate_args args = {.out = out,
                                       .slope = curved && gradients ? slopes(&slope, run, l, rows)
                                                                    : NULL,
                                       .in = in,
                                       .bias = spec->bias,
                                       .activate = spec->activate};
        FA_TRY(backend->activate(&args, run->stream, error));
    }
    return FA_OK;
}

/* From the gradients in the last layer's outputs, in deltas 0, to `out` (rows, D). */
static fa_status backward(const fa_layers_run *run, DLTensor *out, int64_t rows, fa_error *error)
{
    const fa_backend *backend = run->net->backend;
    int which = 0;
    for (int64_t l = run->net->count - 1; l >= 0; l--) {
        const fa_layer_spec *spec = &run->net->specs[l];
        view here, there, slope;
        DLTensor *const delta = deltas(&here, run, which, rows, spec->out);
        const int curved = spec->activate.kind != FA_IDENTITY;
        const int lands = l == 0 && spec->weight == NULL;
        if (curved || lands) {
            const fa_gate_args args = {.out = lands ? out : delta,
                                       .slope = curved ? slopes(&slope, run, l, rows) : NULL,
                                       .delta = delta};
            FA_TRY(backend->gate(&args, run->stream, error));
        }
        if (spec->weight == NULL) continue;
        DLTensor *const to = l > 0 ? deltas(&there, run, !which, rows, spec->in) : out;
        FA_TRY(multiply(run, to, delta, spec, 0, error));
        which = !which;
    }
    return FA_OK;
}

/* ---- a chunk ----------------------------------------------------------------------------- */

static fa_status apply_head(fa_layers_run *run, DLTensor *out, int64_t *predicted, fa_error *error)
{
    const fa_backend *backend = run->net->backend;
    const int asks = !run->checked && run->net->head != FA_RAW;
    int64_t *const logits = asks ? (int64_t *)part_of(run, LOGITS) : NULL;
    int64_t found = 0;
    if (asks) FA_TRY(backend->upload(logits, &found, 8, run->stream, error));
    const fa_head_args args = {
        .out = out, .predicted = predicted, .logits = logits, .head = run->net->head};
    FA_TRY(backend->head(&args, run->stream, error));
    if (!asks) return FA_OK;
    FA_TRY(backend->download(&found, logits, 8, run->stream, error));
    run->checked = 1;
    return found != 0 ? FA_OK : fa_dense_not_logits(run->net->head, error);
}

static fa_status explain(fa_layers_run *run, const fa_batch *batch, int64_t q, const DLTensor *out,
                         const int64_t *predicted, fa_error *error)
{
    const int64_t R = batch->rows, C = out->shape[1], D = run->net->specs[0].in;
    const int64_t item = item_of(run->net);
    view value, delta, gradient;
    char *const to = (char *)run->answers[0].data + q * R * item;
    const fa_pick_args args = {.values = look(&value, run, to, R, 1),
                               .delta = batch->gradients ? deltas(&delta, run, 0, R, C) : NULL,
                               .picked = q == 0 ? run->answers[2].data : NULL,
                               .out = out,
                               .scalars = batch->scalars + 2 * q * R,
                               .predicted = predicted,
                               .head = run->net->head};
    FA_TRY(run->net->backend->pick(&args, run->stream, error));
    if (!batch->gradients) return FA_OK;
    char *const slope = (char *)run->answers[1].data + q * R * D * item;
    return backward(run, look(&gradient, run, slope, R, D), R, error);
}

static void describe(fa_layers_run *run, int i, void *data, int64_t rows, int64_t columns)
{
    view made;
    run->answers[i] = *look(&made, run, data, rows, columns);
    memcpy(run->shapes[i], made.shape, sizeof(made.shape));
    run->answers[i].shape = run->shapes[i];
}

static fa_status evaluate(void *self, const fa_batch *batch, fa_evaluation *out, fa_error *error)
{
    fa_layers_run *run = self;
    const int64_t R = batch->rows, Q = batch->scalar_count;
    int64_t *const predicted = (int64_t *)part_of(run, PREDICTED);
    view last;
    if (R > run->rows || Q * R > run->pairs) {
        return fa_fail(error, FA_EINVAL, "rows: expected at most %lld of %lld scalars, got %lld",
                       (long long)run->rows, (long long)run->pairs, (long long)R);
    }
    describe(run, 0, run->values != NULL ? run->values : part_of(run, VALUES), Q * R, 1);
    describe(run, 1, run->gradients != NULL ? run->gradients : part_of(run, GRADIENTS), Q * R,
             run->net->specs[0].in);
    describe(run, 2, part_of(run, PICKED), R, 1);
    run->answers[2].dtype = (DLDataType){kDLInt, 64, 1};
    FA_TRY(forward(run, &batch->points[0], R, batch->gradients, error));
    DLTensor *const outputs_now = outputs(&last, run, run->net->count - 1, R);
    FA_TRY(apply_head(run, outputs_now, predicted, error));
    for (int64_t q = 0; q < Q; q++) {
        FA_TRY(explain(run, batch, q, outputs_now, predicted, error));
    }
    out->values = &run->answers[0];
    out->predicted = batch->gradients ? NULL : &run->answers[2];
    if (batch->gradients) out->gradients[0] = &run->answers[1];
    return FA_OK;
}

static void release(void *self) { (void)self; }

void fa_layers_begin(fa_layers_run *run, fa_model *out)
{
    run->checked = 0;
    *out = (fa_model){.self = run, .evaluate = evaluate, .release = release};
}
