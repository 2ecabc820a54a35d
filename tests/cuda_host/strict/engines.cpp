/* engines.cpp -- csrc/engine/ with a model in C++ on both backends: the same bits of everything
 * that a caller gets, whatever the chunks. */
#include "engine.h"

extern "C" {
#include "engine/integrate.h"
#include "engine/sample.h"
}

namespace
{

struct integrate_case {
    int64_t B, group, rows, most;
    std::vector<int64_t> widths;
    fa_rule rule;
    int64_t steps;
    int adaptive, predict, versus, shared_base, multiply, absolute;
};

void integrate_twice(const setting &round, const integrate_case &c)
{
    fa_error error = {};
    fa_schedule schedule;
    CHECK(fa_schedule_init(&schedule, c.rule, c.steps, c.adaptive, &error) == FA_OK);
    const int64_t scratch_bytes = fa_integrate_scratch(&schedule, c.B), G = c.B / c.group;
    shared_memory memory(round, c.widths, c.B, c.shared_base ? 1 : c.B, c.rows,
                         targets(c.B, c.predict, c.versus));
    tensors result, values;
    for (const int64_t D : c.widths) {
        result.add(sums_dtype(round.dtype), schedule.levels * c.B, D, true);
        values.add(sums_dtype(round.dtype), c.B, D, true);
    }
    twin_table<unsigned char> scratch(std::vector<unsigned char>(size_t(scratch_bytes), 0xff));
    std::vector<double> gap[2], bar[2], output[2], base_output[2];
    std::vector<int64_t> evaluations[2];
    std::vector<uint8_t> outcome[2];
    for (const place where : {on_cpu, on_cuda}) {
        small_model model(where, round, c.widths, c.rows, c.most);
        const fa_model functions = model.functions();
        for (auto *list : {&gap[where], &bar[where], &output[where], &base_output[where]}) {
            list->assign(size_t(G), -1.0);
        }
        evaluations[where].assign(size_t(G), -1);
        outcome[where].assign(size_t(G), 9);
        fa_integration job = {};
        job.chunks = memory.chunks(where, &functions);
        job.examples = c.B;
        job.group = c.group;
        job.input = memory.input(where);
        job.base = memory.base(where);
        job.result = result(where);
        job.values = values(where);
        job.target = memory.target(where);
        job.scratch = scratch(where);
        job.shared_base = c.shared_base;
        job.schedule = schedule;
        job.tolerance = 0.01;
        job.eps = fa_dtype_eps(dlpack_dtype(round.dtype));
        job.adaptive = c.adaptive;
        job.predict = c.predict;
        job.completeness = c.multiply;
        job.multiply = c.multiply;
        job.absolute = c.absolute;
        job.gap = gap[where].data();
        job.error = bar[where].data();
        job.output = output[where].data();
        job.base_output = base_output[where].data();
        job.evaluations = evaluations[where].data();
        job.outcome = outcome[where].data();
        const fa_status status = fa_integrate(&job, &error);
        CHECK(status == FA_OK);
        if (status != FA_OK) fprintf(stderr, "integrate: %s\n", error.message);
        CHECK(model.live == 0);
        CHECK(model.calls > 0);
    }
    values.compare("integrate: values");
    memory.target.compare("integrate: target");
    compare(gap, "integrate: gap");
    compare(bar, "integrate: error");
    compare(output, "integrate: output");
    compare(base_output, "integrate: base_output");
    compare(evaluations, "integrate: evaluations");
    compare(outcome, "integrate: outcome");
}

struct sample_case {
    int64_t B, draws, references, rows, most;
    std::vector<int64_t> widths;
    int along_path, stratified, noisy, keeps, predict, multiply, square, variance;
};

void sample_twice(const setting &round, const sample_case &c)
{
    const int64_t T = int64_t(c.widths.size()), scratch_bytes = fa_sample_scratch(c.B, c.draws);
    shared_memory memory(round, c.widths, c.B, c.references > 0 ? c.references : 1, c.rows,
                         targets(c.B, c.predict, 0));
    tensors mean, deviation, start;
    for (const int64_t D : c.widths) {
        mean.add(sums_dtype(round.dtype), c.B, D, true);
        deviation.add(FA_FLOAT64, c.B, D, true);
        start.add(round.dtype, c.rows, D);
    }
    std::vector<int64_t> numbers;
    for (int64_t e = 0; e < c.B; e++) numbers.push_back(100 * e + 3);
    twin_table<int64_t> ids(numbers);
    twin_table<double> stdev(std::vector<double>(size_t(T * c.B), 0.2));
    twin_table<unsigned char> scratch(std::vector<unsigned char>(size_t(scratch_bytes), 0xff));
    std::vector<double> output[2], sums[2];
    for (const place where : {on_cpu, on_cuda}) {
        fa_error error = {};
        small_model model(where, round, c.widths, c.rows, c.most);
        const fa_model functions = model.functions();
        output[where].assign(size_t(c.B), -1.0);
        sums[where].assign(size_t(c.B * FA_SPREADS), -1.0);
        fa_sampling job = {};
        job.chunks = memory.chunks(where, &functions);
        job.examples = c.B;
        job.input = memory.input(where);
        job.base = memory.base(where);
        job.start = c.keeps ? start(where) : nullptr;
        job.mean = mean(where);
        job.deviation = deviation(where);
        job.stdev = c.noisy ? stdev(where) : nullptr;
        job.target = memory.target(where);
        job.scratch = scratch(where);
        job.draws = {c.draws, c.references, c.along_path, c.stratified, 11, ids(where)};
        job.predict = c.predict;
        job.multiply = c.multiply;
        job.square = c.square;
        job.variance = c.variance;
        job.output = output[where].data();
        job.sums = sums[where].data();
        const fa_status status = fa_sample(&job, &error);
        CHECK(status == FA_OK);
        if (status != FA_OK) fprintf(stderr, "sample: %s\n", error.message);
        CHECK(model.live == 0);
    }
    mean.compare("sample: mean");
    deviation.compare("sample: deviation");
    memory.target.compare("sample: target");
    compare(output, "sample: output");
    compare(sums, "sample: sums");
}

/* Values of some rows of `base`, as SmoothGrad and Expected Gradients ask for them. */
void forward_twice(const setting &round)
{
    const int64_t B = 3, M = 4, U = 9, rows = 4;
    const std::vector<int64_t> widths = {5, 2};
    shared_memory memory(round, widths, B, M, rows, targets(B, 0, 0));
    std::vector<int64_t> examples, bases;
    for (int64_t u = 0; u < U; u++) {
        examples.push_back(u % B);
        bases.push_back(u % M);
    }
    twin_table<int64_t> lead_example(examples), lead_base(bases);
    twin_table<double> out(std::vector<double>(size_t(U), -1.0));
    for (const place where : {on_cpu, on_cuda}) {
        fa_error error = {};
        small_model model(where, round, widths, rows, rows);
        const fa_model functions = model.functions();
        fa_forwarding job = {memory.chunks(where, &functions),
                             memory.base(where),
                             memory.target(where),
                             lead_example(where),
                             lead_base(where),
                             out(where),
                             U};
        CHECK(fa_forward(&job, &error) == FA_OK);
        CHECK(model.calls == 3);
    }
    out.compare("forward: out");
}

} // namespace

void check_integrate(const setting &round)
{
    const integrate_case cases[] = {
        /* B group rows most widths rule steps | adaptive predict versus shared multiply absolute */
        {4, 1, 7, 7, {13}, FA_GAUSS_LEGENDRE, 5, 0, 0, 0, 0, 1, 0},
        {3, 1, 64, 64, {8, 3}, FA_FEJER, 63, 1, 1, 0, 1, 1, 0},
        {6, 2, 16, 5, {17}, FA_FEJER, 31, 1, 0, 1, 0, 1, 0},
        {5, 1, 3, 3, {4}, FA_RIGHT, 1, 0, 1, 0, 0, 0, 1},
        {2, 1, 9, 9, {33}, FA_TRAPEZOID, 6, 0, 0, 0, 1, 1, 0},
    };
    for (const integrate_case &one : cases) integrate_twice(round, one);
}

void check_sampling(const setting &round)
{
    const sample_case cases[] = {
        /* B draws references rows most widths | path strata noise keeps predict multiply square
           variance */
        {3, 7, 0, 5, 5, {13}, 0, 0, 1, 0, 1, 0, 0, 0},
        {4, 6, 3, 11, 4, {8, 3}, 1, 1, 0, 0, 0, 1, 0, 0},
        {2, 9, 2, 40, 40, {16}, 1, 1, 1, 1, 0, 1, 0, 0},
        {2, 4, 0, 3, 3, {5}, 0, 0, 1, 0, 0, 0, 1, 1},
    };
    for (const sample_case &one : cases) sample_twice(round, one);
    forward_twice(round);
}
