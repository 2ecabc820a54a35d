/* arrive.c -- state[s] = whether the row's predicted class is the goal of slot s; value[s] = f_t
 *
 * A goal of -1 is reached at any class but the target. */
#include "cpu.h"

fa_status fa_cpu_arrive(const fa_arrive_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    const fa_climbers *climbers = &args->climbers;
    const int64_t *predicted = fa_data(args->predicted);
    for (int64_t r = 0; r < climbers->count; r++) {
        const int64_t first = climbers->active[climbers->first + r];
        const double value = fa_value_at(args->values, r);
        for (int64_t s = first; s < first + climbers->fan; s++) {
            args->state[s] = fa_slot_state(&climbers->slots[s], predicted[r]);
            args->value[s] = value;
        }
    }
    return FA_OK;
}
