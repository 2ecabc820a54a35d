#include "plans.h"

void check_finish(const setting &round)
{
    const fa_dtype sums = sums_dtype(round.dtype);
    for (const int64_t D : widths) {
        for (int choice = 0; choice < 8; choice++) {
            const int64_t B = 3, L = choice & 1 ? 4 : 1, skew = random_below(2);
            twin_tensor result(sums, L * B, D, skew), out(sums, B, D, skew);
            twin_tensor input(round.dtype, B, D, skew);
            twin_tensor base(round.dtype, random_below(2) ? B : 1, D);
            std::vector<int64_t> levels;
            for (int64_t e = 0; e < B; e++) levels.push_back(random_below(L));
            twin_table<int64_t> level(levels);
            const bool in_place = L == 1 && random_below(2);
            fa_finish_args args;
            run_twice(
                &fa_backend::finish,
                [&](place where) {
                    args = {in_place ? result(where) : out(where),
                            result(where),
                            input(where),
                            base(where),
                            level(where),
                            choice >> 1 & 1,
                            choice >> 2 & 1};
                    return &args;
                },
                round);
            (in_place ? result : out).compare("finish: out");
        }
    }
}
