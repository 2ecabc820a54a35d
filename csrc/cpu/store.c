/* store.c -- out[first + r] = values[r], in float64 */
#include "cpu.h"

fa_status fa_cpu_store(const fa_store_args *args, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    for (int64_t r = 0; r < args->count; r++) {
        args->out[args->first + r] = fa_value_at(args->values, r);
    }
    return FA_OK;
}
