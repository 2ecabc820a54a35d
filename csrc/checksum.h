/* checksum.h -- whether memory still holds what it held. */
#ifndef FA_CHECKSUM_H
#define FA_CHECKSUM_H

#include <stdint.h>

/* Of `bytes` bytes, continued from `sum`. Any change of one word changes it for certain, others
 * but for one in 2**64; it is no defence against an adversary. */
uint64_t fa_checksum(uint64_t sum, const void *data, int64_t bytes);

#endif /* FA_CHECKSUM_H */
