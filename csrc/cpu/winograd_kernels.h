/* winograd_kernels.h -- tiles to the points and back, for one dtype at one CPU level. */

typedef T VEC __attribute__((vector_size(BYTES)));
typedef T LOOSE __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));

/* B' d: six values of a tile, `step` vectors apart, at the points. */
static inline __attribute__((always_inline)) void FN(points)(VEC *out, int step, VEC a, VEC b,
                                                             VEC c, VEC d, VEC e, VEC f)
{
    const VEC even = e - c * (T)FA_FAR2, odd = (d - b * (T)FA_FAR2) * (T)FA_NEAR;
    const VEC even_far = e - c * (T)FA_NEAR2, odd_far = (d - b * (T)FA_NEAR2) * (T)FA_FAR;
    out[0] = a * (T)(FA_NEAR2 * FA_FAR2) - c * (T)(FA_NEAR2 + FA_FAR2) + e;
    out[step] = even + odd;
    out[2 * step] = even - odd;
    out[3 * step] = even_far + odd_far;
    out[4 * step] = even_far - odd_far;
    out[5 * step] = b * (T)(FA_NEAR2 * FA_FAR2) - d * (T)(FA_NEAR2 + FA_FAR2) + f;
}

/* A' m: from six points to four outputs. */
static inline __attribute__((always_inline)) void FN(outputs)(VEC *out, int step, VEC a, VEC b,
                                                              VEC c, VEC d, VEC e, VEC f)
{
    const VEC sum = b + c, difference = b - c, sum_far = d + e, difference_far = d - e;
    out[0] = a + sum + sum_far;
    out[step] = difference * (T)FA_NEAR + difference_far * (T)FA_FAR;
    out[2 * step] = sum * (T)FA_NEAR2 + sum_far * (T)FA_FAR2;
    out[3 * step] =
        difference * (T)(FA_NEAR * FA_NEAR2) + difference_far * (T)(FA_FAR * FA_FAR2) + f;
}

/* `to` + 36 planes: a tile's image at the points, from the channels of its pixels `at`. */
static void FN(scatter)(void *to, int64_t plane, const void *const *at, int64_t channels)
{
    for (int64_t c = 0; c < channels; c += WIDTH) {
        VEC half[36], whole[36];
#define FA_PIXEL(i) ((VEC)(*(const LOOSE *)((const T *)at[i] + c)))
        for (int j = 0; j < 6; j++) {
            FN(points)(half + j, 6, FA_PIXEL(j), FA_PIXEL(6 + j), FA_PIXEL(12 + j),
                       FA_PIXEL(18 + j), FA_PIXEL(24 + j), FA_PIXEL(30 + j));
        }
#undef FA_PIXEL
        for (int i = 0; i < 36; i += 6) {
            FN(points)(whole + i, 1, half[i], half[i + 1], half[i + 2], half[i + 3], half[i + 4],
                       half[i + 5]);
        }
        for (int i = 0; i < 36; i++) {
            *(LOOSE *)((T *)to + i * plane + c) = (LOOSE)whole[i];
        }
    }
}

/* The 16 outputs of a tile to the places `at`, NULL where there is none, from 36 planes. */
static void FN(gather)(void *const *at, const void *from, int64_t plane, const void *bias,
                       int64_t channels)
{
    for (int64_t c = 0; c < channels; c += WIDTH) {
        VEC half[24], whole[16];
        const VEC constant = (VEC)(*(const LOOSE *)((const T *)bias + c));
#define FA_POINT(i) ((VEC)(*(const LOOSE *)((const T *)from + (i) * plane + c)))
        for (int j = 0; j < 6; j++) {
            FN(outputs)(half + j, 6, FA_POINT(j), FA_POINT(6 + j), FA_POINT(12 + j),
                        FA_POINT(18 + j), FA_POINT(24 + j), FA_POINT(30 + j));
        }
#undef FA_POINT
        for (int i = 0; i < 4; i++) {
            const VEC *const row = half + 6 * i;
            FN(outputs)(whole + 4 * i, 1, row[0], row[1], row[2], row[3], row[4], row[5]);
        }
        for (int i = 0; i < 16; i++) {
            if (at[i] != NULL) *(LOOSE *)((T *)at[i] + c) = (LOOSE)(whole[i] + constant);
        }
    }
}

static const fa_tile_ops FN(tile_ops) = {.scatter = FN(scatter), .gather = FN(gather)};
