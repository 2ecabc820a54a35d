#include "plans.h"

static void collect_twice(const setting &round, row_plan &plan)
{
    const int64_t most = 1 + random_below(plan.rows);
    const std::vector<double> nothing(size_t(2 * plan.examples), -1.0);
    twin_table<double> ends(nothing);
    twin_table<int64_t> target(std::vector<int64_t>(size_t(2 * plan.examples), -7));
    for_chunks(plan.rows, most, [&](int64_t first, int64_t count) {
        twin_tensor values(round.dtype, count, 1);
        std::vector<int64_t> classes;
        for (int64_t r = first; r < first + count; r++) {
            const size_t slot = size_t((r - plan.leads) / plan.nodes);
            classes.push_back(r < plan.leads ? plan.lead_example(on_cpu)[r] % 3
                                             : plan.active_host[slot] % 3);
        }
        twin_table<int64_t> predicted(classes);
        DLTensor table[2];
        int64_t shape[1] = {count};
        for (const place where : {on_cpu, on_cuda}) {
            table[where] = *values(where);
            table[where].data = predicted(where);
            table[where].dtype = {kDLInt, 64, 1};
            table[where].ndim = 1;
            table[where].shape = shape;
        }
        /* a class is predicted where each example has one row */
        const bool predicts = plan.nodes == 1 && plan.leads == 0;
        fa_collect_args args;
        run_twice(
            &fa_backend::collect,
            [&](place where) {
                args = {ends(where),   target(where),
                        values(where), predicts ? &table[where] : nullptr,
                        plan.examples, plan.chunk(where, first, count)};
                return &args;
            },
            round);
        CHECK(cudaStreamSynchronize(round.stream) == cudaSuccess);
    });
    ends.compare("collect: ends");
    target.compare("collect: target");
}

void check_collect(const setting &round)
{
    row_plan one_row_each(90, 1, 1, 0, false);
    collect_twice(round, one_row_each);
    for_plans([&](row_plan &plan) { collect_twice(round, plan); });
}
