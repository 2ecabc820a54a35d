/* sample.c -- A[e] = mean over draws j of gradient(point[e, j]) (start[e, j] - base[m])
 *
 * SmoothGrad, Expected Gradients and GradientShap as one pass of rows: for every example its
 * end row, whose value is f(input), and then its draws. Nothing is kept of a draw but its part
 * in a running mean and variance, so memory is flat in the number of draws, and every number
 * of it is keyed by (seed, id, draw), so results do not depend on batch and chunk. */
#include "sample.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    fa_sampling *job;
    fa_draws draws;
    struct {
        int64_t *active; /* (B) 0, 1, ..., B - 1                        */
        double *alpha;   /* (n + 1): 1 for the end row, .5 for the rest */
        double *ends;    /* (2, B)                                      */
        double *sums;    /* (B, 3)                                      */
    } device;
} sampling;

static int64_t padded(int64_t count) { return (count * 8 + 63) / 64 * 64; }

int64_t fa_sample_scratch(int64_t examples, int64_t draws)
{
    return padded(examples) + padded(draws + 1) + padded(2 * examples) +
           padded(FA_SPREADS * examples);
}

/* Which rows of the chunk collect.c reads: those at alpha 1, the end rows. */
static fa_rows end_rows(const sampling *run, int64_t first, int64_t count)
{
    const fa_rows rows = {.first = first,
                          .count = count,
                          .nodes = run->draws.draws + 1,
                          .levels = 1,
                          .active = run->device.active,
                          .alpha = run->device.alpha};
    return rows;
}

static fa_status generate(void *context, DLTensor *points, int64_t first, int64_t count,
                          fa_error *error)
{
    const sampling *run = context;
    const fa_sampling *job = run->job;
    const fa_chunks *chunks = &job->chunks;
    for (int64_t t = 0; t < chunks->inputs; t++) {
        const fa_sample_args args = {.out = &points[t],
                                     .start = job->start != NULL ? &job->start[t] : NULL,
                                     .index = t == 0 ? chunks->index : NULL,
                                     .scalars = t == 0 ? chunks->scalars : NULL,
                                     .input = &job->input[t],
                                     .base = &job->base[t],
                                     .target = job->target,
                                     .stdev =
                                         job->stdev != NULL ? job->stdev + t * job->examples : NULL,
                                     .member = t,
                                     .first = first,
                                     .count = count,
                                     .draws = run->draws};
        FA_TRY(chunks->backend->sample(&args, chunks->stream, error));
    }
    return FA_OK;
}

static fa_status consume(void *context, const fa_evaluation *answer, int64_t first, int64_t count,
                         fa_error *error)
{
    const sampling *run = context;
    const fa_sampling *job = run->job;
    const fa_chunks *chunks = &job->chunks;
    const fa_collect_args ends = {.ends = run->device.ends,
                                  .target = job->target,
                                  .values = answer->values,
                                  .predicted = answer->predicted,
                                  .examples = job->examples,
                                  .rows = end_rows(run, first, count)};
    FA_TRY(chunks->backend->collect(&ends, chunks->stream, error));
    for (int64_t t = 0; t < chunks->inputs && run->draws.draws > 0; t++) {
        const fa_moments_args args = {.mean = &job->mean[t],
                                      .deviation = &job->deviation[t],
                                      .gradient = answer->gradients[t],
                                      .start = job->start != NULL ? &job->start[t] : NULL,
                                      .input = &job->input[t],
                                      .base = &job->base[t],
                                      .first = first,
                                      .count = count,
                                      .multiply = job->multiply,
                                      .square = job->square,
                                      .draws = run->draws};
        FA_TRY(chunks->backend->moments(&args, chunks->stream, error));
    }
    return FA_OK;
}

/* The device's tables, from one block of the host's that is laid out alike. */
static fa_status begin(sampling *run, fa_error *error)
{
    const fa_sampling *job = run->job;
    const int64_t B = job->examples, n = job->draws.draws;
    const int64_t bytes = fa_sample_scratch(B, n);
    char *const host = calloc(1, (size_t)bytes), *const device = job->scratch;
    if (host == NULL) return fa_fail(error, FA_ENOMEM, "no memory for the tables of the draws");
    int64_t *const active = (int64_t *)(void *)host;
    double *const alpha = (double *)(void *)(host + padded(B));
    for (int64_t e = 0; e < B; e++) active[e] = e;
    for (int64_t k = 0; k <= n; k++) alpha[k] = k == 0 ? 1.0 : 0.5;
    run->device.active = (int64_t *)(void *)device;
    run->device.alpha = (double *)(void *)(device + padded(B));
    run->device.ends = (double *)(void *)(device + padded(B) + padded(n + 1));
    run->device.sums = (double *)(void *)(device + padded(B) + padded(n + 1) + padded(2 * B));
    const fa_status status =
        job->chunks.backend->upload(device, host, bytes, job->chunks.stream, error);
    free(host);
    return status;
}

static fa_status finish(sampling *run, fa_error *error)
{
    const fa_sampling *job = run->job;
    const fa_backend *backend = job->chunks.backend;
    for (int64_t t = 0; t < job->chunks.inputs; t++) {
        const fa_spread_args args = {.mean = &job->mean[t],
                                     .deviation = &job->deviation[t],
                                     .sums = run->device.sums,
                                     .draws = job->draws.draws,
                                     .variance = job->variance};
        FA_TRY(backend->spread(&args, job->chunks.stream, error));
    }
    FA_TRY(backend->download(job->output, run->device.ends, job->examples * 8, job->chunks.stream,
                             error));
    return backend->download(job->sums, run->device.sums, FA_SPREADS * job->examples * 8,
                             job->chunks.stream, error);
}

fa_status fa_sample(fa_sampling *job, fa_error *error)
{
    sampling run = {.job = job, .draws = job->draws};
    const fa_steps steps = {&run, generate, consume};
    FA_TRY(begin(&run, error));
    if (job->predict) {
        run.draws.draws = 0; /* the end rows alone */
        FA_TRY(fa_run_rows(&job->chunks, &steps, job->examples, 0, error));
        run.draws.draws = job->draws.draws;
    }
    const int64_t rows = job->examples * (job->draws.draws + 1);
    FA_TRY(fa_run_rows(&job->chunks, &steps, rows, 1, error));
    return finish(&run, error);
}

/* ---- forward only ------------------------------------------------------------------------ */

static fa_status generate_leads(void *context, DLTensor *points, int64_t first, int64_t count,
                                fa_error *error)
{
    const fa_forwarding *job = context;
    const fa_chunks *chunks = &job->chunks;
    const fa_rows rows = {.first = first,
                          .count = count,
                          .lead = job->rows,
                          .nodes = 1,
                          .lead_example = job->lead_example,
                          .lead_base = job->lead_base};
    for (int64_t t = 0; t < chunks->inputs; t++) {
        const fa_points_args args = {.out = &points[t],
                                     .index = t == 0 ? chunks->index : NULL,
                                     .scalars = t == 0 ? chunks->scalars : NULL,
                                     .input = &job->base[t],
                                     .base = &job->base[t],
                                     .target = job->target,
                                     .rows = rows};
        FA_TRY(chunks->backend->points(&args, chunks->stream, error));
    }
    return FA_OK;
}

static fa_status store(void *context, const fa_evaluation *answer, int64_t first, int64_t count,
                       fa_error *error)
{
    const fa_forwarding *job = context;
    const fa_store_args args = {
        .out = job->out, .values = answer->values, .first = first, .count = count};
    return job->chunks.backend->store(&args, job->chunks.stream, error);
}

fa_status fa_forward(fa_forwarding *job, fa_error *error)
{
    const fa_steps steps = {job, generate_leads, store};
    return fa_run_rows(&job->chunks, &steps, job->rows, 0, error);
}
