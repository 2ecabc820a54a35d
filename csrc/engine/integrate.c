/* integrate.c -- A[e] = (x - x') * sum_k weight[k] * gradient(x' + alpha[k] (x - x'))
 *
 * Integrated Gradients (Sundararajan et al., ICML 2017) and, with one node at alpha 1,
 * Saliency and InputXGradient. Rows lie example-major over (example, node), and chunks.c
 * evaluates them in ascending order, so the result does not depend on the chunk size when the
 * gradients do not. The end points of the gap ride along as rows of weight 0. */
#include "integrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FA_SWEPT_NODES 8    /* at least: fewer points cost less than a line       */
#define FA_SWEPT_MOST 16384 /* at most: chunks of points can be stopped in between */
#define FA_SWEPT_ROWS 8192  /* of all lines at a time                              */

/* Small tables that exist twice, laid out alike: in the host's memory and the device's. */
typedef struct {
    int64_t *active;  /* (A) examples not finished, ascending              */
    int64_t *lead;    /* (U) examples whose base has a row                 */
    int64_t *reached; /* (B) the level at which an example finished        */
    double *alpha;    /* (N) nodes of the pass                             */
    double *weight;   /* (L, N)                                            */
    double *sums;     /* (A, 4) of fa_measure_args                         */
    double *ends;     /* (2, B) model output at the input and at the base  */
} tables;

typedef struct {
    fa_integration *job;
    fa_rows rows; /* of the current pass */
    int64_t active_count;
    tables host, device;
    fa_behind at;             /* where the rows lie and their gradients are summed */
    int64_t planes;           /* P           */
    int64_t *target, *leader; /* (B, 2), (B) */
    fa_trend *trend;          /* (B)         */
    void *memory;             /* behind the host's tables */
} integration;

static fa_status begin(integration *run, fa_integration *job, fa_error *error);
static fa_status predict(integration *run, fa_error *error);
static fa_status prepare(integration *run, int64_t pass, fa_error *error);
static fa_status run_pass(integration *run, int gradients, fa_error *error);
static fa_status settle(integration *run, int64_t pass, fa_error *error);
static fa_status finish(integration *run, fa_error *error);

fa_status fa_integrate(fa_integration *job, fa_error *error)
{
    integration run = {0};
    fa_status status = begin(&run, job, error);
    if (status == FA_OK && job->predict) status = predict(&run, error);

    const int64_t passes = fa_schedule_passes(&job->schedule);
    for (int64_t pass = 0; pass < passes && run.active_count > 0 && status == FA_OK; pass++) {
        status = prepare(&run, pass, error);
        if (status == FA_OK) status = run_pass(&run, 1, error);
        if (status == FA_OK) status = settle(&run, pass, error);
    }
    if (status == FA_OK) status = finish(&run, error);
    free(run.memory);
    return status;
}

static fa_rows chunk_of(const integration *run, int64_t first, int64_t count)
{
    fa_rows rows = run->rows;
    rows.first = first;
    rows.count = count;
    return rows;
}

static fa_status generate(void *context, DLTensor *points, int64_t first, int64_t count,
                          fa_error *error)
{
    const integration *run = context;
    const fa_integration *job = run->job;
    const fa_chunks *chunks = &job->chunks;
    for (int64_t t = 0; t < chunks->inputs; t++) {
        const fa_points_args args = {.out = &points[t],
                                     .index = t == 0 ? chunks->index : NULL,
                                     .scalars = t == 0 ? chunks->scalars : NULL,
                                     .input = &run->at.input[t],
                                     .base = &run->at.base[t],
                                     .target = job->target,
                                     .rows = chunk_of(run, first, count)};
        FA_TRY(chunks->backend->points(&args, chunks->stream, error));
    }
    return FA_OK;
}

static fa_status consume(void *context, const fa_evaluation *answer, int64_t first, int64_t count,
                         fa_error *error)
{
    const integration *run = context;
    const fa_integration *job = run->job;
    const fa_chunks *chunks = &job->chunks;
    const fa_collect_args ends = {.ends = run->device.ends,
                                  .target = job->target,
                                  .values = answer->values,
                                  .predicted = answer->predicted,
                                  .examples = job->examples,
                                  .rows = chunk_of(run, first, count)};
    FA_TRY(chunks->backend->collect(&ends, chunks->stream, error));
    for (int64_t t = 0; t < chunks->inputs; t++) {
        if (answer->gradients[t] == NULL) continue;
        const fa_accumulate_args args = {.result = &run->at.sum[t],
                                         .gradient = answer->gradients[t],
                                         .examples = job->examples,
                                         .rows = chunk_of(run, first, count)};
        FA_TRY(chunks->backend->accumulate(&args, chunks->stream, error));
    }
    return FA_OK;
}

/* The same for `count` whole examples, by a model that sums along lines. */
static fa_status sweep_lines(integration *run, int64_t first, int64_t count, fa_error *error)
{
    fa_integration *job = run->job;
    const fa_model *model = job->chunks.model;
    const int64_t nodes = run->rows.nodes;
    fa_evaluation answer = {0};
    fa_lines lines = {.input = run->at.input,
                      .base = run->at.base,
                      .sum = run->at.sum,
                      .target = run->target,
                      .rows = chunk_of(run, 0, count * nodes)};
    lines.rows.lead = 0;
    lines.rows.active = run->host.active + first;
    lines.rows.alpha = run->host.alpha;
    lines.rows.weight = run->host.weight;
    FA_TRY(model->sweep(model->self, &lines, &answer, error));
    const fa_status status =
        consume(run, &answer, run->rows.lead + first * nodes, count * nodes, error);
    model->release(model->self);
    job->swept = 1;
    return status;
}

static fa_status sweep(integration *run, fa_error *error)
{
    const int64_t nodes = run->rows.nodes, most = FA_SWEPT_ROWS / nodes;
    int64_t rows = most > 1 ? most : 1;
    for (int64_t first = 0; first < run->active_count;) {
        const int64_t left = run->active_count - first, count = left < rows ? left : rows;
        const fa_status status = sweep_lines(run, first, count, error);
        if (status == FA_ENOMEM && count > 1) {
            rows = count / 2;
            continue;
        }
        FA_TRY(status);
        first += count;
    }
    return FA_OK;
}

/* A line costs as much as a few points do. */
static int sweeps(const integration *run)
{
    const int64_t nodes = run->rows.nodes;
    return run->job->chunks.model->sweep != NULL && nodes >= FA_SWEPT_NODES &&
           nodes <= FA_SWEPT_MOST;
}

static fa_status run_pass(integration *run, int gradients, fa_error *error)
{
    const fa_steps steps = {run, generate, consume};
    const int swept = gradients && sweeps(run);
    const int64_t alone = swept ? 0 : run->active_count * run->rows.nodes;
    FA_TRY(fa_run_rows(&run->job->chunks, &steps, run->rows.lead + alone, gradients, error));
    return swept ? sweep(run, error) : FA_OK;
}

/* The class with the highest output at the input, written to `target`; the value there is
 * f(input), so no pass needs a row for it again. */
static fa_status predict(integration *run, fa_error *error)
{
    fa_integration *job = run->job;
    const double alpha = 1.0, weight = 0.0;
    run->rows.lead = 0;
    run->rows.nodes = run->rows.levels = 1;
    FA_TRY(job->chunks.backend->upload(run->device.alpha, &alpha, sizeof(alpha), job->chunks.stream,
                                       error));
    FA_TRY(job->chunks.backend->upload(run->device.weight, &weight, sizeof(weight),
                                       job->chunks.stream, error));
    return run_pass(run, 0, error);
}

/* Whose row at the base speaks for whom: with a shared base one example for each distinct
 * (plus, minus), else everybody for himself. Writes leader (B) and returns the leads (U). */
static fa_status choose_leads(integration *run, int64_t *leads, fa_error *error)
{
    const fa_integration *job = run->job;
    int64_t *const target = run->target;
    FA_TRY(job->chunks.backend->download(target, job->target, 2 * job->examples * 8,
                                         job->chunks.stream, error));
    *leads = 0;
    for (int64_t e = 0; e < job->examples; e++) {
        int64_t u = job->shared_base ? 0 : *leads;
        while (u < *leads && memcmp(target + 2 * run->host.lead[u], target + 2 * e, 16) != 0) u++;
        if (u == *leads) run->host.lead[(*leads)++] = e;
        run->leader[e] = run->host.lead[u];
    }
    if (!job->completeness || job->known != NULL || fa_schedule_has_base(&job->schedule)) {
        *leads = 0;
    }
    return FA_OK;
}

static fa_status prepare(integration *run, int64_t pass, fa_error *error)
{
    fa_integration *job = run->job;
    const fa_backend *backend = job->chunks.backend;
    const int64_t levels = run->rows.levels = job->schedule.levels;
    const int end_row =
        pass == 0 && !job->predict && job->known == NULL && !fa_schedule_has_input(&job->schedule);
    run->rows.lead = 0;
    if (pass == 0) FA_TRY(choose_leads(run, &run->rows.lead, error));
    FA_TRY(fa_schedule_pass(&run->rows.nodes, run->host.alpha, run->host.weight, &job->schedule,
                            pass, end_row, error));
    const int64_t nodes = run->rows.nodes;
    FA_TRY(
        backend->upload(run->device.alpha, run->host.alpha, nodes * 8, job->chunks.stream, error));
    FA_TRY(backend->upload(run->device.weight, run->host.weight, levels * nodes * 8,
                           job->chunks.stream, error));
    FA_TRY(backend->upload(run->device.lead, run->host.lead, run->rows.lead * 8, job->chunks.stream,
                           error));
    return FA_OK;
}

/* After the first pass: the values at the end points. */
static void read_ends(integration *run)
{
    fa_integration *job = run->job;
    const int64_t groups = job->examples / job->group;
    const int own = fa_schedule_has_base(&job->schedule);
    for (int64_t e = 0; e < groups; e++) {
        const double *const ends = job->known != NULL ? job->known : run->host.ends;
        const int64_t at = groups + (own || job->known != NULL ? e : run->leader[e]);
        job->output[e] = ends[e];
        job->base_output[e] = job->completeness ? ends[at] : NAN;
    }
}

/* What `level` sums to in the space of the attribution, of the examples not finished. */
static fa_status pull(integration *run, int64_t level, fa_error *error)
{
    const fa_model *model = run->job->chunks.model;
    if (run->job->behind.sum == NULL) return FA_OK;
    return model->pull(model->self, run->host.active, run->active_count, level, error);
}

static fa_status settle(integration *run, int64_t pass, fa_error *error)
{
    fa_integration *job = run->job;
    const fa_backend *backend = job->chunks.backend;
    const int64_t level = job->schedule.opening + pass, count = run->active_count / job->group;
    const int last = !job->adaptive || level == job->schedule.levels - 1;

    if (pass == 0 && level > 0) FA_TRY(pull(run, level - 1, error));
    FA_TRY(pull(run, level, error));
    memset(run->host.sums, 0, (size_t)(count * FA_MEASURES) * sizeof(double));
    FA_TRY(backend->upload(run->device.sums, run->host.sums, count * FA_MEASURES * 8,
                           job->chunks.stream, error));
    for (int64_t t = 0; t < job->chunks.inputs; t++) {
        const int64_t item = job->result[t].dtype.bits / 8;
        char *const planes = fa_data(&job->result[t]);
        const int64_t plane = job->examples * job->input[t].shape[1] * item;
        const int64_t now = level % run->planes, before = (level - 1) % run->planes;
        const fa_measure_args args = {.out = run->device.sums,
                                      .updated = planes + now * plane,
                                      .previous = level > 0 ? planes + before * plane : NULL,
                                      .input = &job->input[t],
                                      .base = &job->base[t],
                                      .active = run->device.active,
                                      .count = count,
                                      .group = job->group,
                                      .multiply = job->multiply};
        FA_TRY(backend->measure(&args, job->chunks.stream, error));
    }
    FA_TRY(backend->download(run->host.sums, run->device.sums, count * FA_MEASURES * 8,
                             job->chunks.stream, error));
    if (pass == 0) {
        FA_TRY(backend->download(run->host.ends, run->device.ends, 2 * job->examples * 8,
                                 job->chunks.stream, error));
        read_ends(run);
    }
    run->active_count = fa_settle(job, run->host.active, run->host.reached, run->trend, count,
                                  run->host.sums, level, last);
    return backend->upload(run->device.active, run->host.active, run->active_count * 8,
                           job->chunks.stream, error);
}

static fa_status finish(integration *run, fa_error *error)
{
    fa_integration *job = run->job;
    for (int64_t e = 0; e < job->examples; e++) run->host.reached[e] %= run->planes;
    FA_TRY(job->chunks.backend->upload(run->device.reached, run->host.reached, job->examples * 8,
                                       job->chunks.stream, error));
    for (int64_t t = 0; t < job->chunks.inputs; t++) {
        const fa_finish_args args = {.out = &job->values[t],
                                     .result = &job->result[t],
                                     .input = &job->input[t],
                                     .base = &job->base[t],
                                     .level = run->device.reached,
                                     .multiply = job->multiply,
                                     .absolute = job->absolute};
        FA_TRY(job->chunks.backend->finish(&args, job->chunks.stream, error));
    }
    return FA_OK;
}

static int64_t lay_out(tables *out, void *block, const fa_schedule *schedule, int64_t examples)
{
    const int64_t nodes = fa_schedule_most_nodes(schedule);
    const struct {
        void *field;
        int64_t count;
    } list[] = {
        {&out->active, examples},
        {&out->lead, examples},
        {&out->reached, examples},
        {&out->alpha, nodes},
        {&out->weight, nodes * schedule->levels},
        {&out->sums, examples * FA_MEASURES},
        {&out->ends, examples * 2},
    };
    int64_t used = 0;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        void *const at = (char *)block + used;
        memcpy(list[i].field, &at, sizeof(at));
        used += (list[i].count * 8 + 63) / 64 * 64;
    }
    return used;
}

int64_t fa_integrate_planes(const fa_schedule *schedule, int behind)
{
    return behind && schedule->levels > 2 ? 2 : schedule->levels;
}

int64_t fa_integrate_scratch(const fa_schedule *schedule, int64_t examples)
{
    tables unused;
    char origin;
    return lay_out(&unused, &origin, schedule, examples);
}

static fa_status begin(integration *run, fa_integration *job, fa_error *error)
{
    const int64_t bytes = fa_integrate_scratch(&job->schedule, job->examples);
    run->job = job;
    run->at = job->behind;
    if (job->behind.sum == NULL) run->at = (fa_behind){job->input, job->base, job->result};
    run->planes = fa_integrate_planes(&job->schedule, job->behind.sum != NULL);
    run->memory = malloc((size_t)(bytes + 5 * job->examples * 8));
    if (run->memory == NULL) {
        return fa_fail(error, FA_ENOMEM, "no memory for the tables of %lld examples",
                       (long long)job->examples);
    }
    lay_out(&run->host, run->memory, &job->schedule, job->examples);
    lay_out(&run->device, job->scratch, &job->schedule, job->examples);
    run->target = (int64_t *)((char *)run->memory + bytes);
    run->leader = run->target + 2 * job->examples;
    run->trend = memset(run->leader + job->examples, 0, (size_t)job->examples * sizeof(fa_trend));
    run->rows.lead_example = run->device.lead;
    run->rows.active = run->device.active;
    run->rows.alpha = run->device.alpha;
    run->rows.weight = run->device.weight;
    run->active_count = job->examples;
    for (int64_t e = 0; e < job->examples; e++) run->host.active[e] = e;
    return job->chunks.backend->upload(run->device.active, run->host.active, job->examples * 8,
                                       job->chunks.stream, error);
}
