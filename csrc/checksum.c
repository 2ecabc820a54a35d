/* checksum.c -- Fletcher's two sums in 64 lanes of 32 bits side by side, mixed into 64 bits
 *
 * a += word, b += a in every lane: two additions a word, so that it runs at the speed of memory.
 * The position of a word counts by its lane, and within it by b. */
#include "checksum.h"

#include <string.h>

#define FA_LANES 64

/* The finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014): a bijection. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t fa_checksum(uint64_t sum, const void *data, int64_t bytes)
{
    const char *from = data;
    uint32_t a[FA_LANES] = {0}, b[FA_LANES] = {0}, words[FA_LANES];
    for (int64_t left = bytes; left > 0; left -= (int64_t)sizeof(words)) {
        if (left < (int64_t)sizeof(words)) memset(words, 0, sizeof(words));
        const size_t part = left < (int64_t)sizeof(words) ? (size_t)left : sizeof(words);
        memcpy(words, from, part);
        from += part;
        for (int i = 0; i < FA_LANES; i++) {
            a[i] += words[i];
            b[i] += a[i];
        }
    }
    sum = mix(sum + (uint64_t)bytes + 1);
    for (int i = 0; i < FA_LANES; i++) sum = mix(sum + (((uint64_t)b[i] << 32) | a[i]) + 1);
    return sum;
}
