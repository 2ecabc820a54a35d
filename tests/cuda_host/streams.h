/* streams.h -- work that a stream does in its turn. */
#ifndef CUDA_HOST_STREAMS_H
#define CUDA_HOST_STREAMS_H

#include <functional>

#include "settings.h"

namespace cuhost
{

cudaError_t enqueue(cudaStream_t handle, std::function<void()> operation);

} // namespace cuhost

#endif /* CUDA_HOST_STREAMS_H */
