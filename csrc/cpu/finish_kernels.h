/* Examples begin..end-1. `out` may be plane 0 of `result`. */
static void FN(finish)(void *context, int64_t begin, int64_t end)
{
    const fa_finish_args *args = context;
    const int64_t B = args->input->shape[0], D = args->input->shape[1];
    const int64_t base_stride = args->base->shape[0] == 1 ? 0 : D;
    for (int64_t e = begin; e < end; e++) {
        ACC *const out = (ACC *)fa_data(args->out) + e * D;
        const ACC *const result = (const ACC *)fa_data(args->result) + (args->level[e] * B + e) * D;
        const T *const input = (const T *)fa_data(args->input) + e * D;
        const T *const base = (const T *)fa_data(args->base) + e * base_stride;
        for (int64_t d = 0; d < D; d++) {
            const ACC factor = args->multiply ? LOAD(input[d]) - LOAD(base[d]) : (ACC)1;
            const ACC value = result[d] * factor;
            out[d] = args->absolute && value < 0 ? -value : value;
        }
    }
}
