/* ascending.cpp -- csrc/engine/ascend.c with a model in C++ on both backends, bit by bit. */
#include "engine.h"

extern "C" {
#include "engine/ascend.h"
}

namespace
{

struct ascend_case {
    int64_t B, k, slots, max_steps, rows, most;
    std::vector<int64_t> widths;
    fa_step_rule rule;
    int ascents, l2, restart, stop, keep_at, keep_sum, bounded;
    double radius;
};

/* What a caller gets of every path and of every example. */
struct reports {
    std::vector<double> initial[2], final[2], total[2];
    std::vector<int64_t> steps[2], predicted[2], gradients[2], units[2];
    std::vector<uint8_t> outcome[2];

    void attach(fa_ascending *job, place where, size_t P, size_t B)
    {
        for (auto *list : {initial, final, total}) list[where].assign(P, -1.0);
        for (auto *list : {steps, predicted}) list[where].assign(P, 0);
        for (auto *list : {gradients, units}) list[where].assign(B, 0);
        outcome[where].assign(P, 9);
        job->initial = initial[where].data();
        job->final = final[where].data();
        job->total = total[where].data();
        job->steps = steps[where].data();
        job->outcome = outcome[where].data();
        job->predicted = predicted[where].data();
        job->gradients = gradients[where].data();
        job->units = units[where].data();
    }
    void compare_all()
    {
        compare(initial, "ascend: initial");
        compare(final, "ascend: final");
        compare(total, "ascend: total");
        compare(steps, "ascend: steps");
        compare(outcome, "ascend: outcome");
        compare(predicted, "ascend: predicted");
        compare(gradients, "ascend: gradients");
        compare(units, "ascend: units");
    }
};

std::vector<fa_slot> plan_of(int64_t B, int64_t k)
{
    std::vector<fa_slot> found;
    for (int64_t e = 0; e < B; e++) {
        for (int64_t j = 0; j < k; j++) found.push_back({e, e % 3, (e % 3 + 1 + j) % 3, -1});
    }
    return found;
}

void ascend_twice(const setting &round, const ascend_case &c)
{
    const int64_t P = c.B * c.k, pairs = fa_ascend_pairs(c.rows, c.k);
    shared_memory memory(round, c.widths, c.B, 1, c.rows, targets(c.B, 0, 0), pairs);
    tensors at, sum, step, result, low, high;
    const fa_dtype sums = sums_dtype(round.dtype);
    for (const int64_t D : c.widths) {
        at.add(round.dtype, c.keep_at ? P : c.slots, D);
        sum.add(sums, c.keep_sum ? P : c.slots, D);
        step.add(sums, c.slots, D);
        result.add(sums, c.B, D, true);
        for (const auto &[bound, value] : {std::pair{&low, -1.25}, std::pair{&high, 1.25}}) {
            auto one = std::make_unique<twin_tensor>(round.dtype, 1, D);
            one->set_row(0, value);
            bound->add(std::move(one));
        }
    }
    twin_table<unsigned char> scratch(
        std::vector<unsigned char>(size_t(fa_ascend_scratch(c.slots)), 0xff));
    const std::vector<fa_slot> plan = plan_of(c.B, c.k);
    reports found;
    for (const place where : {on_cpu, on_cuda}) {
        fa_error error = {};
        small_model model(where, round, c.widths, pairs, c.most);
        const fa_model functions = model.functions();
        model.says_class = true;
        fa_ascending job = {};
        job.chunks = memory.chunks(where, &functions);
        job.examples = c.B;
        job.paths = c.k;
        job.slots = c.slots;
        job.max_steps = c.max_steps;
        job.plan = plan.data();
        job.start = job.centre = memory.input(where);
        job.low = c.bounded ? low(where) : nullptr;
        job.high = c.bounded ? high(where) : nullptr;
        job.at = at(where);
        job.sum = sum(where);
        job.step = c.rule != FA_STEP_LEFT ? step(where) : nullptr;
        job.result = result(where);
        job.scratch = scratch(where);
        job.step_size = 0.25;
        job.radius = c.radius;
        job.scale = 0.5;
        job.rule = c.rule;
        job.ascents = c.ascents;
        job.l2 = c.l2;
        job.restart = c.restart;
        job.stop = c.stop;
        job.keep_at = c.keep_at;
        job.keep_sum = c.keep_sum;
        found.attach(&job, where, size_t(P), size_t(c.B));
        const fa_status status = fa_ascend(&job, &error);
        CHECK(status == FA_OK);
        if (status != FA_OK) fprintf(stderr, "ascend: %s\n", error.message);
        CHECK(model.live == 0);
        CHECK(model.calls > 0);
    }
    result.compare("ascend: result");
    if (c.keep_at) at.compare("ascend: at");
    if (c.keep_sum) sum.compare("ascend: sum");
    found.compare_all();
}

} // namespace

void check_ascending(const setting &round)
{
    const ascend_case cases[] = {
        /* B k slots steps rows most widths rule | ascents l2 restart stop keep_at keep_sum bounded
           radius */
        {3, 2, 6, 6, 8, 8, {13}, FA_STEP_LEFT, 1, 0, 0, 1, 1, 1, 0, -1.0},
        {4, 2, 4, 5, 5, 3, {8, 3}, FA_STEP_TRAPEZOID, 1, 0, 0, 1, 0, 0, 1, -1.0},
        {3, 2, 1, 4, 64, 64, {17}, FA_STEP_MIDPOINT, 1, 1, 0, 1, 1, 0, 0, 0.5},
        {5, 1, 5, 3, 4, 4, {33}, FA_STEP_LEFT, 0, 1, 1, 0, 0, 1, 1, 0.75},
    };
    for (const ascend_case &one : cases) ascend_twice(round, one);
}
