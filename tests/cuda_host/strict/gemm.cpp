#include "twin.h"

#include <cmath>

/* Sums in another order than the CPU's: within rounding of it. */
void check_gemm(const setting &round)
{
    if (round.dtype != FA_FLOAT32 && round.dtype != FA_FLOAT64) return;
    const double close = round.dtype == FA_FLOAT64 ? 1e-13 : 1e-6;
    const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {33, 2, 31}, {16, 16, 16}, {4, 50, 64},
                                {0, 3, 2}, {3, 0, 2}, {3, 2, 0},   {65, 33, 1},  {1, 100, 257}};
    for (const auto &size : sizes) {
        for (int choice = 0; choice < 8; choice++) {
            const int64_t M = size[0], N = size[1], K = size[2];
            const int turned_a = choice & 1, turned_b = choice >> 1 & 1, adds = choice >> 2 & 1;
            twin_tensor a(round.dtype, turned_a ? K : M, turned_a ? M : K, random_below(2));
            twin_tensor b(round.dtype, turned_b ? N : K, turned_b ? K : N);
            twin_tensor out(round.dtype, M, N, random_below(2));
            fa_gemm_args args;
            run_twice(
                &fa_backend::gemm,
                [&](place where) {
                    args = {out(where), a(where), b(where), turned_a, turned_b, adds};
                    return &args;
                },
                round);
            /* a sum of K products of normal numbers */
            out.compare("gemm: out", close * (4.0 + std::sqrt(double(K))));
        }
    }
}
