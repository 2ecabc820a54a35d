#include "twin.h"

void check_gate(const setting &round)
{
    if (round.dtype != FA_FLOAT32 && round.dtype != FA_FLOAT64) return;
    const int64_t sizes[][2] = {{1, 1}, {3, 5}, {65, 33}, {2, 700}, {0, 3}, {3, 0}};
    for (const auto &size : sizes) {
        for (int choice = 0; choice < 4; choice++) {
            const bool apart = choice & 1, sloped = choice & 2;
            twin_tensor delta(round.dtype, size[0], size[1], random_below(2));
            twin_tensor out(round.dtype, size[0], size[1]), slope(round.dtype, size[0], size[1]);
            fa_gate_args args;
            run_twice(
                &fa_backend::gate,
                [&](place where) {
                    args = {apart ? out(where) : delta(where), sloped ? slope(where) : nullptr,
                            delta(where)};
                    return &args;
                },
                round);
            delta.compare("gate: delta");
            out.compare("gate: out");
        }
    }
}
