/* faults.h -- mistakes that the stand-in has to notice. Each returns whether the numbers that
 * came out are right; one that ends by a report never gets so far, or says it. */
#ifndef CUDA_HOST_FAULTS_H
#define CUDA_HOST_FAULTS_H

#include "../../../cuda/launch.h"
#include "../check.h"

#define FAULTS(X)                                                            \
    X(none)                /* no mistake: must pass */                       \
    X(missing_barrier)     /* between a write and a read of shared memory */ \
    X(missing_syncwarp)    /* the same within a warp */                      \
    X(unequal_barriers)    /* at two lines */                                \
    X(early_return)        /* before a barrier */                            \
    X(partial_shuffle)     /* with the mask of a whole warp */               \
    X(foreign_mask)        /* without the lane itself */                     \
    X(unequal_shuffles)    /* at two lines */                                \
    X(stale_shared)        /* memory that only another block wrote */        \
    X(plain_increment)     /* of shared memory, by all threads */            \
    X(beyond_the_end)      /* of device memory */                            \
    X(beyond_shared)       /* memory */                                      \
    X(beyond_dynamic)      /* shared memory */                               \
    X(beyond_local)        /* an array of a thread that has waited */        \
    X(unaligned_load)      /* of a float4 */                                 \
    X(host_pointer)        /* as an argument */                              \
    X(host_pointer_inside) /* a structure */                                 \
    X(host_reads_device)   /* without a copy */                              \
    X(freed_memory)        /* in a launch */                                 \
    X(wrong_kind)          /* of copy */                                     \
    X(long_copy)           /* beyond the end */                              \
    X(missing_event)       /* between two streams */                         \
    X(missing_wait)        /* for a copy to the host */                      \
    X(reused_source)       /* of a copy from pinned memory */                \
    X(many_threads)        /* in a block */                                  \
    X(much_shared)         /* dynamic memory, unasked for */

#define DECLARE(name) bool fault_##name();
FAULTS(DECLARE)
#undef DECLARE

#endif /* CUDA_HOST_FAULTS_H */
