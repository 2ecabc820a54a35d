/* collectives.cpp -- what kernels call. The last to arrive computes the answers of all. */
#include "block.h"

namespace cuhost
{

int lane() { return here.current % 32; }

void *dyn_shared()
{
    here.dirty = true;
    return here.shared;
}

int block_collective(vote kind, int predicate, const char *file, int line)
{
    barrier &at = here.wait;
    here.dirty = true;
    char *const met = at.met.enter();
    if (at.arrived == 0) {
        at.file = file;
        at.line = line;
        at.kind = kind;
        at.votes = 0;
    } else if (at.line != line || at.kind != kind || strcmp(at.file, file) != 0) {
        CUDA_HOST_REPORT(file, line, "a barrier while others of the block wait at that of line %d",
                         at.line);
        give_up();
    }
    at.votes += predicate != 0;
    if (++at.arrived == here.size) {
        at.result = kind == vote::count ? at.votes
                    : kind == vote::any ? at.votes > 0
                                        : at.votes == here.size;
        at.arrived = 0;
        at.met.complete();
        order threads((uint64_t)here.size);
        for (int i = 0; i < here.size; i++) wake((int)threads.next());
    }
    wait();
    meeting::leave(met);
    return at.result;
}

/* What lane i gets, once all have come. */
static uint64_t answer(const warp &w, const gathering &at, int i)
{
    uint64_t found = 0;
    if (at.kind == warp_kind::shuffle) {
        const int from = w.source[i];
        return from >= 0 && (at.arrived >> from & 1u) != 0 ? w.value[from] : ~uint64_t(0);
    }
    for (int j = 0; j < 32; j++) {
        if ((at.arrived >> j & 1u) == 0) continue;
        const bool counts =
            at.kind == warp_kind::ballot ? w.value[j] != 0 : w.value[j] == w.value[i];
        if (counts) found |= uint64_t(1) << j;
    }
    return found;
}

/* Where lanes of this mask wait, or a place where nobody does: there are as many as lanes. */
static gathering &gathering_of(warp &w, unsigned mask)
{
    gathering *unused = nullptr;
    for (gathering &at : w.at) {
        if (at.arrived != 0 && at.mask == mask) return at;
        if (at.arrived == 0 && unused == nullptr) unused = &at;
    }
    return *unused;
}

uint64_t warp_collective(warp_kind kind, unsigned mask, uint64_t value, int source,
                         const char *file, int line)
{
    const int number = here.current / 32, own = lane();
    warp &w = here.warps[number];
    here.dirty = true;
    if ((mask >> own & 1u) == 0) {
        CUDA_HOST_REPORT(file, line, "lane %d is not in its own mask %08x", own, mask);
        give_up();
    }
    gathering &at = gathering_of(w, mask);
    /* a shuffle or a vote orders no memory, __syncwarp does */
    char *const met = kind == warp_kind::sync ? at.met.enter() : nullptr;
    if (at.arrived == 0) {
        at.kind = kind;
        at.mask = mask;
        at.file = file;
        at.line = line;
    } else if (at.kind != kind || at.line != line || strcmp(at.file, file) != 0) {
        CUDA_HOST_REPORT(file, line, "lane %d, while others of its mask %08x wait at line %d", own,
                         mask, at.line);
        give_up();
    }
    at.arrived |= 1u << own;
    w.value[own] = value;
    w.source[own] = source;
    if (at.arrived == (mask & w.present)) {
        order lanes(32);
        for (int j = 0; j < 32; j++) {
            const int i = (int)lanes.next();
            if ((at.arrived >> i & 1u) == 0) continue;
            w.result[i] = answer(w, at, i);
            wake(number * 32 + i);
        }
        at.arrived = 0;
        if (kind == warp_kind::sync) at.met.complete();
    }
    wait();
    if (met != nullptr) meeting::leave(met);
    return w.result[own];
}

} // namespace cuhost
