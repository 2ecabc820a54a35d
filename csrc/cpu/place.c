/* place.c -- out[r] = at[s], or at[s] - step[s] / 2, s the slot of row r
 *
 * Also writes whose point it is: index (R) and scalars (Q, R, 2). One pass: reads a vertex,
 * writes a point; bound by memory. */
#include <string.h>

#include "cpu.h"

#define FA_TEMPLATE "place_kernels.h"
#include "foreach_level.h"

static void describe(const fa_place_args *args)
{
    const fa_climbers *climbers = &args->climbers;
    const int64_t R = climbers->count;
    for (int64_t r = 0; r < R; r++) {
        const fa_slot *slots = climbers->slots + climbers->active[climbers->first + r];
        int64_t *scalar = args->scalars + 2 * r;
        if (args->index != NULL) args->index[r] = slots[0].example;
        if (args->scalars == NULL) continue;
        if (climbers->explained) {
            scalar[0] = slots[0].target, scalar[1] = -1;
            scalar += 2 * R;
        }
        for (int64_t j = 0; climbers->ascents && j < climbers->fan; j++, scalar += 2 * R) {
            scalar[0] = slots[j].goal, scalar[1] = slots[j].minus;
        }
    }
}

fa_status fa_cpu_place(const fa_place_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    fa_place_args copy = *args;
    if (args->index != NULL || args->scalars != NULL) describe(args);
    if (args->out->shape[1] == 0) return FA_OK; /* no memory behind the tensors */
    fa_parallel_for(args->climbers.count, args->out->shape[1], FA_KERNEL(args->out, place), &copy);
    return FA_OK;
}
