/* draws.h -- what row r of a pass of random draws is. Shared by the kernels of every backend. */
#ifndef FA_DRAWS_H
#define FA_DRAWS_H

#include "fastattr.h"
#include "random.h"

typedef struct {
    int64_t example;
    int64_t draw; /* 0..n-1, or -1 for the end row at the input */
    int64_t base; /* row of `base`, where it has more than one  */
    double alpha;
} fa_drawn_row;

/* Draw j takes reference j of an endless sequence of fresh permutations of 0..M-1; without
 * strata any of them, independently. */
FA_HD int64_t fa_drawn_reference(const fa_draws *draws, int64_t id, int64_t j)
{
    const fa_key stream = fa_stream(draws->seed, id, FA_STREAM_REFERENCE);
    if (!draws->stratified) {
        const uint64_t bits = fa_draw_block(stream, j, 0).word[0];
        return (int64_t)(bits * (uint64_t)draws->references >> 32);
    }
    return fa_permute(stream, j / draws->references, draws->references, j % draws->references);
}

/* Stratified: alpha_j = (pi(j) + u_j) / n with one permutation pi per example. */
FA_HD double fa_drawn_alpha(const fa_draws *draws, int64_t id, int64_t j)
{
    const fa_key stream = fa_stream(draws->seed, id, FA_STREAM_ALPHA);
    const double u = fa_uniform(fa_draw_block(stream, j, 0).word[0]);
    if (!draws->stratified) return u;
    const fa_key strata = fa_stream(draws->seed, id, FA_STREAM_STRATUM);
    return ((double)fa_permute(strata, 0, draws->draws, j) + u) / (double)draws->draws;
}

FA_HD fa_drawn_row fa_drawn_row_at(const fa_draws *draws, int64_t r)
{
    const int64_t rows = draws->draws + 1;
    fa_drawn_row row = {r / rows, r % rows - 1, r / rows, 1.0};
    if (row.draw < 0) return row;
    const int64_t id = draws->ids[row.example];
    if (draws->references > 0) row.base = fa_drawn_reference(draws, id, row.draw);
    if (draws->along_path) row.alpha = fa_drawn_alpha(draws, id, row.draw);
    return row;
}

#endif /* FA_DRAWS_H */
