/* schedule.h -- a quadrature rule as a sequence of passes.
 *
 * A fixed rule is one level and one pass. The nested rule has a level for each node count
 * n, 2n + 1, 4n + 3, ...; its first pass holds the nodes of the two lowest levels (a single
 * level has no error estimate), each later pass the nodes that its level adds. Every
 * gradient is computed once and enters every level at or above its own. */
#ifndef FA_SCHEDULE_H
#define FA_SCHEDULE_H

#include "../quadrature.h"

#define FA_MAX_LEVELS 16
#define FA_NESTED_FIRST 7                /* nodes of the lowest level of the adaptive rule */
#define FA_MOST_STEPS (INT64_C(1) << 40) /* far beyond memory, within arithmetic */

typedef struct {
    fa_rule rule;
    int64_t levels;               /* L                                              */
    int64_t steps[FA_MAX_LEVELS]; /* nodes of each level                            */
    int64_t opening;              /* the level that pass 0 reaches: 0 fixed, 1 nested */
} fa_schedule;

/* Fixed rule: `steps` nodes. Nested rule: the two levels (steps - 1) / 2 and steps, an odd
 * number from 3 on, or, if `adaptive`, all levels 7, 15, ... <= steps. */
fa_status fa_schedule_init(fa_schedule *out, fa_rule rule, int64_t steps, int adaptive,
                           fa_error *error);

int64_t fa_schedule_passes(const fa_schedule *schedule);
int64_t fa_schedule_most_nodes(const fa_schedule *schedule); /* of any pass, end row included */

/* The end points among the nodes themselves: the rule evaluates alpha 1 (0). */
int fa_schedule_has_input(const fa_schedule *schedule);
int fa_schedule_has_base(const fa_schedule *schedule);

/* Nodes of `pass`: alpha (N) ascending and weight (L, N); weights of levels the pass has
 * left behind are 0. With `end_row` a row at alpha 1 and weight 0 comes first. */
fa_status fa_schedule_pass(int64_t *nodes, double *alpha, double *weight,
                           const fa_schedule *schedule, int64_t pass, int end_row, fa_error *error);

#endif /* FA_SCHEDULE_H */
