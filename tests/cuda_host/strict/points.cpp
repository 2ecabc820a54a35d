#include "plans.h"

void check_points(const setting &round)
{
    for_plans([&](row_plan &plan) {
        for (const int64_t D : widths) {
            const int64_t most = 1 + random_below(plan.rows), skew = random_below(2);
            twin_tensor input(round.dtype, plan.examples, D, skew);
            twin_tensor base(round.dtype, random_below(2) ? plan.examples : 1, D);
            twin_table<int64_t> target(std::vector<int64_t>(size_t(2 * plan.examples), 5));
            for_chunks(plan.rows, most, [&](int64_t first, int64_t count) {
                twin_tensor out(round.dtype, count, D, skew);
                twin_table<int64_t> index(std::vector<int64_t>(size_t(count), -7));
                twin_table<int64_t> scalars(std::vector<int64_t>(size_t(2 * count), -7));
                const bool described = random_below(2);
                fa_points_args args;
                const auto on = [&](place where) {
                    args = {out(where),
                            described ? index(where) : nullptr,
                            described ? scalars(where) : nullptr,
                            input(where),
                            base(where),
                            target(where),
                            plan.chunk(where, first, count)};
                    return &args;
                };
                run_twice(&fa_backend::points, on, round);
                out.compare("points: out");
                index.compare("points: index");
                scalars.compare("points: scalars");
            });
        }
    });
}
