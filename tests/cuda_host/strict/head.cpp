#include "twin.h"

#include <cmath>

/* Ties, NaN and probabilities among ordinary rows; sums of a warp in another order than the CPU's.
 */
void check_head(const setting &round)
{
    if (round.dtype != FA_FLOAT32 && round.dtype != FA_FLOAT64) return;
    const double close = round.dtype == FA_FLOAT64 ? 1e-13 : 2e-6;
    for (const int64_t C : {1, 2, 10, 32, 33, 100, 1000}) {
        for (const fa_head head : {FA_RAW, FA_SOFTMAX, FA_LOG_SOFTMAX}) {
            for (const bool all : {true, false}) { /* rows are probabilities, so each alone */
                const int64_t R = 1 + random_below(20);
                twin_tensor out(round.dtype, R, C, random_below(2));
                for (int64_t r = 0; r < R; r++) {
                    if (all || r % 3 == 0) out.set_row(r, 1.0 / double(C));
                }
                twin_table<int64_t> predicted(std::vector<int64_t>(size_t(R), -7));
                twin_table<int64_t> logits(std::vector<int64_t>(1, 0));
                const bool asked = random_below(4) != 0;
                fa_head_args args;
                run_twice(
                    &fa_backend::head,
                    [&](place where) {
                        args = {out(where), predicted(where), asked ? logits(where) : nullptr,
                                head};
                        return &args;
                    },
                    round);
                out.compare("head: out", close);
                predicted.compare("head: predicted");
                logits.compare("head: logits");
            }
        }
    }
    for (const int64_t C :
         {1, 3, 40}) { /* NaN is the largest; no number is left of it to compare */
        twin_tensor out(round.dtype, 4, C);
        out.set_row(1, NAN);
        out.set_row(2, -INFINITY);
        twin_table<int64_t> predicted(std::vector<int64_t>(4, -7));
        fa_head_args args;
        run_twice(
            &fa_backend::head,
            [&](place where) {
                args = {out(where), predicted(where), nullptr, FA_RAW};
                return &args;
            },
            round);
        predicted.compare("head: predicted of NaN");
    }
}
