#include "plans.h"

void check_sample(const setting &round)
{
    for_draws([&](draw_plan &plan) {
        for (const int64_t D : widths) {
            const int64_t most = 1 + random_below(plan.rows), skew = random_below(2);
            twin_tensor input(round.dtype, plan.examples, D, skew);
            twin_tensor base(round.dtype, plan.base_rows(random_below(2)), D);
            twin_table<int64_t> target(std::vector<int64_t>(size_t(2 * plan.examples), 5));
            twin_table<double> stdev(std::vector<double>(size_t(plan.examples), 0.3));
            const bool noisy = random_below(2), keeps = random_below(2), tells = random_below(2);
            for_chunks(plan.rows, most, [&](int64_t first, int64_t count) {
                twin_tensor out(round.dtype, count, D, skew), start(round.dtype, count, D);
                twin_table<int64_t> index(std::vector<int64_t>(size_t(count), -7));
                twin_table<int64_t> scalars(std::vector<int64_t>(size_t(2 * count), -7));
                fa_sample_args args;
                const auto on = [&](place where) {
                    args = {out(where),
                            keeps ? start(where) : nullptr,
                            tells ? index(where) : nullptr,
                            tells ? scalars(where) : nullptr,
                            input(where),
                            base(where),
                            target(where),
                            noisy ? stdev(where) : nullptr,
                            2,
                            first,
                            count,
                            plan.at(where)};
                    return &args;
                };
                run_twice(&fa_backend::sample, on, round);
                out.compare("sample: out");
                start.compare("sample: start");
                index.compare("sample: index");
                scalars.compare("sample: scalars");
            });
        }
    });
}
