/* rows.h -- what row r of a pass is. Shared by the kernels of every backend. */
#ifndef FA_ROWS_H
#define FA_ROWS_H

#include "fastattr.h"
#include "half.h"

typedef struct {
    int64_t example;
    int64_t base; /* row of `base`, where it has more than one */
    int64_t node; /* 0..N-1, or -1 for a lead row, which has weight 0 */
    double alpha;
} fa_row;

FA_HD fa_row fa_row_at(const fa_rows *rows, int64_t r)
{
    fa_row row;
    if (r < rows->lead) {
        row.example = rows->lead_example[r];
        row.base = rows->lead_base != NULL ? rows->lead_base[r] : row.example;
        row.node = -1;
        row.alpha = 0.0;
    } else {
        const int64_t slot = (r - rows->lead) / rows->nodes;
        row.example = row.base = rows->active[slot];
        row.node = (r - rows->lead) % rows->nodes;
        row.alpha = rows->alpha[row.node];
    }
    return row;
}

#endif /* FA_ROWS_H */
