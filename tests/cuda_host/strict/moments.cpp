#include "plans.h"

void check_moments(const setting &round)
{
    for_draws([&](draw_plan &plan) {
        for (const int64_t D : widths) {
            const int64_t most = 1 + random_below(plan.rows), skew = random_below(2);
            twin_tensor mean(sums_dtype(round.dtype), plan.examples, D, skew);
            twin_tensor deviation(FA_FLOAT64, plan.examples, D, skew);
            twin_tensor input(round.dtype, plan.examples, D);
            twin_tensor base(round.dtype, plan.base_rows(random_below(2)), D);
            const bool kept = random_below(2), flat = random_below(4) == 0;
            const int multiply = (int)random_below(2), square = (int)random_below(2);
            for_chunks(plan.rows, most, [&](int64_t first, int64_t count) {
                twin_tensor gradient(round.dtype, count, D, skew), start(round.dtype, count, D);
                fa_moments_args args;
                const auto on = [&](place where) {
                    args = {mean(where),
                            deviation(where),
                            flat ? nullptr : gradient(where),
                            kept ? start(where) : nullptr,
                            input(where),
                            base(where),
                            first,
                            count,
                            multiply,
                            square,
                            plan.at(where)};
                    return &args;
                };
                run_twice(&fa_backend::moments, on, round);
                CHECK(cudaStreamSynchronize(round.stream) == cudaSuccess);
            });
            mean.compare("moments: mean");
            deviation.compare("moments: deviation");
        }
    });
}
