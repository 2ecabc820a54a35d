#include "twin.h"

void check_pick(const setting &round)
{
    if (round.dtype != FA_FLOAT32 && round.dtype != FA_FLOAT64) return;
    const double close = round.dtype == FA_FLOAT64 ? 1e-14 : 1e-6;
    for (const int64_t C : {1, 2, 10, 33, 300}) {
        for (const fa_head head : {FA_RAW, FA_SOFTMAX, FA_LOG_SOFTMAX}) {
            const int64_t R = random_below(40);
            const bool sloped = random_below(4) != 0, tells = random_below(2);
            std::vector<int64_t> asked, likely;
            for (int64_t r = 0; r < R; r++) {
                asked.push_back(random_below(C + 1) - 1);
                asked.push_back(random_below(C + 1) - 1);
                likely.push_back(random_below(C));
            }
            twin_tensor values(round.dtype, R, 1), delta(round.dtype, R, C), out(round.dtype, R, C);
            twin_table<int64_t> scalars(asked), predicted(likely);
            twin_table<int64_t> picked(std::vector<int64_t>(size_t(R), -7));
            fa_pick_args args;
            run_twice(
                &fa_backend::pick,
                [&](place where) {
                    args = {values(where),
                            sloped ? delta(where) : nullptr,
                            tells ? picked(where) : nullptr,
                            out(where),
                            scalars(where),
                            predicted(where),
                            head};
                    return &args;
                },
                round);
            values.compare("pick: values", close * 8);
            delta.compare("pick: delta", close * 8);
            picked.compare("pick: picked");
        }
    }
}
