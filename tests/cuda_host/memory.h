/* memory.h -- the device's heap, and who may touch it. */
#ifndef CUDA_HOST_MEMORY_H
#define CUDA_HOST_MEMORY_H

#include "settings.h"

namespace cuhost
{

/* While one lives, the device's memory may be read and written; otherwise the address sanitizer
 * reports whoever does. */
class device_access
{
  public:
    device_access();
    ~device_access();
};

bool is_device(const void *pointer);
bool is_device_range(const void *pointer, size_t bytes);
bool is_pinned(const void *pointer); /* from cudaMallocHost */

/* The first of the words of a kernel's arguments that is the address of host memory, or 0. That
 * of memory which is mapped, and not the device's, inside of structures too. */
uint64_t host_pointer_in(const std::vector<uint64_t> &words);

void *allocate(size_t bytes); /* NULL: none left */
bool release(void *memory);

} // namespace cuhost

#endif /* CUDA_HOST_MEMORY_H */
