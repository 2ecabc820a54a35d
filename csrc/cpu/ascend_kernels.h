/* What one block of features of one slot needs, pointers at its first feature. */
typedef struct {
    const T *at, *centre;
    const T *ascent, *explained; /* gradients, or NULL: zero */
    const T *low, *high;         /* or NULL                  */
    ACC scale;                   /* step size, over the norm */
} FN(piece);

/* next = at + scale u from `from` on; NaN in a gradient makes NaN. */
static void FN(climb)(T *restrict next, const T *restrict from, const FN(piece) * piece, int signs,
                      int64_t n)
{
    const ACC scale = piece->scale;
    for (int64_t d = 0; d < n; d++) {
        const ACC g = LOAD(piece->ascent[d]);
        const ACC sign = g > 0 ? (ACC)1 : g < 0 ? (ACC)-1 : g; /* 0 and NaN are their own */
        next[d] = STORE(LOAD(from[d]) + scale * (signs ? sign : g));
    }
}

/* Into the ball, then into the bounds; NaN stays. */
static void FN(clip)(T *restrict next, const FN(piece) * piece, double radius, int64_t n)
{
    const ACC r = (ACC)radius;
    for (int64_t d = 0; radius >= 0.0 && d < n; d++) {
        const ACC v = LOAD(next[d]), c = LOAD(piece->centre[d]), low = c - r, high = c + r;
        next[d] = STORE(v < low ? low : v > high ? high : v);
    }
    for (int64_t d = 0; piece->low != NULL && d < n; d++) {
        if (LOAD(next[d]) < LOAD(piece->low[d])) next[d] = piece->low[d];
    }
    for (int64_t d = 0; piece->high != NULL && d < n; d++) {
        if (LOAD(next[d]) > LOAD(piece->high[d])) next[d] = piece->high[d];
    }
}

/* sum -= gradient * d; by the trapezoid, half of it with the step before, half with this one. */
static void FN(add_step)(ACC *restrict sum, const T *restrict gradient, const ACC *restrict last,
                         const ACC *restrict d, int64_t n)
{
    if (last == NULL) {
        for (int64_t i = 0; i < n; i++) sum[i] -= LOAD(gradient[i]) * d[i];
    } else {
        for (int64_t i = 0; i < n; i++) {
            sum[i] -= LOAD(gradient[i]) * ((ACC)0.5 * (last[i] + d[i]));
        }
    }
}

static int64_t FN(state_of)(const ACC *restrict d, const ACC *restrict sum, int64_t n)
{
    int moved = 0, broken = 0;
    for (int64_t i = 0; i < n; i++) {
        moved |= d[i] != 0;
        broken |= !(d[i] - d[i] == 0);
    }
    for (int64_t i = 0; sum != NULL && i < n; i++) broken |= !(sum[i] - sum[i] == 0);
    return (moved ? FA_SLOT_MOVED : 0) | (broken ? FA_SLOT_BROKEN : 0);
}

/* Features block..block+n-1 of slot s, number j of row r. */
static int64_t FN(ascend_slot)(const fa_ascend_args *args, int64_t r, int64_t j, int64_t s,
                               int64_t block, int64_t n)
{
    const fa_climbers *climbers = &args->climbers;
    const int64_t D = args->at->shape[1], e = climbers->slots[s].example;
    const int64_t R = climbers->count, plane = fa_ascent_plane(climbers, j);
    const T *const gradient = args->gradient != NULL ? fa_data(args->gradient) : NULL;
    const T *const start = (const T *)fa_data(args->start) + e * D + block;
    T *const at = (T *)fa_data(args->at) + s * D + block;
    ACC *const sum = args->sum != NULL ? (ACC *)fa_data(args->sum) + s * D + block : NULL;
    ACC *const step = args->step != NULL ? (ACC *)fa_data(args->step) + s * D + block : NULL;
    FN(piece) piece = {.at = climbers->fresh ? start : at, .scale = (ACC)args->step_size};
    piece.centre = (const T *)fa_data(args->centre) + e * D + block;
    if (gradient != NULL) {
        piece.ascent = gradient + (plane * R + r) * D + block;
        piece.explained = gradient + r * D + block;
    }
    if (args->low != NULL) {
        const int64_t row = args->low->shape[0] == 1 ? 0 : e;
        piece.low = (const T *)fa_data(args->low) + row * D + block;
        piece.high = (const T *)fa_data(args->high) + row * D + block;
    }
    if (args->norm != NULL) {
        const double square = args->norm[j * R + r];
        piece.scale = square != 0.0 ? (ACC)(args->step_size / sqrt(square)) : (ACC)0;
    }

    T next[FA_BLOCK];
    ACC d[FA_BLOCK];
    const int moves = piece.ascent != NULL && !(args->stop && (args->state[s] & FA_SLOT_REACHED));
    const T *const from = args->restart ? piece.centre : piece.at;
    memcpy(next, moves ? from : piece.at, (size_t)n * sizeof(T));
    if (moves) {
        FN(climb)(next, from, &piece, args->norm == NULL, n);
        FN(clip)(next, &piece, args->radius, n);
    }
    for (int64_t i = 0; i < n; i++) d[i] = moves ? LOAD(next[i]) - LOAD(from[i]) : (ACC)0;
    if (climbers->fresh) {
        if (sum != NULL) memset(sum, 0, (size_t)n * sizeof(ACC));
        if (step != NULL) memset(step, 0, (size_t)n * sizeof(ACC));
    }
    if (sum != NULL && piece.explained != NULL && args->rule != FA_STEP_MIDPOINT) {
        FN(add_step)(sum, piece.explained, args->rule == FA_STEP_TRAPEZOID ? step : NULL, d, n);
    }
    if (step != NULL) memcpy(step, d, (size_t)n * sizeof(ACC));
    memcpy(at, next, (size_t)n * sizeof(T));
    return FN(state_of)(d, sum, n);
}

/* Items are (slot, FA_BLOCK features): slots of a row one after the other. */
static void FN(ascend)(void *context, int64_t begin, int64_t end)
{
    const fa_ascend_args *args = context;
    const fa_climbers *climbers = &args->climbers;
    const int64_t D = args->at->shape[1], blocks = (D + FA_BLOCK - 1) / FA_BLOCK;
    for (int64_t item = begin; item < end; item++) {
        const int64_t block = item % blocks * FA_BLOCK, place = item / blocks;
        const int64_t r = place / climbers->fan, j = place % climbers->fan;
        const int64_t s = climbers->active[climbers->first + r] + j;
        const int64_t found = FN(ascend_slot)(args, r, j, s, block, fa_min(FA_BLOCK, D - block));
        if (found != 0) (void)__atomic_fetch_or(&args->state[s], found, __ATOMIC_RELAXED);
    }
}
