#include "climbers.h"
#include "plans.h"

void check_contribute(const setting &round)
{
    const fa_dtype sums = sums_dtype(round.dtype);
    for_climbs([&](climb_plan &plan) {
        if (plan.kind.fan > 1) return;
        for (const int64_t D : widths) {
            const int64_t skew = random_below(2);
            twin_tensor sum(sums, plan.slots, D, skew), step(sums, plan.slots, D, skew);
            const double factor = random_below(2) ? 1.0 : 0.5;
            for_chunks(plan.rows, 1 + random_below(plan.rows), [&](int64_t first, int64_t count) {
                twin_tensor gradient(round.dtype, count, D, skew);
                fa_contribute_args args;
                run_twice(
                    &fa_backend::contribute,
                    [&](place where) {
                        args = {sum(where), step(where), gradient(where), factor,
                                plan.chunk(where, first, count)};
                        return &args;
                    },
                    round);
                CHECK(cudaStreamSynchronize(round.stream) == cudaSuccess);
            });
            sum.compare("contribute: sum");
        }
    });
}
