/* winograd.h -- convolutions of 3 x 3 with stride 1 by Winograd's F(4 x 4, 3 x 3)
 *
 * Sixteen outputs take 36 products and a channel's sum then takes a quarter of the arithmetic of
 * the definition: y = A' (sum over c of (G g G') . (B' d B)) A for a tile d of 6 x 6 inputs and
 * the filter g, at the points 0, +-3/4, +-3/2 and infinity. They lie closer together than the
 * usual ones: the relative error in float32 is about 1e-6, half of theirs, that of the plain
 * sum 1e-7.
 * Winograd 1980; Lavin and Gray 2016; on points Barabasz, Anderson, Soodhalter and Gregg 2020.
 *
 * Arrays have their channels last, (R, H, W, C), channels in whole vectors. */
#ifndef FA_CPU_WINOGRAD_H
#define FA_CPU_WINOGRAD_H

#include "dense.h"

typedef struct {
    fa_dtype dtype;
    int64_t in, out; /* channels                                               */
    int64_t size;    /* elements of one of the 36 packed products in `weight` */
    void *weight, *bias;
    void *zeros; /* (in) what lies outside of the image */
} fa_winograd;

/* weight (out, in, 3, 3); bias (out) or NULL. Copies what it needs. */
fa_status fa_winograd_new(fa_winograd **out, fa_dtype dtype, const void *weight, const void *bias,
                          int64_t out_channels, int64_t in_channels, fa_error *error);
void fa_winograd_free(fa_winograd *filter);

typedef struct {
    void *out;                   /* (R, height + 2 padding - 2, width + 2 padding - 2, out) */
    const void *in;              /* (R, height, width, in)                                  */
    int64_t rows, height, width; /* padded, the image has 3 x 3 pixels at least             */
    int64_t padding;             /* zeros on every side, 0 to 2                             */
} fa_winograd_args;

/* A pixel's bits depend neither on the rows beside it nor on threads. FA_ENOMEM without scratch. */
fa_status fa_winograd_run(const fa_winograd *filter, const fa_winograd_args *args, fa_error *error);

#endif /* FA_CPU_WINOGRAD_H */
