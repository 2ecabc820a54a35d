/* wide.h -- what plain C cannot say to the processor: float16 by its own instructions, bfloat16 in
 * whole vectors, and stores that pass the caches by. */
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

/* ---- halves in whole vectors -------------------------------------------------------------- */

#ifdef FA_X86
#define FA_WITH(features) static inline __attribute__((target(features), always_inline))

/* Two vectors as one of float16, in order. */
FA_WITH("avx2,f16c") __m256i fa_halves_256(__m256 v, __m256 w)
{
    return _mm256_set_m128i(_mm256_cvtps_ph(w, FA_TO_NEAREST), _mm256_cvtps_ph(v, FA_TO_NEAREST));
}

FA_WITH("avx512f") __m512i fa_halves_512(__m512 v, __m512 w)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(v, FA_TO_NEAREST)),
                              _mm512_cvtps_ph(w, FA_TO_NEAREST), 1);
}

FA_WITH("avx2") __m256 fa_load_bfloats_256(const void *from)
{
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}

FA_WITH("avx512f") __m512 fa_load_bfloats_512(const void *from)
{
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

/* The upper halves are fa_bfloat_of_float: to the nearest, ties to even, NaN quiet. (The
 * processors' own instruction takes subnormal numbers for zero.) */
FA_WITH("avx2") __m256i fa_round_bfloats_256(__m256 v)
{
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(_mm256_add_epi32(bits, half), quiet, is_nan);
}

FA_WITH("avx512f") __m512i fa_round_bfloats_512(__m512 v)
{
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    return _mm512_mask_add_epi32(quiet, _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), bits, half);
}

FA_WITH("avx2") __m256i fa_bfloats_256(__m256 v, __m256 w)
{
    const __m256i low = _mm256_srli_epi32(fa_round_bfloats_256(v), 16);
    const __m256i high = _mm256_srli_epi32(fa_round_bfloats_256(w), 16);
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8); /* that was by lanes */
}

FA_WITH("avx512f,avx512bw") __m512i fa_bfloats_512(__m512 v, __m512 w)
{
    /* the odd words of both: 32-bit word i takes the words 4 i + 1 and 4 i + 3 */
    const __m512i i = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i words = _mm512_or_si512(_mm512_slli_epi32(i, 18), _mm512_slli_epi32(i, 2));
    return _mm512_permutex2var_epi16(fa_round_bfloats_512(v),
                                     _mm512_or_si512(words, _mm512_set1_epi32(0x30001)),
                                     fa_round_bfloats_512(w));
}
#endif

/* ---- widen -------------------------------------------------------------------------------- */

#define FA_TEMPLATE "wide_kernels.h"
#include "foreach_level.h"

#endif /* FA_WIDE_H */
