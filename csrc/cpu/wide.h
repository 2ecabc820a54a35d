/* wide.h -- what plain C cannot say to the processor: float16 by its own instructions, and stores
 * that pass the caches by. */
#ifndef FA_WIDE_H
#define FA_WIDE_H

#include <string.h>

#include "cpu.h"

#ifdef FA_X86
#include <immintrin.h>
#define FA_TO_NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#endif

#define FA_RUN 256    /* elements that are computed at a time: some arrays of them stay in 32 KB */
#define FA_TOGETHER 8 /* rows that share a load and a store of the accumulators */

/* ---- past the caches ---------------------------------------------------------------------- */

#define FA_LINE 64  /* bytes that go to memory at once        */
#define FA_STRIP 64 /* elements: whole lines of every dtype   */

/* Results of more bytes pass the caches by. Written to the caches and read again by the model, or
 * written to memory and read from there: on a last-level cache of 32 MB the second is faster from
 * about 24 MB on. A constant, because systems report the sum over a package or a host. */
#define FA_BYPASS_BYTES ((int64_t)24 << 20)

static inline int fa_bypasses(const DLTensor *out)
{
    return out->shape[0] * out->shape[1] * (out->dtype.bits / 8) > FA_BYPASS_BYTES;
}

/* Lines to an address that is a multiple of FA_LINE, without reading what was there and without
 * a place in the caches. Others see them after fa_bypass_end. */
static inline void fa_bypass(void *to, const void *from, int64_t bytes)
{
#ifdef FA_X86 /* SSE2: wider stores are no faster */
    for (int64_t i = 0; i < bytes / 16; i++) {
        _mm_stream_si128((__m128i *)to + i, _mm_loadu_si128((const __m128i *)from + i));
    }
#else
    memcpy(to, from, (size_t)bytes);
#endif
}

static inline void fa_bypass_end(void)
{
#ifdef FA_X86
    _mm_sfence();
#endif
}

/* ---- widen -------------------------------------------------------------------------------- */

#define FA_TEMPLATE "wide_kernels.h"
#include "foreach_level.h"

#endif /* FA_WIDE_H */
