#include "climbers.h"
#include "plans.h"

void check_arrive(const setting &round)
{
    for_climbs([&](climb_plan &plan) {
        twin_table<int64_t> state(std::vector<int64_t>(size_t(plan.slots), 3));
        twin_table<double> value(std::vector<double>(size_t(plan.slots), -1.0));
        for_chunks(plan.rows, 1 + random_below(plan.rows), [&](int64_t first, int64_t count) {
            twin_tensor values(round.dtype, plan.scalars * count, 1);
            std::vector<int64_t> classes;
            for (int64_t r = 0; r < count; r++) classes.push_back(random_below(3));
            twin_table<int64_t> predicted(classes);
            DLTensor table[2];
            int64_t shape[2] = {count, 1};
            for (const place where : {on_cpu, on_cuda}) {
                table[where] = *values(where);
                table[where].data = predicted(where);
                table[where].dtype = {kDLInt, 64, 1};
                table[where].shape = shape;
            }
            fa_arrive_args args;
            run_twice(
                &fa_backend::arrive,
                [&](place where) {
                    args = {state(where), value(where), values(where), &table[where],
                            plan.chunk(where, first, count)};
                    return &args;
                },
                round);
            CHECK(cudaStreamSynchronize(round.stream) == cudaSuccess);
        });
        state.compare("arrive: state");
        value.compare("arrive: value");
    });
}
