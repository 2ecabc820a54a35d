#include "plans.h"

/* Sums over features: the CUDA kernels promise the order of the CPU's, so the same bits. */
void check_measure(const setting &round)
{
    const fa_dtype sums = sums_dtype(round.dtype);
    for (const int64_t D : {0, 1, 15, 16, 17, 100, 4095, 4097, 40000}) {
        for (const int64_t group : {1, 3}) {
            const int64_t B = 2 * group, count = random_below(2) + 1;
            twin_tensor updated(sums, B, D), previous(sums, B, D);
            twin_tensor input(round.dtype, B, D);
            twin_tensor base(round.dtype, random_below(2) ? B : 1, D);
            std::vector<int64_t> members;
            for (int64_t e = B - count * group; e < B; e++) members.push_back(e);
            twin_table<int64_t> active(members);
            twin_table<double> out(std::vector<double>(size_t(count * FA_MEASURES), 0.25));
            const bool first_level = random_below(2);
            const int multiply = (int)random_below(2);
            fa_measure_args args;
            run_twice(
                &fa_backend::measure,
                [&](place where) {
                    args = {out(where),
                            fa_data(updated(where)),
                            first_level ? nullptr : fa_data(previous(where)),
                            input(where),
                            base(where),
                            active(where),
                            count,
                            group,
                            multiply};
                    return &args;
                },
                round);
            out.compare("measure: out");
        }
    }
}
