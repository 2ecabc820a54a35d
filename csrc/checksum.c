/* checksum.c -- Fletcher's two sums in 16 lanes of 32 bits side by side, mixed into 64 bits
 *
 * a += word, b += a in every lane: two additions a word, so that it runs at the speed of memory.
 * The position of a word counts by its lane, and within it by b. */
#include "checksum.h"

#include <string.h>

#define FA_LANES 16

typedef uint32_t lanes
    __attribute__((vector_size(4 * FA_LANES))); /* in registers, unlike an array */

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
    lanes a = {0}, b = {0}, words = {0};
    int64_t left = bytes;
    for (; left >= (int64_t)sizeof(words); left -= (int64_t)sizeof(words)) {
        memcpy(&words, from, sizeof(words));
        from += sizeof(words);
        a += words;
        b += a;
    }
    if (left > 0) {
        words = (lanes){0};
        memcpy(&words, from, (size_t)left);
        a += words;
        b += a;
    }
    sum = mix(sum + (uint64_t)bytes + 1);
    for (int i = 0; i < FA_LANES; i++) sum = mix(sum + (((uint64_t)b[i] << 32) | a[i]) + 1);
    return sum;
}
