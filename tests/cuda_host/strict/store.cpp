#include "plans.h"

void check_store(const setting &round)
{
    for (const int64_t rows : {1, 31, 64, 65, 300}) {
        twin_table<double> out(std::vector<double>(size_t(rows), -1.0));
        for_chunks(rows, 1 + random_below(rows), [&](int64_t first, int64_t count) {
            twin_tensor values(round.dtype, count, 1, random_below(2));
            fa_store_args args;
            run_twice(
                &fa_backend::store,
                [&](place where) {
                    args = {out(where), values(where), first, count};
                    return &args;
                },
                round);
            CHECK(cudaStreamSynchronize(round.stream) == cudaSuccess);
        });
        out.compare("store: out");
    }
}
