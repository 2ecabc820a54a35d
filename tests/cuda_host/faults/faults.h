/* faults.h -- mistakes that the stand-in has to notice, by what it or a sanitizer then says.
 *
 * Each returns whether the numbers that came out are right. Of each the text on stderr in the plain
 * build, under the address sanitizer and under the thread sanitizer; NULL: it is not seen there. */
#ifndef CUDA_HOST_FAULTS_H
#define CUDA_HOST_FAULTS_H

#include "../../../cuda/launch.h"
#include "../check.h"

#define WRONG "wrong numbers for"
#define RACE "data race"
#define HOST "points to host memory"
#define REFUSED "the launch was refused"
#define BARRIERS "a barrier while others"
#define LEFT "threads left before a barrier"
#define LANES "lanes of the mask never came"
#define MASK "not in its own mask"
#define SHUFFLES "while others of its mask"
#define KIND "do not fit the kind"
#define LEADING "leading dimensions"

#define FAULTS(X)                                                                                  \
    X(missing_barrier, WRONG, WRONG, RACE)  /* no barrier at all after a write of shared memory */ \
    X(dropped_barrier, WRONG, WRONG, RACE)  /* of several, the one between a write and a read */   \
    X(missing_syncwarp, WRONG, WRONG, RACE) /* the same within a warp */                           \
    X(unequal_barriers, BARRIERS, BARRIERS, BARRIERS) /* at two lines */                           \
    X(early_return, LEFT, LEFT, LEFT)                                                              \
    X(partial_shuffle, LANES, LANES, LANES) /* with the mask of a whole warp */                    \
    X(foreign_mask, MASK, MASK, MASK)                                                              \
    X(unequal_shuffles, SHUFFLES, SHUFFLES, SHUFFLES)     /* at two lines */                       \
    X(stale_shared, WRONG, WRONG, WRONG)                  /* what only another block wrote */      \
    X(plain_increment, NULL, NULL, RACE)                  /* of shared memory, by all threads */   \
    X(beyond_the_end, NULL, "heap-buffer-overflow", NULL) /* of device memory */                   \
    X(beyond_shared, NULL, "out of bounds", NULL)         /* memory */                             \
    X(beyond_dynamic, NULL, "heap-buffer-overflow", NULL) /* shared memory */                      \
    X(beyond_local, NULL, "insufficient space", NULL)     /* array of a thread that has waited */  \
    X(unaligned_load, NULL, "misaligned address", NULL)   /* of a float4 */                        \
    X(host_pointer, HOST, HOST, HOST)                     /* as an argument */                     \
    X(host_pointer_inside, HOST, HOST, HOST)              /* a structure */                        \
    X(host_reads_device, NULL, "use-after-poison", NULL)  /* without a copy */                     \
    X(freed_memory, HOST, HOST, HOST)                     /* in a launch */                        \
    X(wrong_kind, KIND, KIND, KIND)                       /* of copy */                            \
    X(long_copy, KIND, KIND, KIND)                                                                 \
    X(missing_event, WRONG, WRONG, WRONG)       /* between two streams */                          \
    X(missing_wait, WRONG, WRONG, WRONG)        /* for a copy to the host */                       \
    X(reused_source, WRONG, WRONG, WRONG)       /* of a copy from pinned memory */                 \
    X(many_threads, REFUSED, REFUSED, REFUSED)  /* in a block */                                   \
    X(much_shared, REFUSED, REFUSED, REFUSED)   /* dynamic memory, unasked for */                  \
    X(wrong_leading, LEADING, LEADING, LEADING) /* dimension of a matrix for cuBLAS */

/* Nothing wrong: nothing is said. */
bool fault_none();
#define DECLARE(name, plain, address, threads) bool fault_##name();
FAULTS(DECLARE)
#undef DECLARE

#endif /* CUDA_HOST_FAULTS_H */
