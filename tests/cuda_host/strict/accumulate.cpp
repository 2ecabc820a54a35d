#include "plans.h"

#include <cmath>

void check_accumulate(const setting &round)
{
    for_plans([&](row_plan &plan) {
        for (const int64_t D : widths) {
            const int64_t most = 1 + random_below(plan.rows), skew = random_below(2);
            twin_tensor result(sums_dtype(round.dtype), plan.levels * plan.examples, D, skew);
            for_chunks(plan.rows, most, [&](int64_t first, int64_t count) {
                twin_tensor gradient(round.dtype, count, D, skew);
                for (int64_t r = 0; r < count; r++) { /* 0 * NaN is not added */
                    if (plan.weightless[size_t(first + r)]) gradient.set_row(r, NAN);
                }
                fa_accumulate_args args;
                run_twice(
                    &fa_backend::accumulate,
                    [&](place where) {
                        args = {result(where), gradient(where), plan.examples,
                                plan.chunk(where, first, count)};
                        return &args;
                    },
                    round);
                CHECK(cudaStreamSynchronize(round.stream) == cudaSuccess);
            });
            result.compare("accumulate: result");
        }
    });
}
