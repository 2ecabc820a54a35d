/* dense_run.c -- values and gradients of a chunk of rows: blocks of them, shared among threads. */
#include <stdatomic.h>
#include <stdlib.h>

#include "dense_run.h"

/* The chunk, and how it is cut. */
typedef struct {
    fa_dense_run *run;
    const fa_dense *net;
    const fa_batch *batch;
    int64_t block, blocks, lanes; /* rows of a block; a lane is a thread's share of the blocks */
    int64_t item;
    char *scratch; /* of all lanes */
    int64_t lane_bytes;
    int64_t *predicted; /* (R), or NULL */
    atomic_int logits;  /* a row was met that is no vector of probabilities */
} chunk;

static void run_block(chunk *job, int64_t i, char *memory)
{
    const fa_batch *batch = job->batch;
    const int64_t D = job->net->layers[0].in, R = batch->rows, first = i * job->block;
    fa_block b = {.net = job->net,
                  .rows = fa_min(job->block, R - first),
                  .capacity = job->block,
                  .points = (const char *)fa_data(&batch->points[0]) + first * D * job->item,
                  .memory = memory,
                  .checked = job->run->checked};
    int64_t *const predicted = job->predicted != NULL ? job->predicted + first : NULL;
    fa_block_forward(&b, predicted != NULL);
    if (b.logits) atomic_store_explicit(&job->logits, 1, memory_order_relaxed);
    for (int64_t r = 0; predicted != NULL && r < b.rows; r++) {
        predicted[r] = fa_block_predicted(&b, r);
    }
    for (int64_t q = 0; q < batch->scalar_count; q++) {
        const int64_t at = q * R + first;
        (void)fa_block_explain(
            &b, batch->scalars + 2 * at, predicted, (char *)job->run->values.data + at * job->item,
            (char *)job->run->gradients.data + at * D * job->item, batch->gradients);
    }
}

static void run_lanes(void *context, int64_t begin, int64_t end)
{
    chunk *job = context;
    for (int64_t lane = begin; lane < end; lane++) {
        for (int64_t i = lane; i < job->blocks; i += job->lanes) {
            run_block(job, i, job->scratch + lane * job->lane_bytes);
        }
    }
}

/* Blocks as large as a cache allows, and as many as there are threads to share them. */
static void cut(chunk *job)
{
    const int64_t R = job->batch->rows, threads = job->run->threads;
    job->block = fa_block_capacity(job->net, (R + threads - 1) / threads);
    job->blocks = (R + job->block - 1) / job->block;
    job->lanes = fa_min(threads, job->blocks);
    job->lane_bytes = (job->block * fa_block_row_bytes(job->net) + 63) / 64 * 64;
}

fa_status fa_dense_reserve(fa_dense_run *run, int64_t bytes, int64_t rows, fa_error *error)
{
    if (bytes <= run->bytes) return FA_OK;
    free(run->memory);
    run->memory = aligned_alloc(64, (size_t)bytes);
    run->bytes = run->memory != NULL ? bytes : 0;
    if (run->memory != NULL) return FA_OK;
    return fa_fail(error, FA_ENOMEM, "no memory for the layers of %lld rows", (long long)rows);
}

void fa_dense_describe(DLTensor *out, int64_t shape[2], void *data, const fa_dense *net,
                       int64_t rows, int64_t columns)
{
    const DLDataType real = {kDLFloat, net->dtype == FA_FLOAT64 ? 64 : 32, 1};
    shape[0] = rows, shape[1] = columns;
    *out = (DLTensor){data, {kDLCPU, 0}, 2, real, shape, NULL, 0};
}

/* Gradients (Q, R, D), values (Q, R), predicted (R), then the lanes. */
static fa_status reserve(chunk *job, fa_error *error)
{
    fa_dense_run *run = job->run;
    const int64_t R = job->batch->rows, Q = job->batch->scalar_count, D = job->net->layers[0].in;
    const int64_t gradients = job->batch->gradients ? (Q * R * D * job->item + 63) / 64 * 64 : 0;
    const int64_t values = (Q * R * job->item + 63) / 64 * 64, predicted = (R * 8 + 63) / 64 * 64;
    const int64_t all = gradients + values + predicted;
    FA_TRY(fa_dense_reserve(run, all + job->lanes * job->lane_bytes, R, error));
    char *const memory = run->memory;
    fa_dense_describe(&run->gradients, run->shapes[0], memory, job->net, Q * R, D);
    fa_dense_describe(&run->values, run->shapes[1], memory + gradients, job->net, Q * R, 1);
    fa_dense_describe(&run->predicted, run->shapes[2], memory + gradients + values, job->net, R, 1);
    run->predicted.dtype = (DLDataType){kDLInt, 64, 1};
    job->scratch = memory + all;
    return FA_OK;
}

fa_status fa_dense_check_targets(const fa_dense *net, const int64_t *pairs, int64_t count,
                                 int *predicts, fa_error *error)
{
    const int64_t C = net->layers[net->count - 1].out;
    int64_t least = 0, most = -1;
    for (int64_t i = 0; i < 2 * count; i++) {
        if (pairs[i] > most) most = pairs[i];
        if (i % 2 == 0 && pairs[i] < least) least = pairs[i];
    }
    *predicts = least < 0;
    if (most < C && (C > 0 || !*predicts)) return FA_OK;
    return fa_fail(error, FA_EINVAL, "target: expected less than %lld, got %lld", (long long)C,
                   (long long)most);
}

fa_status fa_dense_not_logits(fa_head head, fa_error *error)
{
    return fa_fail(error, FA_EINVAL,
                   "output: expected a model that returns logits for output=\"%s\", got "
                   "probabilities (rows are >= 0 and sum to 1): softmax would be applied twice; "
                   "use output=\"raw\"",
                   head == FA_SOFTMAX ? "softmax" : "log_softmax");
}

fa_status fa_dense_check_logits(fa_dense_run *run, int logits, fa_error *error)
{
    if (!run->checked && run->net->head != FA_RAW && !logits) {
        return fa_dense_not_logits(run->net->head, error);
    }
    run->checked = 1;
    return FA_OK;
}

static fa_status evaluate(void *self, const fa_batch *batch, fa_evaluation *out, fa_error *error)
{
    fa_dense_run *run = self;
    chunk job = {.run = run, .net = run->net, .batch = batch, .item = fa_dense_item(run->net)};
    int predicts;
    FA_TRY(fa_dense_check_targets(job.net, batch->scalars, batch->scalar_count * batch->rows,
                                  &predicts, error));
    cut(&job);
    FA_TRY(reserve(&job, error));
    if (predicts) job.predicted = run->predicted.data;
    const double flops = run->net->flops * (double)batch->rows / (double)job.lanes;
    fa_parallel_for(job.lanes, (int64_t)(flops / FA_FLOPS_PER_ELEMENT) + 1, run_lanes, &job);
    FA_TRY(fa_dense_check_logits(run, job.logits, error));
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
    if (fa_dense_sweeps(net)) out->sweep = fa_dense_sweep;
}

void fa_dense_end(fa_dense_run *run) { free(run->memory); }
