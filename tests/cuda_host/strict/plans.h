/* plans.h -- row plans and draws of all sizes that the engines make, odd ones among them. */
#ifndef CUDA_HOST_STRICT_PLANS_H
#define CUDA_HOST_STRICT_PLANS_H

#include "twin.h"

/* Sizes around those of warps, of blocks, of 16-byte packs, of the blocks of sums. */
inline const std::vector<int64_t> widths = {0, 1, 3, 8, 33, 64, 100, 257};

/* The pass of a few active examples among B, with lead rows; its weights have zeros. */
struct row_plan {
    row_plan(int64_t B, int64_t N, int64_t L, int64_t U, bool own_bases);

    int64_t examples, nodes, levels, leads, rows;
    std::vector<int64_t> active_host, example_of_row;
    std::vector<bool> weightless; /* (rows) no level takes part */
    twin_table<int64_t> lead_example, lead_base, active;
    twin_table<double> alpha, weight;
    bool has_lead_base;

    fa_rows chunk(place where, int64_t first, int64_t count);
};

/* A call of `use(plan)` for each of some plans. */
template <class Use> void for_plans(Use use)
{
    const struct {
        int64_t B, N, L, U;
        bool own_bases;
    } list[] = {{1, 1, 1, 0, false},
                {4, 5, 1, 4, false},
                {5, 3, 3, 2, true},
                {3, 40, 1, 0, false},
                {7, 17, 8, 1, false}};
    for (const auto &one : list) {
        row_plan plan(one.B, one.N, one.L, one.U, one.own_bases);
        use(plan);
    }
}

/* `use(first, count)` over 0..rows-1 in chunks of at most `most` rows. */
template <class Use> void for_chunks(int64_t rows, int64_t most, Use use)
{
    for (int64_t first = 0; first < rows; first += most) {
        use(first, rows - first < most ? rows - first : most);
    }
}

/* Some ways to draw, for B examples whose ids are far apart. */
struct draw_plan {
    draw_plan(int64_t B, int64_t n, int64_t M, bool along_path, bool stratified);

    int64_t examples, rows;
    fa_draws draws;
    twin_table<int64_t> ids;

    fa_draws at(place where)
    {
        fa_draws found = draws;
        found.ids = ids(where);
        return found;
    }
    int64_t base_rows(bool shared) const
    {
        return draws.references > 0 ? draws.references : shared ? 1 : examples;
    }
};

template <class Use> void for_draws(Use use)
{
    const struct {
        int64_t B, n, M;
        bool along_path, stratified;
    } list[] = {{1, 1, 0, false, false},
                {3, 7, 0, true, true},
                {4, 5, 3, true, true},
                {2, 40, 5, true, false},
                {3, 3, 1, false, true}};
    for (const auto &one : list) {
        draw_plan plan(one.B, one.n, one.M, one.along_path, one.stratified);
        use(plan);
    }
}

#endif /* CUDA_HOST_STRICT_PLANS_H */
