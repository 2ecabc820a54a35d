#include "twin.h"

void check_total(const setting &round)
{
    for (const int64_t D : {0, 1, 15, 16, 17, 100, 4095, 4097, 40000}) {
        for (const int square : {0, 1}) {
            const int64_t first = random_below(3), count = 1 + random_below(3);
            twin_tensor values(round.dtype, first + count, D, random_below(2));
            twin_table<double> out(std::vector<double>(size_t(count), 0.25));
            const int add = (int)random_below(2);
            fa_total_args args;
            run_twice(
                &fa_backend::total,
                [&](place where) {
                    args = {out(where), values(where), first, count, square, add};
                    return &args;
                },
                round);
            out.compare("total: out");
        }
    }
}
