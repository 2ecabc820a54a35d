#include "climbers.h"
#include "plans.h"

void check_place(const setting &round)
{
    for_climbs([&](climb_plan &plan) {
        for (const int64_t D : widths) {
            const int64_t skew = random_below(2);
            twin_tensor start(round.dtype, plan.examples, D, skew);
            twin_tensor at(round.dtype, plan.slots, D, skew);
            twin_tensor step(sums_dtype(round.dtype), plan.slots, D);
            const bool halfway = random_below(2), tells = random_below(2);
            for_chunks(plan.rows, 1 + random_below(plan.rows), [&](int64_t first, int64_t count) {
                twin_tensor out(round.dtype, count, D, skew);
                twin_table<int64_t> index(std::vector<int64_t>(size_t(count), -7));
                twin_table<int64_t> scalars(
                    std::vector<int64_t>(size_t(2 * plan.scalars * count), -7));
                fa_place_args args;
                const auto on = [&](place where) {
                    args = {out(where),
                            tells ? index(where) : nullptr,
                            tells ? scalars(where) : nullptr,
                            start(where),
                            at(where),
                            halfway ? step(where) : nullptr,
                            plan.chunk(where, first, count)};
                    return &args;
                };
                run_twice(&fa_backend::place, on, round);
                out.compare("place: out");
                index.compare("place: index");
                scalars.compare("place: scalars");
            });
        }
    });
}
