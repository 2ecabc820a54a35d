/* ascend.c -- x_{k+1} = clip(x_k + eps sign(grad f_i(x_k))); A_i -= grad f_t(x_k) (x_{k+1} - x_k)
 *
 * Adversarial Gradient Integration (Pan, Li, Zhu, IJCAI 2021), Algorithm 1, and with `sum` NULL
 * the ascent alone. Paths run in waves of consecutive (example, class); those under way are an
 * index list that shrinks, no data moves. The first evaluation of an example serves all its
 * paths. Sums are added in ascending class order. One read-back a step. */
#include "ascend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One wave: paths first .. first + count - 1, in slots 0 .. count - 1. */
typedef struct {
    fa_ascending *job;
    int64_t first, count;
    fa_climbers climbers; /* of the pass                                                        */
    enum { STEP, MIDDLE, CLOSE, LOOK } purpose;
    struct {
        fa_slot *slots;
        int64_t *active, *state; /* (S) each; value follows state, so that both are read at once */
        double *value, *norm, *total;
    } device;
    struct {
        int64_t *active, *state;
        double *value, *total;
    } host;
    DLTensor at[FA_MAX_INPUTS], sum[FA_MAX_INPUTS];
} wave;

int64_t fa_ascend_scratch(int64_t slots)
{
    return slots * (int64_t)(sizeof(fa_slot) + 3 * sizeof(double) + 2 * sizeof(int64_t));
}

/* A fresh row has up to k + 1 scalars, so fresh chunks have fewer rows. */
static int64_t fresh_rows(int64_t rows, int64_t scalars)
{
    return scalars <= 2 ? rows : 2 * rows > scalars ? 2 * rows / scalars : 1;
}

int64_t fa_ascend_pairs(int64_t rows, int64_t paths)
{
    return 2 * rows > paths + 1 ? 2 * rows : paths + 1;
}

/* ---- a pass over rows --------------------------------------------------------------------- */

static fa_climbers chunk_of(const wave *run, int64_t first, int64_t count)
{
    fa_climbers climbers = run->climbers;
    climbers.first = first;
    climbers.count = count;
    return climbers;
}

static fa_status generate(void *context, DLTensor *points, int64_t first, int64_t count,
                          fa_error *error)
{
    const wave *run = context;
    const fa_ascending *job = run->job;
    const fa_chunks *chunks = &job->chunks;
    for (int64_t t = 0; t < chunks->inputs; t++) {
        const fa_place_args args = {.out = &points[t],
                                    .index = t == 0 ? chunks->index : NULL,
                                    .scalars = t == 0 ? chunks->scalars : NULL,
                                    .start = &job->start[t],
                                    .at = &run->at[t],
                                    .step = run->purpose == MIDDLE ? &job->step[t] : NULL,
                                    .climbers = chunk_of(run, first, count)};
        FA_TRY(chunks->backend->place(&args, chunks->stream, error));
    }
    return FA_OK;
}

/* Sums of squares over all inputs of what the chunk's slots ascend. */
static fa_status measure_norms(const wave *run, const fa_evaluation *answer, int64_t count,
                               fa_error *error)
{
    const fa_chunks *chunks = &run->job->chunks;
    int add = 0;
    for (int64_t t = 0; t < chunks->inputs; t++) {
        if (answer->gradients[t] == NULL) continue;
        const fa_total_args args = {.out = run->device.norm,
                                    .values = answer->gradients[t],
                                    .first = fa_ascent_plane(&run->climbers, 0) * count,
                                    .count = run->climbers.fan * count,
                                    .square = 1,
                                    .add = add};
        FA_TRY(chunks->backend->total(&args, chunks->stream, error));
        add = 1;
    }
    return FA_OK;
}

static fa_status step(wave *run, const fa_evaluation *answer, int64_t first, int64_t count,
                      fa_error *error)
{
    fa_ascending *job = run->job;
    const fa_chunks *chunks = &job->chunks;
    if (job->l2) FA_TRY(measure_norms(run, answer, count, error));
    for (int64_t t = 0; t < chunks->inputs; t++) {
        const fa_ascend_args args = {.at = &run->at[t],
                                     .sum = job->sum != NULL ? &run->sum[t] : NULL,
                                     .step = job->step != NULL ? &job->step[t] : NULL,
                                     .state = run->device.state,
                                     .gradient = answer->gradients[t],
                                     .start = &job->start[t],
                                     .centre = &job->centre[t],
                                     .low = job->low != NULL ? &job->low[t] : NULL,
                                     .high = job->low != NULL ? &job->high[t] : NULL,
                                     .norm = job->l2 ? run->device.norm : NULL,
                                     .step_size = job->step_size,
                                     .radius = job->radius,
                                     .rule = job->rule,
                                     .restart = job->restart,
                                     .stop = job->stop,
                                     .climbers = chunk_of(run, first, count)};
        FA_TRY(chunks->backend->ascend(&args, chunks->stream, error));
    }
    return FA_OK;
}

/* The middle of a step counts whole; the end of a path is the second half of its last step. */
static fa_status contribute(wave *run, const fa_evaluation *answer, int64_t first, int64_t count,
                            fa_error *error)
{
    const fa_ascending *job = run->job;
    const fa_chunks *chunks = &job->chunks;
    for (int64_t t = 0; t < chunks->inputs; t++) {
        if (answer->gradients[t] == NULL) continue;
        const fa_contribute_args args = {.sum = &run->sum[t],
                                         .step = &job->step[t],
                                         .gradient = answer->gradients[t],
                                         .factor = run->purpose == MIDDLE ? 1.0 : 0.5,
                                         .climbers = chunk_of(run, first, count)};
        FA_TRY(chunks->backend->contribute(&args, chunks->stream, error));
    }
    return FA_OK;
}

static fa_status consume(void *context, const fa_evaluation *answer, int64_t first, int64_t count,
                         fa_error *error)
{
    wave *run = context;
    const fa_chunks *chunks = &run->job->chunks;
    if (run->purpose != MIDDLE) {
        const fa_arrive_args args = {.state = run->device.state,
                                     .value = run->device.value,
                                     .values = answer->values,
                                     .predicted = answer->predicted,
                                     .climbers = chunk_of(run, first, count)};
        if (answer->predicted == NULL) {
            return fa_fail(error, FA_EINVAL,
                           "model: expected the predicted classes, which end the paths, too");
        }
        FA_TRY(chunks->backend->arrive(&args, chunks->stream, error));
    }
    if (run->purpose == STEP) return step(run, answer, first, count, error);
    if (run->purpose == LOOK) return FA_OK;
    return contribute(run, answer, first, count, error);
}

/* Evaluate the rows of the host's active list. */
static fa_status run_pass(wave *run, int64_t rows, fa_error *error)
{
    fa_ascending *job = run->job;
    fa_chunks *chunks = &job->chunks;
    const fa_climbers *climbers = &run->climbers;
    const fa_steps steps = {run, generate, consume};
    const int64_t Q = climbers->explained + climbers->fan * climbers->ascents;
    const int64_t usual = chunks->rows, tried = fresh_rows(usual, Q);
    FA_TRY(chunks->backend->upload(run->device.active, run->host.active, rows * 8, chunks->stream,
                                   error));
    chunks->scalar_count = Q;
    chunks->rows = tried;
    FA_TRY(fa_run_rows(chunks, &steps, rows, run->purpose != LOOK, error));
    /* rows that did not fit lower the usual number in proportion */
    const int64_t lowered = usual / tried * chunks->rows;
    chunks->rows = chunks->rows == tried ? usual : lowered > 0 ? lowered : 1;
    for (int64_t r = 0; run->purpose != LOOK && r < rows; r++) {
        const int64_t e = job->plan[run->first + run->host.active[r]].example;
        job->gradients[e] += Q;
        job->units[e] += 1 + Q;
    }
    return FA_OK;
}

/* ---- a wave -------------------------------------------------------------------------------- */

/* Tables in one block of each side's memory, and views of what is kept of every path. */
static fa_status begin(wave *run, fa_error *error)
{
    fa_ascending *job = run->job;
    const int64_t S = job->slots;
    char *memory = job->scratch;
    run->device.slots = (fa_slot *)(void *)memory;
    run->device.active = (int64_t *)(void *)(memory + S * (int64_t)sizeof(fa_slot));
    run->device.state = run->device.active + S;
    run->device.value = (double *)(void *)(run->device.state + run->count);
    run->device.norm = (double *)(void *)(run->device.state + 2 * S);
    run->device.total = run->device.norm + S;
    for (int64_t t = 0; t < job->chunks.inputs; t++) {
        const int64_t D = job->start[t].shape[1];
        run->at[t] = job->at[t];
        if (job->keep_at) {
            run->at[t].byte_offset += (uint64_t)(run->first * D * job->at[t].dtype.bits / 8);
        }
        if (job->sum == NULL) continue;
        run->sum[t] = job->sum[t];
        if (job->keep_sum) {
            run->sum[t].byte_offset += (uint64_t)(run->first * D * job->sum[t].dtype.bits / 8);
        }
    }
    return job->chunks.backend->upload(run->device.slots, job->plan + run->first,
                                       run->count * (int64_t)sizeof(fa_slot), job->chunks.stream,
                                       error);
}

/* Read back where the evaluated slots are; those that moved on become the active ones. */
static fa_status settle(wave *run, int64_t *rows, fa_error *error)
{
    fa_ascending *job = run->job;
    const int64_t fan = run->climbers.fan, before = *rows * fan;
    int64_t *const active = run->host.active;
    FA_TRY(job->chunks.backend->download(run->host.state, run->device.state, run->count * 16,
                                         job->chunks.stream, error));
    if (run->climbers.fresh) { /* rows stood for all slots */
        memcpy(job->initial + run->first, run->host.value, (size_t)run->count * sizeof(double));
        for (int64_t s = 0; s < before; s++) active[s] = s;
    }
    *rows = 0;
    for (int64_t i = 0; i < before; i++) {
        const int64_t s = active[i], state = run->host.state[s];
        const int done = job->stop && (state & FA_SLOT_REACHED);
        if (state & FA_SLOT_BROKEN) {
            job->outcome[run->first + s] = FA_ASCENT_BROKEN;
        } else if (done || !(state & FA_SLOT_MOVED)) {
            job->outcome[run->first + s] =
                state & FA_SLOT_REACHED ? FA_ASCENT_REACHED : FA_ASCENT_STALLED;
        } else {
            job->steps[run->first + s]++;
            active[(*rows)++] = s;
        }
    }
    job->chunks.unfinished -= before - *rows;
    run->climbers.fan = 1;
    run->climbers.fresh = 0;
    return FA_OK;
}

/* Of paths that made all their steps: f_t at the end, whether it is the goal, and by the
 * trapezoid the second half of the last step. */
static fa_status close_open(wave *run, int64_t rows, fa_error *error)
{
    fa_ascending *job = run->job;
    run->purpose = job->sum != NULL && job->rule == FA_STEP_TRAPEZOID ? CLOSE : LOOK;
    run->climbers.explained = 1;
    run->climbers.ascents = 0;
    FA_TRY(run_pass(run, rows, error));
    FA_TRY(job->chunks.backend->download(run->host.state, run->device.state, run->count * 16,
                                         job->chunks.stream, error));
    for (int64_t i = 0; i < rows; i++) {
        const int64_t s = run->host.active[i];
        const int reached = (run->host.state[s] & FA_SLOT_REACHED) != 0;
        job->outcome[run->first + s] = reached ? FA_ASCENT_REACHED : FA_ASCENT_OPEN;
    }
    job->chunks.unfinished -= rows;
    return FA_OK;
}

/* Sums of the contributions: of each path over features, of each example over paths. */
static fa_status add_up(wave *run, fa_error *error)
{
    fa_ascending *job = run->job;
    const fa_backend *backend = job->chunks.backend;
    const int64_t fan = run->count < job->paths ? run->count : job->paths;
    for (int64_t s = 0; s < run->count; s++) {
        job->final[run->first + s] = run->host.value[s];
        job->predicted[run->first + s] = run->host.state[s] >> FA_SLOT_CLASS;
    }
    if (job->sum == NULL) return FA_OK;
    for (int64_t t = 0; t < job->chunks.inputs; t++) {
        const fa_total_args total = {
            .out = run->device.total, .values = &run->sum[t], .count = run->count, .add = t > 0};
        FA_TRY(backend->total(&total, job->chunks.stream, error));
        if (job->result == NULL) continue;
        const fa_combine_args combine = {.result = &job->result[t],
                                         .sum = &run->sum[t],
                                         .first = job->plan[run->first].example,
                                         .count = run->count / fan,
                                         .fan = fan,
                                         .scale = job->scale};
        FA_TRY(backend->combine(&combine, job->chunks.stream, error));
    }
    FA_TRY(backend->download(run->host.total, run->device.total, run->count * 8, job->chunks.stream,
                             error));
    for (int64_t s = 0; s < run->count; s++) {
        job->total[run->first + s] = run->host.total[s];
        if (!isfinite(run->host.total[s])) job->outcome[run->first + s] = FA_ASCENT_BROKEN;
    }
    return FA_OK;
}

static fa_status run_wave(wave *run, fa_error *error)
{
    fa_ascending *job = run->job;
    const int64_t fan = run->count < job->paths ? run->count : job->paths;
    int64_t rows = run->count / fan;
    const fa_climbers at_start = {.fan = fan,
                                  .explained = job->sum != NULL || !job->ascents,
                                  .ascents = job->ascents,
                                  .fresh = 1,
                                  .active = run->device.active,
                                  .slots = run->device.slots};
    run->climbers = at_start;
    for (int64_t e = 0; e < rows; e++) run->host.active[e] = e * fan;
    for (int64_t k = 0; k < job->max_steps && rows > 0; k++) {
        run->purpose = STEP;
        FA_TRY(run_pass(run, rows, error));
        FA_TRY(settle(run, &rows, error));
        if (job->sum == NULL || job->rule != FA_STEP_MIDPOINT || rows == 0) continue;
        const fa_climbers climbers = run->climbers;
        run->purpose = MIDDLE;
        run->climbers.explained = 1;
        run->climbers.ascents = 0;
        FA_TRY(run_pass(run, rows, error));
        run->climbers = climbers;
    }
    if (rows > 0) FA_TRY(close_open(run, rows, error));
    return add_up(run, error);
}

/* Whole examples, or, where not even one fits, some paths of one. */
static int64_t wave_size(const fa_ascending *job, int64_t first)
{
    const int64_t k = job->paths, left = job->examples * k - first;
    const int64_t fits = job->slots >= k ? job->slots / k * k : job->slots;
    const int64_t most = job->slots >= k ? left : k - first % k;
    return fits < most ? fits : most;
}

fa_status fa_ascend(fa_ascending *job, fa_error *error)
{
    const int64_t P = job->examples * job->paths;
    int64_t *const memory = calloc((size_t)job->slots, 4 * sizeof(int64_t));
    fa_status status = FA_OK;
    if (memory == NULL) return fa_fail(error, FA_ENOMEM, "no memory for the tables of the paths");
    job->chunks.unfinished = P;
    for (int64_t first = 0; first < P && status == FA_OK;) {
        wave run = {.job = job, .first = first, .count = wave_size(job, first)};
        run.host.active = memory;
        run.host.state = memory + job->slots;
        run.host.value = (double *)(void *)(run.host.state + run.count);
        run.host.total = (double *)(void *)(memory + 3 * job->slots);
        status = begin(&run, error);
        if (status == FA_OK) status = run_wave(&run, error);
        first += run.count;
    }
    free(memory);
    return status;
}
