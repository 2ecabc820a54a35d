#include "dense_run.h"

#include <stdlib.h>
#include <string.h>

#define FA_CHUNK_BYTES (4 << 20) /* of points and gradients */
#define FA_MOST_CHUNK 4096
#define FA_LEAST_CHUNK 64

static size_t item_of(const fa_dense *net) { return (size_t)fa_dense_item(net); }

/* Aligned to a cache line and a vector; zeroed, for the padding. */
static void *allocate(int64_t items, size_t item)
{
    const size_t bytes = ((size_t)items * item + 63) / 64 * 64 + 64;
    void *const memory = aligned_alloc(64, bytes);
    return memory != NULL ? memset(memory, 0, bytes) : NULL;
}

/* An empty layer still has buffers of one vector. Rows a multiple of 4 KB apart would share
 * their sets of the first cache. */
static int64_t stride_of(const fa_dense *net, int64_t out)
{
    const int64_t width = net->ops->width, whole = (out + width - 1) / width * width;
    const int64_t stride = whole > 0 ? whole : width;
    return stride * (int64_t)item_of(net) % 4096 == 0 ? stride + width : stride;
}

/* Row j of the result is column j of the weights. */
static void *transposed(const fa_dense *net, const fa_layer *layer, const fa_layer_spec *spec)
{
    const int64_t item = (int64_t)item_of(net);
    char *const columns = allocate(layer->in * layer->stride, item_of(net));
    for (int64_t n = 0; columns != NULL && n < layer->out; n++) {
        const char *const row = (const char *)spec->weight + n * layer->in * item;
        for (int64_t j = 0; j < layer->in; j++) {
            memcpy(columns + (j * layer->stride + n) * item, row + j * item, (size_t)item);
        }
    }
    return columns;
}

static int fill_layer(fa_dense *net, fa_layer *layer, const fa_layer_spec *spec, int last,
                      int whole)
{
    const fa_dense_ops *ops = net->ops;
    const int64_t in = spec->in, out = spec->out;
    const size_t item = item_of(net);
    layer->in = in;
    layer->out = out;
    layer->stride = stride_of(net, out);
    layer->activate = spec->activate;
    if (last && net->head != FA_RAW && spec->activate.kind == FA_RELU) {
        layer->activate = (fa_activate){.kind = FA_LEAKY_RELU}; /* the head overwrites its signs */
    }
    if (spec->weight == NULL) return 0;
    layer->forward = allocate(ops->packed(out, in), item);
    layer->backward = allocate(ops->packed(in, out), item);
    layer->bias = allocate(layer->stride, item);
    if (layer->forward == NULL || layer->backward == NULL || layer->bias == NULL) return -1;
    ops->pack(layer->forward, spec->weight, 1, in, out, in);
    ops->pack(layer->backward, spec->weight, in, 1, in, out);
    if (spec->bias != NULL) memcpy(layer->bias, spec->bias, (size_t)out * item);
    if (!last && !whole) return 0;
    void *const weight = allocate(in * out, item);
    if (weight == NULL) return -1;
    layer->weight = memcpy(weight, spec->weight, (size_t)(in * out) * item);
    return 0;
}

fa_status fa_dense_new(fa_dense **out, fa_dtype dtype, const fa_layer_spec *specs, int64_t count,
                       fa_head head, int whole, fa_error *error)
{
    fa_dense *net = calloc(1, sizeof(*net));
    *out = NULL;
    if (net == NULL) return fa_fail(error, FA_ENOMEM, "no memory for a network");
    *net = (fa_dense){.dtype = dtype, .ops = fa_cpu_dense(dtype), .head = head, .count = count};
    net->layers = calloc((size_t)count, sizeof(*net->layers));
    int failed = net->layers == NULL;
    for (int64_t l = 0; l < count && !failed; l++) {
        failed = fill_layer(net, &net->layers[l], &specs[l], l == count - 1, whole) < 0;
        if (l == 1 && !failed && fa_dense_sweeps(net)) {
            net->layers[l].columns = transposed(net, &net->layers[l], &specs[l]);
            failed = net->layers[l].columns == NULL;
        }
        if (net->layers[l].stride > net->widest) net->widest = net->layers[l].stride;
        net->flops += 4.0 * (double)specs[l].in * (double)specs[l].out;
    }
    if (failed) {
        fa_dense_free(net);
        return fa_fail(error, FA_ENOMEM, "no memory for the weights of %lld layers",
                       (long long)count);
    }
    *out = net;
    return FA_OK;
}

void fa_dense_free(fa_dense *net)
{
    for (int64_t l = 0; net != NULL && net->layers != NULL && l < net->count; l++) {
        free((void *)net->layers[l].weight);
        free(net->layers[l].columns);
        free(net->layers[l].bias);
        free(net->layers[l].backward);
        free(net->layers[l].forward);
    }
    if (net != NULL) free(net->layers);
    free(net);
}

int64_t fa_dense_rows(const fa_dense *net)
{
    const int64_t bytes = 2 * net->layers[0].in * (int64_t)item_of(net);
    const int64_t rows = FA_CHUNK_BYTES / (bytes > 0 ? bytes : 1);
    if (rows > FA_MOST_CHUNK) return FA_MOST_CHUNK;
    return rows > FA_LEAST_CHUNK ? rows : FA_LEAST_CHUNK;
}
