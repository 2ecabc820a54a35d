#include "climbers.h"
#include "plans.h"

#include <cmath>

/* Steps of one kind of path: by signs or by length, free, in a ball, between bounds. */
static void check_steps(const setting &round, climb_plan &plan, int64_t D)
{
    const fa_dtype sums = sums_dtype(round.dtype);
    const int64_t skew = random_below(2);
    twin_tensor at(round.dtype, plan.slots, D, skew), sum(sums, plan.slots, D, skew);
    twin_tensor step(sums, plan.slots, D, skew), start(round.dtype, plan.examples, D, skew);
    twin_tensor centre(round.dtype, plan.examples, D), low(round.dtype, 1, D);
    twin_tensor high(round.dtype, 1, D);
    low.set_row(0, -0.75);
    high.set_row(0, 0.75);
    std::vector<int64_t> states;
    for (int64_t s = 0; s < plan.slots; s++) states.push_back(random_below(2) | 16);
    twin_table<int64_t> state(states);
    const auto rule = fa_step_rule(random_below(3));
    const bool summed = random_below(2) && plan.kind.explained, bounded = random_below(2);
    const bool flat = random_below(6) == 0, by_length = random_below(2);
    const bool kept = summed && rule != FA_STEP_LEFT;
    const double radius = random_below(2) ? 0.5 : -1.0;
    const int restart = (int)random_below(2), stop = (int)random_below(2);
    for_chunks(plan.rows, 1 + random_below(plan.rows), [&](int64_t first, int64_t count) {
        twin_tensor gradient(round.dtype, plan.scalars * count, D, skew);
        gradient.set_row(random_below(plan.scalars * count), random_below(2) ? 0.0 : NAN);
        std::vector<double> squares;
        for (int64_t i = 0; i < plan.kind.fan * count; i++) {
            squares.push_back(random_below(5) == 0 ? 0.0 : 1.0 + double(i));
        }
        twin_table<double> norm(squares);
        fa_ascend_args args;
        const auto on = [&](place where) {
            args = {at(where),
                    summed ? sum(where) : nullptr,
                    kept ? step(where) : nullptr,
                    state(where),
                    flat ? nullptr : gradient(where),
                    start(where),
                    centre(where),
                    bounded ? low(where) : nullptr,
                    bounded ? high(where) : nullptr,
                    by_length ? norm(where) : nullptr,
                    0.3,
                    radius,
                    rule,
                    restart,
                    stop,
                    plan.chunk(where, first, count)};
            return &args;
        };
        run_twice(&fa_backend::ascend, on, round);
        CHECK(cudaStreamSynchronize(round.stream) == cudaSuccess);
    });
    at.compare("ascend: at");
    sum.compare("ascend: sum");
    step.compare("ascend: step");
    state.compare("ascend: state");
}

void check_ascend(const setting &round)
{
    for_climbs([&](climb_plan &plan) {
        for (const int64_t D : widths) {
            for (int i = 0; i < 4; i++) check_steps(round, plan, D);
        }
    });
}
