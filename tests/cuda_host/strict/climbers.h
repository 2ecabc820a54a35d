/* climbers.h -- slots of adversarial paths, and passes over some of them. */
#ifndef CUDA_HOST_STRICT_CLIMBERS_H
#define CUDA_HOST_STRICT_CLIMBERS_H

#include "twin.h"

struct climb_plan {
    /* Fresh: k paths of each example, a row of all of them; else some slots, one a row. */
    climb_plan(int64_t B, int64_t k, bool fresh, bool explained, bool ascents);

    int64_t examples, slots, rows, scalars; /* B, S, R of the pass, Q */
    std::vector<int64_t> first_slot;        /* (R)                    */
    twin_table<int64_t> active;
    twin_table<fa_slot> table;

    fa_climbers chunk(place where, int64_t first, int64_t count)
    {
        fa_climbers found = kind;
        found.first = first;
        found.count = count;
        found.active = active(where);
        found.slots = table(where);
        return found;
    }

    fa_climbers kind;
};

template <class Use> void for_climbs(Use use)
{
    const struct {
        int64_t B, k;
        bool fresh, explained, ascents;
    } list[] = {{1, 1, true, true, true},
                {3, 4, true, true, true},
                {4, 2, false, true, true},
                {5, 3, false, true, false},
                {2, 5, true, false, true}};
    for (const auto &one : list) {
        climb_plan plan(one.B, one.k, one.fresh, one.explained, one.ascents);
        use(plan);
    }
}

#endif /* CUDA_HOST_STRICT_CLIMBERS_H */
