/* checksum.c -- Fletcher's two sums in 16 lanes of 32 bits side by side, mixed into 64 bits
 *
 * a += word, b += a in every lane: two additions a word, so that it runs at the speed of memory.
 * The position of a word counts by its lane, and within it by b. Threads share large memory in
 * pieces, whose sums are mixed in order. */
#include "checksum.h"

#include <string.h>

#include "threads.h"

#define FA_LANES 16
#define FA_PIECES 64
#define FA_PIECE (2 << 20) /* bytes: worth a thread; doubled until so many pieces do */

typedef uint32_t lanes
    __attribute__((vector_size(4 * FA_LANES))); /* in registers, unlike an array */

/* The finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014): a bijection. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t sum_of(const char *from, int64_t bytes)
{
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
    uint64_t sum = mix((uint64_t)bytes + 1);
    for (int i = 0; i < FA_LANES; i++) sum = mix(sum + (((uint64_t)b[i] << 32) | a[i]) + 1);
    return sum;
}

typedef struct {
    const char *data;
    int64_t bytes, piece;
    uint64_t sums[FA_PIECES];
} pieces;

static void sum_pieces(void *context, int64_t begin, int64_t end)
{
    pieces *job = context;
    for (int64_t i = begin; i < end; i++) {
        const int64_t first = i * job->piece, left = job->bytes - first;
        job->sums[i] = sum_of(job->data + first, left < job->piece ? left : job->piece);
    }
}

uint64_t fa_checksum(uint64_t sum, const void *data, int64_t bytes)
{
    pieces job = {.data = data, .bytes = bytes, .piece = FA_PIECE};
    while (bytes > FA_PIECES * job.piece) job.piece *= 2;
    const int64_t count = (bytes + job.piece - 1) / job.piece;
    fa_parallel_for(count, FA_PIECE / 4, sum_pieces, &job);
    sum = mix(sum + (uint64_t)bytes + 1);
    for (int64_t i = 0; i < count; i++) sum = mix(sum + job.sums[i] + 1);
    return sum;
}
