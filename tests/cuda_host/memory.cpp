/* memory.cpp -- device memory comes from the host's heap: its sanitizer guards both ends, and knows
 * what was freed. Between launches all of it is poisoned. */
#include "memory.h"

#include <cerrno>
#include <iterator>
#include <map>

#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "control.h"

namespace cuhost
{

namespace
{

constexpr size_t capacity = size_t(8) << 30;
constexpr uint64_t first_address = uint64_t(1) << 45; /* no smaller number is taken for one */
constexpr uint64_t last_address = uint64_t(1) << 48;

using regions = std::map<uintptr_t, size_t>;
regions device, pinned;
int accesses;

const regions::value_type *region_of(const regions &all, const void *pointer)
{
    const uintptr_t at = reinterpret_cast<uintptr_t>(pointer);
    const auto after = all.upper_bound(at);
    if (after == all.begin()) return nullptr;
    const auto found = std::prev(after);
    return at - found->first < (found->second > 0 ? found->second : 1) ? &*found : nullptr;
}

void open(bool opened)
{
    (void)opened;
#ifdef __SANITIZE_ADDRESS__
    for (const auto &[at, bytes] : device) {
        void *const memory = reinterpret_cast<void *>(at);
        if (opened) {
            __asan_unpoison_memory_region(memory, bytes);
        } else {
            __asan_poison_memory_region(memory, bytes);
        }
    }
#endif
}

bool is_mapped(uint64_t address)
{
    static const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    unsigned char resident[1];
    void *const start = reinterpret_cast<void *>(address & ~(page - 1));
    return mincore(start, 1, resident) == 0 || errno != ENOMEM;
}

} // namespace

device_access::device_access()
{
    if (accesses++ == 0) open(true);
}

device_access::~device_access()
{
    if (--accesses == 0) open(false);
}

bool is_device(const void *pointer) { return region_of(device, pointer) != nullptr; }
bool is_pinned(const void *pointer) { return region_of(pinned, pointer) != nullptr; }

bool is_device_range(const void *pointer, size_t bytes)
{
    const auto *const region = region_of(device, pointer);
    if (bytes == 0) return true;
    return region != nullptr &&
           bytes <= region->second - (reinterpret_cast<uintptr_t>(pointer) - region->first);
}

uint64_t host_pointer_in(const std::vector<uint64_t> &words)
{
    if (chosen.managed) return 0;
    for (const uint64_t word : words) {
        if (word < first_address || word >= last_address) continue;
        if (!is_device(reinterpret_cast<void *>(word)) && is_mapped(word)) return word;
    }
    return 0;
}

/* From the host's heap, for its sanitizer to guard both ends; 256 bytes aligned like CUDA's. */
void *allocate(size_t bytes)
{
    void *memory = nullptr;
    if (bytes > capacity || posix_memalign(&memory, 256, bytes) != 0) return nullptr;
    memset(memory, 0xff, bytes);
    device[reinterpret_cast<uintptr_t>(memory)] = bytes;
    open(accesses > 0);
    return memory;
}

bool release(void *memory)
{
    const auto found = device.find(reinterpret_cast<uintptr_t>(memory));
    if (found == device.end()) return false;
    {
        const device_access access;
        memset(memory, 0xfe, found->second);
        device.erase(found);
        free(memory);
    }
    return true;
}

} // namespace cuhost

using namespace cuhost;
using lock_guard = std::lock_guard<std::recursive_mutex>;

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    const lock_guard lock(everything);
    *out = malloc(bytes > 0 ? bytes : 1);
    if (*out == nullptr) return note(cudaErrorMemoryAllocation);
    pinned[reinterpret_cast<uintptr_t>(*out)] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory)
{
    const lock_guard lock(everything);
    cuda_host_flush();
    if (memory != nullptr && pinned.erase(reinterpret_cast<uintptr_t>(memory)) == 0) {
        return note(cudaErrorInvalidValue);
    }
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *out, const void *pointer)
{
    const lock_guard lock(everything);
    void *const at = const_cast<void *>(pointer);
    *out = {cudaMemoryTypeUnregistered, -1, nullptr, at};
    if (is_device(pointer)) *out = {cudaMemoryTypeDevice, 0, at, nullptr};
    if (is_pinned(pointer)) *out = {cudaMemoryTypeHost, 0, at, at};
    if (chosen.managed) *out = {cudaMemoryTypeManaged, 0, at, at};
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    const lock_guard lock(everything);
    *available = *total = capacity;
    for (const auto &region : device) *available -= region.second;
    return cudaSuccess;
}

int64_t cuda_host_allocations(void) { return (int64_t)device.size(); }
