/* z[0..FA_NOISE_BLOCK-1]: normals of a draw at blocks first..first+FA_NOISE_BLOCK/4-1. The
 * rounds of fa_philox, with the counters side by side so that they share instructions. */
static void FN(normals)(double *restrict z, fa_key stream, int64_t draw, int64_t first)
{
    enum { LANES = FA_NOISE_BLOCK / 4 };
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES], words[FA_NOISE_BLOCK];
    for (int64_t i = 0; i < LANES; i++) {
        c0[i] = (uint32_t)(first + i);
        c1[i] = (uint32_t)((uint64_t)(first + i) >> 32);
        c2[i] = (uint32_t)draw;
        c3[i] = (uint32_t)((uint64_t)draw >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int64_t i = 0; i < LANES; i++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0[i], p1 = (uint64_t)0xCD9E8D57u * c2[i];
            c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ stream.word[0];
            c1[i] = (uint32_t)p1;
            c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ stream.word[1];
            c3[i] = (uint32_t)p0;
        }
        stream.word[0] += 0x9E3779B9u;
        stream.word[1] += 0xBB67AE85u;
    }
    for (int64_t i = 0; i < LANES; i++) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
    for (int64_t i = 0; i < FA_NOISE_BLOCK; i++) z[i] = fa_normal(words[i]);
}
