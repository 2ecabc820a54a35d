#include "plans.h"

void check_combine(const setting &round)
{
    const fa_dtype sums = sums_dtype(round.dtype);
    for (const int64_t D : widths) {
        for (const int64_t fan : {1, 4, 20}) {
            const int64_t B = 5, first = random_below(3), count = 1 + random_below(B - first);
            const int64_t skew = random_below(2);
            twin_tensor result(sums, B, D, skew), sum(sums, count * fan, D, skew);
            fa_combine_args args;
            run_twice(
                &fa_backend::combine,
                [&](place where) {
                    args = {result(where), sum(where), first, count, fan, 1.0 / 3.0};
                    return &args;
                },
                round);
            result.compare("combine: result");
        }
    }
}
