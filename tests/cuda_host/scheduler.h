/* scheduler.h -- a grid, block after block; the threads of a block take turns. */
#ifndef CUDA_HOST_SCHEDULER_H
#define CUDA_HOST_SCHEDULER_H

#include "settings.h"

namespace cuhost
{

constexpr int most_threads = 1024; /* of a block */
constexpr int most_warps = most_threads / 32;

/* Reports misuse and then runs no further block. `shared` are job.shared bytes. */
void run_grid(const launch &job, void *shared);

} // namespace cuhost

#endif /* CUDA_HOST_SCHEDULER_H */
