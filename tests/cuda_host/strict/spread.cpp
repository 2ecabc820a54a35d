#include "plans.h"

#include <cmath>

void check_spread(const setting &round)
{
    for (const int64_t D : {0, 1, 15, 16, 17, 100, 4095, 4097, 40000}) {
        for (const int variance : {0, 1}) {
            const int64_t B = 3;
            twin_tensor mean(sums_dtype(round.dtype), B, D), deviation(FA_FLOAT64, B, D);
            double *const squares = static_cast<double *>(deviation.at(on_cpu));
            for (int64_t i = 0; i < B * D; i++) squares[i] = fabs(squares[i]); /* never negative */
            deviation.send();
            twin_table<double> sums(std::vector<double>(size_t(B * FA_SPREADS), 0.25));
            fa_spread_args args;
            run_twice(
                &fa_backend::spread,
                [&](place where) {
                    args = {mean(where), deviation(where), sums(where), 2 + random_below(1),
                            variance};
                    return &args;
                },
                round);
            mean.compare("spread: mean");
            deviation.compare("spread: deviation");
            sums.compare("spread: sums");
        }
    }
}
