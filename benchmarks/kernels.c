/* kernels.c -- seconds of the native loops, and of plain loops over the same memory
 *
 *   kernels DTYPE THREADS BYTES ROUNDS      lines of name, seconds, bytes, for kernels.py
 *
 * A yardstick does nothing but move memory: it reads, writes (through the caches, or past them),
 * copies or adds arrays as large as those of the loops beside it, by the widest instructions of
 * this machine and on as many threads.
 * Everything is run in turn, round by round; the best of all rounds counts, as other users of a
 * machine only ever add time. Bytes are those that must move: every array once, and nothing for
 * the read of a line that is about to be written, which streaming stores avoid. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "cpu/cpu.h"

#define FEATURES ((int64_t)3 * 128 * 128)
#define NODES 50
#define LEAST_SECONDS 2e-3 /* of a measurement: shorter work is repeated */

/* ---- the yardsticks ----------------------------------------------------------------------- */

typedef float wide __attribute__((vector_size(64)));

typedef struct {
    wide *to;
    const wide *from, *other;
    int64_t lines;
    wide sum[FA_MAX_THREADS]; /* so that no read is left out */
} memory;

static void read_all(void *context, int64_t begin, int64_t end)
{
    memory *const all = context;
    wide a = {0}, b = {0}, c = {0}, d = {0};
    int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
        a += all->from[i];
        b += all->from[i + 1];
        c += all->from[i + 2];
        d += all->from[i + 3];
    }
    for (; i < end; i++) a += all->from[i];
    all->sum[begin * FA_MAX_THREADS / all->lines] = a + b + c + d;
}

static void write_all(void *context, int64_t begin, int64_t end)
{
    memory *const all = context;
    const wide value = {1};
    for (int64_t i = begin; i < end; i++) all->to[i] = value;
}

static void bypass_all(void *context, int64_t begin, int64_t end)
{
#ifdef __x86_64__
    memory *const all = context;
    const __m128 value = _mm_set1_ps(1);
    for (float *to = (float *)(all->to + begin); to < (float *)(all->to + end); to += 4) {
        _mm_stream_ps(to, value);
    }
    _mm_sfence();
#else
    write_all(context, begin, end);
#endif
}

static void copy_all(void *context, int64_t begin, int64_t end)
{
    memory *const all = context;
    for (int64_t i = begin; i < end; i++) all->to[i] = all->from[i];
}

static void add_all(void *context, int64_t begin, int64_t end)
{
    memory *const all = context;
    for (int64_t i = begin; i < end; i++) all->to[i] = all->from[i] + all->other[i];
}

/* ---- the loops ---------------------------------------------------------------------------- */

typedef struct {
    DLDataType dtype, acc;
    int64_t rows, examples; /* of a chunk of B examples, of B examples of as many bytes */
    DLTensor points, gradient, input, base, result, deviation, values;
    int64_t *active, *level;
    double alpha[NODES], weight[NODES], *stdev, *out;
    memory memory;
} chunk;

static fa_error error;

static void points(chunk *c)
{
    const fa_points_args args = {.out = &c->points,
                                 .input = &c->input,
                                 .base = &c->base,
                                 .rows = {.count = c->rows,
                                          .nodes = NODES,
                                          .levels = 1,
                                          .active = c->active,
                                          .alpha = c->alpha,
                                          .weight = c->weight}};
    fa_cpu_points(&args, NULL, &error);
}

static void accumulate(chunk *c)
{
    const fa_accumulate_args args = {.result = &c->result,
                                     .gradient = &c->gradient,
                                     .examples = c->examples,
                                     .rows = {.count = c->rows,
                                              .nodes = NODES,
                                              .levels = 1,
                                              .active = c->active,
                                              .alpha = c->alpha,
                                              .weight = c->weight}};
    fa_cpu_accumulate(&args, NULL, &error);
}

static void sample_with(chunk *c, const double *stdev, int along_path)
{
    const fa_sample_args args = {
        .out = &c->points,
        .input = &c->input,
        .base = &c->base,
        .stdev = stdev,
        .count = c->rows,
        .draws = {.draws = NODES, .along_path = along_path, .ids = c->active}};
    fa_cpu_sample(&args, NULL, &error);
}

static void sample(chunk *c) { sample_with(c, NULL, 1); }
static void noise(chunk *c) { sample_with(c, c->stdev, 0); }

static void moments(chunk *c)
{
    const fa_moments_args args = {.mean = &c->result,
                                  .deviation = &c->deviation,
                                  .gradient = &c->gradient,
                                  .input = &c->input,
                                  .base = &c->base,
                                  .count = c->rows,
                                  .multiply = 1,
                                  .draws = {.draws = NODES, .ids = c->active}};
    fa_cpu_moments(&args, NULL, &error);
}

static void measure(chunk *c)
{
    const fa_measure_args args = {.out = c->out,
                                  .updated = c->result.data,
                                  .previous = c->values.data,
                                  .input = &c->input,
                                  .base = &c->base,
                                  .active = c->active,
                                  .count = c->examples,
                                  .group = 1,
                                  .multiply = 1};
    fa_cpu_measure(&args, NULL, &error);
}

static void finish(chunk *c)
{
    const fa_finish_args args = {.out = &c->values,
                                 .result = &c->result,
                                 .input = &c->input,
                                 .base = &c->base,
                                 .level = c->level,
                                 .multiply = 1};
    fa_cpu_finish(&args, NULL, &error);
}

static void reads(chunk *c) { fa_parallel_for(c->memory.lines, 16, read_all, &c->memory); }
static void writes(chunk *c) { fa_parallel_for(c->memory.lines, 16, write_all, &c->memory); }
static void bypasses(chunk *c) { fa_parallel_for(c->memory.lines, 16, bypass_all, &c->memory); }
static void copies(chunk *c) { fa_parallel_for(c->memory.lines, 16, copy_all, &c->memory); }
static void adds(chunk *c) { fa_parallel_for(c->memory.lines, 16, add_all, &c->memory); }

/* ---- the chunk ---------------------------------------------------------------------------- */

static void *filled(int64_t bytes)
{
    void *room = NULL;
    if (posix_memalign(&room, 64, (size_t)bytes + 64) != 0) exit(1);
    /* no page is fresh, and no line so plain that a memory controller could compress it */
    for (int64_t i = 0; i < bytes / 2; i++)
        ((uint16_t *)room)[i] = (uint16_t)(0x3800 + (i * 40503 >> 4) % 0x400);
    return room;
}

static DLTensor tensor(DLDataType dtype, int64_t rows)
{
    int64_t *const shape = filled(2 * sizeof(int64_t));
    shape[0] = rows;
    shape[1] = FEATURES;
    return (DLTensor){.data = filled(rows * FEATURES * dtype.bits / 8),
                      .device = {kDLCPU, 0},
                      .ndim = 2,
                      .dtype = dtype,
                      .shape = shape};
}

static chunk make(const char *name, int64_t bytes)
{
    const int wide_type = strcmp(name, "float64") == 0, half = strstr(name, "16") != NULL;
    const DLDataType dtype = {name[0] == 'b' ? kDLBfloat : kDLFloat,
                              (uint8_t)(wide_type ? 64
                                        : half    ? 16
                                                  : 32),
                              1};
    const DLDataType acc = {kDLFloat, wide_type ? 64 : 32, 1}, f64 = {kDLFloat, 64, 1};
    const int64_t row = FEATURES * dtype.bits / 8;
    chunk c = {.dtype = dtype, .acc = acc, .rows = bytes / row};
    c.examples = c.rows;
    c.points = tensor(dtype, c.rows);
    c.gradient = tensor(dtype, c.rows);
    c.input = tensor(dtype, c.examples);
    c.base = tensor(dtype, 1);
    c.result = tensor(acc, c.examples);
    c.values = tensor(acc, c.examples);
    c.deviation = tensor(f64, c.rows / NODES + 1);
    c.active = filled(c.examples * 8);
    c.level = filled(c.examples * 8);
    c.stdev = filled(c.examples * 8);
    c.out = filled(c.examples * FA_MEASURES * 8);
    for (int64_t e = 0; e < c.examples; e++) {
        c.active[e] = e;
        c.level[e] = 0;
        c.stdev[e] = 1;
    }
    for (int k = 0; k < NODES; k++) {
        c.alpha[k] = (k + 0.5) / NODES;
        c.weight[k] = 1.0 / NODES;
    }
    c.memory = (memory){.to = c.points.data,
                        .from = c.gradient.data,
                        .other = c.input.data,
                        .lines = c.rows * row / (int64_t)sizeof(wide)};
    return c;
}

/* ---- the clock ---------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double seconds(void (*work)(chunk *), chunk *c)
{
    const double start = now();
    int64_t times = 0;
    do {
        work(c);
        times++;
    } while (now() - start < LEAST_SECONDS);
    return (now() - start) / (double)times;
}

int main(int count, char **words)
{
    if (count != 5) return 2;
    chunk c = make(words[1], atoll(words[3]));
    const int rounds = atoi(words[4]);
    fa_set_thread_count(atoi(words[2]));
    const double T = c.dtype.bits / 8, ACC = c.acc.bits / 8;
    const double plane = (double)FEATURES, rows = (double)c.rows * plane,
                 some = ceil((double)c.rows / NODES) * plane;
    const double all = (double)c.examples * plane;
    const struct {
        const char *name;
        void (*work)(chunk *);
        double bytes;
    } list[] = {
        {"read", reads, rows * T},
        {"write", writes, rows * T},
        {"bypass", bypasses, rows * T},
        {"copy", copies, 2 * rows * T},
        {"add", adds, 3 * rows * T},
        {"points", points, (rows + some + plane) * T},
        {"accumulate", accumulate, rows * T + 2 * some * ACC},
        {"sample", sample, (rows + some + plane) * T},
        {"noise", noise, (rows + some + plane) * T},
        {"moments", moments, (rows + some + plane) * T + 2 * some * (ACC + 8)},
        {"measure", measure, all * (T + 2 * ACC) + plane * T},
        {"finish", finish, all * (T + 2 * ACC) + plane * T},
    };
    enum { LINES = sizeof(list) / sizeof(list[0]) };
    double best[LINES];
    for (int i = 0; i < LINES; i++) best[i] = INFINITY;
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < LINES; i++) best[i] = fmin(best[i], seconds(list[i].work, &c));
    }
    for (int i = 0; i < LINES; i++) {
        printf("%s %.6e %.0f\n", list[i].name, best[i], list[i].bytes);
    }
    return 0;
}
