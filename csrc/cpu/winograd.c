/* winograd.c -- blocks of tiles through winograd.h's three steps, while they are in cache. */
#include "winograd.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef FA_X86
#include <immintrin.h>
#endif

/* The points, their squares: what is computed from them below is exact in binary. */
#define FA_NEAR 0.75
#define FA_FAR 1.5
#define FA_NEAR2 (FA_NEAR * FA_NEAR)
#define FA_FAR2 (FA_FAR * FA_FAR)

#define FA_BLOCK_BYTES \
    (512 << 10)                 /* of a block's images and products: with weights, a second cache */
#define FA_FEWEST_TILES 48      /* of a block: as many share one reading of the weights          */
#define FA_TILES_A_LANE 8       /* fewer leave registers empty while weights are read */
#define FA_FLOPS_PER_ELEMENT 16 /* of fa_parallel_for's costs */

typedef struct {
    void (*scatter)(void *to, int64_t plane, const void *const *at, int64_t channels);
    void (*gather)(void *const *at, const void *from, int64_t plane, const void *bias,
                   int64_t channels);
} fa_tile_ops;

#define FA_TEMPLATE "winograd_kernels.h"
#include "foreach_real.h"

static const fa_tile_ops *tile_ops(fa_dtype dtype)
{
    static const fa_tile_ops *const ops[FA_LEVELS][2] = FA_REAL_LEVELS(tile_ops);
    return ops[fa_cpu_level()][dtype == FA_FLOAT64];
}

static int64_t item_of(const fa_winograd *filter) { return filter->dtype == FA_FLOAT64 ? 8 : 4; }

/* Aligned to a cache line and a vector. */
static void *allocate(int64_t bytes)
{
    return aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64 + 64);
}

/* ---- the filter ---------------------------------------------------------------------------- */

/* G g G' of one filter (3, 3), in float64. */
static void at_points(double out[36], const double g[9])
{
    static const double points[5] = {0, FA_NEAR, -FA_NEAR, FA_FAR, -FA_FAR};
    static const double scale[5] = {FA_NEAR2 * FA_FAR2, 2 * FA_NEAR2 * (FA_NEAR2 - FA_FAR2),
                                    2 * FA_NEAR2 * (FA_NEAR2 - FA_FAR2),
                                    2 * FA_FAR2 * (FA_FAR2 - FA_NEAR2),
                                    2 * FA_FAR2 * (FA_FAR2 - FA_NEAR2)};
    double rows[18]; /* (6, 3) */
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < 5; i++) {
            rows[3 * i + j] = (g[j] + points[i] * (g[3 + j] + points[i] * g[6 + j])) / scale[i];
        }
        rows[15 + j] = g[6 + j];
    }
    for (int i = 0; i < 6; i++) {
        const double *const row = rows + 3 * i;
        for (int j = 0; j < 5; j++) {
            out[6 * i + j] = (row[0] + points[j] * (row[1] + points[j] * row[2])) / scale[j];
        }
        out[6 * i + 5] = row[2];
    }
}

/* The 36 matrices (in, out) one after the other, packed. */
static int pack(fa_winograd *filter, const void *weight)
{
    const fa_dense_ops *ops = fa_cpu_dense(filter->dtype);
    const int64_t K = filter->in, N = filter->out, item = item_of(filter);
    char *const planes = allocate(36 * N * K * item);
    if (planes == NULL) return -1;
    for (int64_t i = 0; i < N * K; i++) {
        double g[9] = {0}, image[36]; /* the analyzer does not see all of g set below */
        for (int64_t j = 0; j < 9; j++) g[j] = fa_get_real(filter->dtype, weight, 9 * i + j);
        at_points(image, g);
        for (int64_t p = 0; p < 36; p++) {
            fa_put_real(filter->dtype, planes, p * N * K + i, image[p]);
        }
    }
    for (int64_t p = 0; p < 36; p++) {
        ops->pack((char *)filter->weight + p * filter->size * item, planes + p * N * K * item, 1, K,
                  N, K);
    }
    free(planes);
    return 0;
}

fa_status fa_winograd_new(fa_winograd **out, fa_dtype dtype, const void *weight, const void *bias,
                          int64_t out_channels, int64_t in_channels, fa_error *error)
{
    const fa_dense_ops *ops = fa_cpu_dense(dtype);
    fa_winograd *filter = NULL;
    fa_status status = FA_OK;
    *out = NULL;
    if (in_channels % ops->width != 0 || out_channels % ops->width != 0) {
        return fa_fail(error, FA_EINVAL,
                       "weight: expected channels in multiples of %lld, got %lld and %lld",
                       (long long)ops->width, (long long)out_channels, (long long)in_channels);
    }
    filter = calloc(1, sizeof(*filter));
    if (filter == NULL) return fa_fail(error, FA_ENOMEM, "no memory for a convolution");
    *filter = (fa_winograd){.dtype = dtype,
                            .in = in_channels,
                            .out = out_channels,
                            .size = ops->packed(out_channels, in_channels)};
    const int64_t item = item_of(filter);
    filter->weight = allocate(36 * filter->size * item);
    filter->bias = allocate(out_channels * item);
    filter->zeros = allocate(in_channels * item);
    if (filter->weight == NULL || filter->bias == NULL || filter->zeros == NULL ||
        pack(filter, weight) < 0) {
        status = fa_fail(error, FA_ENOMEM, "no memory for the weights of a convolution");
        goto done;
    }
    memset(filter->zeros, 0, (size_t)(in_channels * item));
    memset(filter->bias, 0, (size_t)(out_channels * item));
    if (bias != NULL) memcpy(filter->bias, bias, (size_t)(out_channels * item));
    *out = filter;
    filter = NULL;

done:
    fa_winograd_free(filter);
    return status;
}

void fa_winograd_free(fa_winograd *filter)
{
    if (filter == NULL) return;
    free(filter->zeros);
    free(filter->bias);
    free(filter->weight);
    free(filter);
}

/* ---- images -------------------------------------------------------------------------------- */

typedef struct {
    const fa_winograd *filter;
    const fa_winograd_args *args;
    int64_t height, width;         /* of the output             */
    int64_t down, across;          /* tiles of an image         */
    int64_t tiles, block;          /* in all, and of a block       */
    int64_t lanes;                 /* blocks worked on at a time   */
    _Atomic int64_t next;          /* block: a core that others use takes fewer */
    int64_t stride_in, stride_out; /* elements from tile to tile  */
    int64_t plane_in, plane_out;   /* and from a point to the next */
    char *scratch;                 /* (lanes) 36 planes of images, 36 of products              */
    int64_t scratch_bytes;         /* of a lane                                               */
} job;

/* What is a multiple of 4 KB apart would share its sets of the first cache. */
static int64_t apart(const fa_winograd *filter, int64_t elements)
{
    const int64_t item = item_of(filter);
    return elements * item % 4096 == 0 ? elements + 64 / item : elements;
}

static void scatter(const job *j, const fa_tile_ops *ops, char *images, int64_t first,
                    int64_t count)
{
    const fa_winograd_args *a = j->args;
    const int64_t item = item_of(j->filter), pixel = j->filter->in * item;
    for (int64_t t = 0; t < count; t++) {
        const int64_t tile = first + t, of = tile % (j->down * j->across);
        const char *const image =
            (const char *)a->in + tile / (j->down * j->across) * a->height * a->width * pixel;
        const int64_t top = of / j->across * 4 - a->padding, left = of % j->across * 4 - a->padding;
        const void *at[36];
        for (int64_t i = 0; i < 36; i++) {
            const int64_t y = top + i / 6, x = left + i % 6;
            const int inside = y >= 0 && y < a->height && x >= 0 && x < a->width;
            at[i] = inside ? image + (y * a->width + x) * pixel : j->filter->zeros;
        }
        ops->scatter(images + t * j->stride_in * item, j->plane_in, at, j->filter->in);
    }
}

static void gather(const job *j, const fa_tile_ops *ops, const char *products, int64_t first,
                   int64_t count)
{
    const int64_t item = item_of(j->filter), pixel = j->filter->out * item;
    for (int64_t t = 0; t < count; t++) {
        const int64_t tile = first + t, of = tile % (j->down * j->across);
        char *const image =
            (char *)j->args->out + tile / (j->down * j->across) * j->height * j->width * pixel;
        const int64_t top = of / j->across * 4, left = of % j->across * 4;
        void *at[16];
        for (int64_t i = 0; i < 16; i++) {
            const int64_t y = top + i / 4, x = left + i % 4;
            at[i] = y < j->height && x < j->width ? image + (y * j->width + x) * pixel : NULL;
        }
        ops->gather(at, products + t * j->stride_out * item, j->plane_out, j->filter->bias,
                    j->filter->out);
    }
}

static void run_lanes(void *context, int64_t begin, int64_t end)
{
    job *const j = context;
    const fa_winograd *const f = j->filter;
    const fa_dense_ops *const dense = fa_cpu_dense(f->dtype);
    const fa_tile_ops *const ops = tile_ops(f->dtype);
    const int64_t item = item_of(f);
    for (int64_t lane = begin; lane < end; lane++) {
        char *const images = j->scratch + lane * j->scratch_bytes;
        char *const products = images + 36 * j->plane_in * item;
        for (;;) {
            const int64_t first = atomic_fetch_add(&j->next, 1) * j->block;
            const int64_t count = fa_min(j->block, j->tiles - first);
            if (count <= 0) break;
            scatter(j, ops, images, first, count);
            for (int64_t p = 0; p < 36; p++) {
                dense->multiply(products + p * j->plane_out * item, j->stride_out, 1,
                                images + p * j->plane_in * item, j->stride_in,
                                (char *)f->weight + p * f->size * item, NULL, count, f->out, f->in);
            }
            gather(j, ops, products, first, count);
        }
    }
}

fa_status fa_winograd_run(const fa_winograd *filter, const fa_winograd_args *args, fa_error *error)
{
    job j = {.filter = filter,
             .args = args,
             .height = args->height + 2 * args->padding - 2,
             .width = args->width + 2 * args->padding - 2,
             .stride_in = apart(filter, filter->in),
             .stride_out = apart(filter, filter->out)};
    const int64_t a_tile = 36 * (j.stride_in + j.stride_out) * item_of(filter);
    j.down = (j.height + 3) / 4;
    j.across = (j.width + 3) / 4;
    j.tiles = args->rows * j.down * j.across;
    if (j.tiles == 0 || filter->out == 0) return FA_OK;
    const int64_t threads = fa_thread_count(), fit = FA_BLOCK_BYTES / (a_tile > 0 ? a_tile : 1);
    const int64_t most = fit > FA_FEWEST_TILES ? fit : FA_FEWEST_TILES;
    j.lanes = fa_min(threads, (j.tiles + FA_TILES_A_LANE - 1) / FA_TILES_A_LANE);
    const int64_t rounds = (j.tiles + most * j.lanes - 1) / (most * j.lanes); /* of all lanes */
    j.block = (j.tiles + rounds * j.lanes - 1) / (rounds * j.lanes);
    j.plane_in = apart(filter, j.block * j.stride_in);
    j.plane_out = apart(filter, j.block * j.stride_out);
    j.scratch_bytes = (36 * (j.plane_in + j.plane_out) * item_of(filter) + 63) / 64 * 64;
    j.scratch = allocate(j.lanes * j.scratch_bytes);
    if (j.scratch == NULL)
        return fa_fail(error, FA_ENOMEM, "no memory for the tiles of a convolution");
    const double flops = 72.0 * (double)filter->in * (double)filter->out * (double)j.tiles;
    fa_parallel_for(j.lanes, (int64_t)(flops / FA_FLOPS_PER_ELEMENT / (double)j.lanes) + 1,
                    run_lanes, &j);
    free(j.scratch);
    return FA_OK;
}
