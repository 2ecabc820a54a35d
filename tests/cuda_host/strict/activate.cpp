#include "twin.h"

/* Functions of float on one side and of double on the other: within a few units of the last place.
 */
void check_activate(const setting &round)
{
    if (round.dtype != FA_FLOAT32 && round.dtype != FA_FLOAT64) return;
    const double close = round.dtype == FA_FLOAT64 ? 1e-14 : 1e-5;
    const int64_t sizes[][2] = {{1, 1}, {3, 5}, {65, 33}, {2, 700}, {0, 3}, {3, 0}};
    for (const auto &size : sizes) {
        for (int kind = 0; kind < FA_ACTIVATIONS; kind++) {
            const bool apart = random_below(2), biased = random_below(2), sloped = random_below(4);
            const fa_activate activate = {fa_activation(kind), 0.1 + 0.2 * double(kind), 20.0};
            twin_tensor in(round.dtype, size[0], size[1], random_below(2));
            twin_tensor out(round.dtype, size[0], size[1]), slope(round.dtype, size[0], size[1]);
            twin_tensor bias(round.dtype, 1, size[1]);
            fa_activate_args args;
            run_twice(
                &fa_backend::activate,
                [&](place where) {
                    args = {apart ? out(where) : in(where), sloped ? slope(where) : nullptr,
                            in(where), biased ? bias.at(where) : nullptr, activate};
                    return &args;
                },
                round);
            in.compare("activate: in", close);
            out.compare("activate: out", close);
            slope.compare("activate: slope", close);
        }
    }
}
