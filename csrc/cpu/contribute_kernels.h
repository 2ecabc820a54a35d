/* Rows begin..end-1 of the chunk, one slot each. */
static void FN(contribute)(void *context, int64_t begin, int64_t end)
{
    const fa_contribute_args *args = context;
    const fa_climbers *climbers = &args->climbers;
    const int64_t D = args->gradient->shape[1];
    const ACC factor = (ACC)args->factor;
    for (int64_t r = begin; r < end; r++) {
        const int64_t s = climbers->active[climbers->first + r];
        const T *restrict const gradient = (const T *)fa_data(args->gradient) + r * D;
        const ACC *restrict const step = (const ACC *)fa_data(args->step) + s * D;
        ACC *restrict const sum = (ACC *)fa_data(args->sum) + s * D;
        for (int64_t d = 0; d < D; d++) sum[d] -= LOAD(gradient[d]) * (factor * step[d]);
    }
}
