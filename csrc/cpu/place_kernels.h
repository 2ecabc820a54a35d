/* Rows begin..end-1 of the chunk. */
static void FN(place)(void *context, int64_t begin, int64_t end)
{
    const fa_place_args *args = context;
    const fa_climbers *climbers = &args->climbers;
    const int64_t D = args->out->shape[1];
    for (int64_t r = begin; r < end; r++) {
        const int64_t s = climbers->active[climbers->first + r];
        const T *const at = climbers->fresh
                                ? (const T *)fa_data(args->start) + climbers->slots[s].example * D
                                : (const T *)fa_data(args->at) + s * D;
        T *const out = (T *)fa_data(args->out) + r * D;
        if (args->step == NULL) {
            memcpy(out, at, (size_t)D * sizeof(T));
            continue;
        }
        const ACC *const step = (const ACC *)fa_data(args->step) + s * D;
        for (int64_t d = 0; d < D; d++) out[d] = STORE(LOAD(at[d]) - (ACC)0.5 * step[d]);
    }
}
