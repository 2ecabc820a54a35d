/* streams.cpp -- streams, events, copies, launches.
 *
 * An operation is a function in the queue of its stream. Deferred, it runs only when somebody
 * waits for it, or for something behind it, so that a missing wait shows; otherwise at once. */
#include "streams.h"

#include <deque>
#include <map>
#include <vector>

#include "control.h"
#include "memory.h"
#include "scheduler.h"

namespace cuhost
{

struct stream {
    std::deque<std::function<void()>> waiting;
    uint64_t issued, done;
    bool blocking; /* waits for the default stream, and that for it */
};

/* Shared with the operations that record and await it, which may outlive it. */
struct event {
    stream *recorded_on;
    uint64_t number; /* of the operation that it stands behind */
};

namespace
{

using lock_guard = std::lock_guard<std::recursive_mutex>;

stream default_stream = {{}, 0, 0, true};
std::vector<stream *> streams = {&default_stream};
std::map<const void *, size_t> shared_limits;

bool is_alive(const stream *one)
{
    for (const stream *other : streams) {
        if (other == one) return true;
    }
    return false;
}

stream *stream_of(cudaStream_t handle)
{
    const bool is_default = handle == nullptr || handle == cudaStreamLegacy;
    return is_default ? &default_stream : handle;
}

void run_until(stream *one, uint64_t number)
{
    while (is_alive(one) && one->done < number && !one->waiting.empty()) {
        const auto operation = std::move(one->waiting.front());
        one->waiting.pop_front();
        operation();
        one->done++;
    }
}

void run_everything()
{
    for (size_t i = 0; i < streams.size(); i++) run_until(streams[i], streams[i]->issued);
}

/* What has been issued to the streams that `self` waits for. */
std::vector<std::pair<stream *, uint64_t>> before(const stream *self)
{
    std::vector<std::pair<stream *, uint64_t>> found;
    for (stream *other : streams) {
        const bool ordered = other != self && other->blocking && self->blocking &&
                             (self == &default_stream || other == &default_stream);
        if (ordered) found.push_back({other, other->issued});
    }
    return found;
}

} // namespace

cudaError_t enqueue(cudaStream_t handle, std::function<void()> operation)
{
    stream *const self = stream_of(handle);
    if (!is_alive(self)) return note(cudaErrorInvalidResourceHandle);
    if (lost() != cudaSuccess) return lost();
    const auto others = before(self);
    self->waiting.push_back([=] {
        for (const auto &[other, number] : others) run_until(other, number);
        operation();
    });
    self->issued++;
    if (!chosen.deferred) run_until(self, self->issued);
    return cudaSuccess;
}

namespace
{

bool fits(const void *pointer, size_t bytes, bool on_device)
{
    return on_device ? is_device_range(pointer, bytes) : !is_device(pointer);
}

/* A copy says where its memory lies, and it is true. */
cudaError_t check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (bytes == 0 || chosen.managed) return cudaSuccess;
    const bool to_device = kind == cudaMemcpyDefault
                               ? is_device(to)
                               : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDefault ? is_device(from)
                                                       : kind == cudaMemcpyDeviceToHost ||
                                                             kind == cudaMemcpyDeviceToDevice;
    if (fits(to, bytes, to_device) && fits(from, bytes, from_device)) return cudaSuccess;
    report("cudaMemcpy", 0, "pointers do not fit the kind %d of the copy, or its %zu bytes", kind,
           bytes);
    return cudaErrorInvalidValue;
}

cudaError_t check_launch(const launch &job)
{
    const dim3 g = job.grid, b = job.block;
    const uint64_t threads = uint64_t(b.x) * b.y * b.z;
    if (threads == 0 || threads > most_threads || b.z > 64 || g.x == 0 || g.y == 0 || g.z == 0 ||
        g.x > 0x7fffffff || g.y > 65535 || g.z > 65535) {
        return cudaErrorInvalidConfiguration;
    }
    const auto limit = shared_limits.find(job.function);
    const size_t most = limit != shared_limits.end() ? limit->second : 48 << 10;
    return job.shared <= most ? cudaSuccess : cudaErrorInvalidValue;
}

void run_launch(const launch &job)
{
    if (lost() != cudaSuccess) return;
    const uint64_t wrong = host_pointer_in(job.words);
    if (wrong != 0) {
        report(job.file, job.line, "an argument of kernel %s points to host memory: 0x%llx",
               job.name, (unsigned long long)wrong);
        return;
    }
    const device_access access;
    void *shared = nullptr; /* exactly as large as was asked for: its end is guarded */
    if (job.shared > 0 && posix_memalign(&shared, 128, job.shared) != 0) abort();
    run_grid(job, shared);
    free(shared);
}

} // namespace

cudaError_t enqueue_launch(launch &&job, cudaStream_t handle)
{
    const lock_guard lock(everything);
    const cudaError_t error = check_launch(job);
    if (error != cudaSuccess) return note(error);
    return enqueue(handle, [job = std::move(job)] { run_launch(job); });
}

cudaError_t set_function_attribute(const void *function, cudaFuncAttribute, int value)
{
    const lock_guard lock(everything);
    if (value < 0 || value > 227 << 10) return note(cudaErrorInvalidValue);
    shared_limits[function] = (size_t)value;
    return cudaSuccess;
}

} // namespace cuhost

using namespace cuhost;

// ---- memory ---------------------------------------------------------------------------------

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    const lock_guard lock(everything);
    run_everything();
    return cudaMallocAsync(out, bytes, nullptr);
}

cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t)
{
    const lock_guard lock(everything);
    *out = bytes > 0 ? allocate(bytes) : nullptr;
    return note(*out != nullptr || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *memory)
{
    const lock_guard lock(everything);
    run_everything();
    return note(memory == nullptr || release(memory) ? lost() : cudaErrorInvalidValue);
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t handle)
{
    const lock_guard lock(everything);
    if (memory != nullptr && !is_device(memory)) return note(cudaErrorInvalidValue);
    return enqueue(handle, [=] { release(memory); });
}

/* From pageable memory the source is read now, as CUDA does, which copies it to memory of its
 * own; pinned memory is read when the copy runs. To the host CUDA would wait if the memory is
 * pageable: not here, since nobody should count on that. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t handle)
{
    const lock_guard lock(everything);
    const cudaError_t error = check_copy(to, from, bytes, kind);
    if (error != cudaSuccess) return note(error);
    const bool pageable = kind == cudaMemcpyHostToDevice && !is_pinned(from);
    if (!pageable || !chosen.deferred) {
        return enqueue(handle, [=] {
            const device_access access;
            if (bytes > 0) memmove(to, from, bytes);
        });
    }
    const char *const source = static_cast<const char *>(from);
    return enqueue(handle, [=, staged = std::vector<char>(source, source + bytes)] {
        const device_access access;
        if (bytes > 0) memcpy(to, staged.data(), bytes);
    });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    const lock_guard lock(everything);
    const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    run_until(&default_stream, default_stream.issued);
    return error;
}

cudaError_t cudaMemsetAsync(void *memory, int byte, size_t bytes, cudaStream_t handle)
{
    const lock_guard lock(everything);
    if (!chosen.managed && !is_device_range(memory, bytes)) {
        report("cudaMemset", 0, "not %zu bytes of the device", bytes);
        return note(cudaErrorInvalidValue);
    }
    return enqueue(handle, [=] {
        const device_access access;
        if (bytes > 0) memset(memory, byte, bytes);
    });
}

cudaError_t cudaMemset(void *memory, int byte, size_t bytes)
{
    return cudaMemsetAsync(memory, byte, bytes, nullptr);
}

// ---- streams and events ---------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    const lock_guard lock(everything);
    streams.push_back(*out = new stream{{}, 0, 0, flags != cudaStreamNonBlocking});
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    const lock_guard lock(everything);
    if (handle == nullptr || !is_alive(handle)) return note(cudaErrorInvalidResourceHandle);
    run_until(handle, handle->issued);
    for (size_t i = 0; i < streams.size(); i++) {
        if (streams[i] == handle) streams.erase(streams.begin() + (ptrdiff_t)i);
    }
    delete handle;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    const lock_guard lock(everything);
    stream *const self = stream_of(handle);
    if (!is_alive(self)) return note(cudaErrorInvalidResourceHandle);
    run_until(self, self->issued);
    return lost();
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    const lock_guard lock(everything);
    const stream *const self = stream_of(handle);
    if (!is_alive(self)) return note(cudaErrorInvalidResourceHandle);
    return self->done < self->issued ? cudaErrorNotReady : lost();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned)
{
    const lock_guard lock(everything);
    const cuhost::event at = *event;
    if (at.recorded_on == nullptr) return cudaSuccess;
    return enqueue(handle, [=] { run_until(at.recorded_on, at.number); });
}

cudaError_t cudaDeviceSynchronize()
{
    const lock_guard lock(everything);
    run_everything();
    return lost();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    *out = new event{nullptr, 0};
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out) { return cudaEventCreateWithFlags(out, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle)
{
    const lock_guard lock(everything);
    stream *const self = stream_of(handle);
    *event = {self, self->issued};
    return lost();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    const lock_guard lock(everything);
    if (event->recorded_on != nullptr) run_until(event->recorded_on, event->number);
    return lost();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    const lock_guard lock(everything);
    const stream *const on = event->recorded_on;
    return on != nullptr && is_alive(on) && on->done < event->number ? cudaErrorNotReady : lost();
}

void cuda_host_defer(int deferred)
{
    const lock_guard lock(everything);
    run_everything();
    chosen.deferred = deferred != 0;
}

void cuda_host_flush(void)
{
    const lock_guard lock(everything);
    run_everything();
}
