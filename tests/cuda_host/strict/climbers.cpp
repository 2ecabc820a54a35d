#include "climbers.h"

static std::vector<int64_t> first_slots(int64_t B, int64_t k, bool fresh)
{
    std::vector<int64_t> found;
    for (int64_t s = 0; s < B * k; s++) {
        const bool stands = fresh ? s % k == 0 : random_below(3) > 0 || s == 0;
        if (stands) found.push_back(s);
    }
    return found;
}

static std::vector<fa_slot> slots_of(int64_t B, int64_t k)
{
    std::vector<fa_slot> found;
    for (int64_t e = 0; e < B; e++) {
        for (int64_t j = 0; j < k; j++) found.push_back({e, e % 3, j % 2 ? -1 : j, j % 3 ? -1 : 2});
    }
    return found;
}

climb_plan::climb_plan(int64_t B, int64_t k, bool fresh, bool explained, bool ascents)
    : examples(B), slots(B * k), first_slot(first_slots(B, k, fresh)), active(first_slot),
      table(slots_of(B, k)), kind{0, 0, fresh ? k : 1, explained, ascents, fresh, nullptr, nullptr}
{
    rows = int64_t(first_slot.size());
    scalars = kind.explained + kind.fan * kind.ascents;
}
