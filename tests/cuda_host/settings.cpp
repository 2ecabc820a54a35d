/* settings.cpp -- settings, random orders, reports. */
#include "settings.h"

#include <cstdarg>
#include <cstdio>
#include <numeric>

#include "control.h"

namespace cuhost
{

std::recursive_mutex everything;
settings chosen;

namespace
{

uint64_t state = 1;
int64_t reports;
cudaError_t last_error = cudaSuccess;

uint64_t number(const char *name, uint64_t otherwise)
{
    const char *const text = getenv(name);
    return text != nullptr ? strtoull(text, nullptr, 0) : otherwise;
}

} // namespace

settings::settings()
    : seed(number("CUDA_HOST_SEED", 0)), deferred(number("CUDA_HOST_DEFER", 0) != 0),
      managed(number("CUDA_HOST_MANAGED", 0) != 0), ended(number("CUDA_HOST_ABORT", 0) != 0),
      processors((int)number("CUDA_HOST_PROCESSORS", 3))
{
    draw_from(seed);
}

void draw_from(uint64_t seed) { state = seed * 0x9E3779B97F4A7C15u + 1; }

uint64_t draw() /* xorshift64* */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545F4914F6CDD1Du >> 32;
}

order::order(uint64_t count) : n(count), step(1), at(0)
{
    if (chosen.seed == 0 || n < 2) return;
    do {
        step = draw() % n;
    } while (std::gcd(step, n) != 1);
    at = draw() % n;
}

uint64_t order::next()
{
    const uint64_t found = at;
    at += step;
    if (at >= n) at -= n;
    return found;
}

void report(const char *file, int line, const char *format, ...)
{
    char text[400];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    fprintf(stderr, "cuda_host: %s:%d: %s\n", file, line, text);
    reports++;
    last_error = cudaErrorLaunchFailure;
    if (chosen.ended) abort();
}

int64_t report_count() { return reports; }

cudaError_t note(cudaError_t error)
{
    if (error != cudaSuccess && lost() == cudaSuccess) last_error = error;
    return error;
}

cudaError_t lost() { return last_error == cudaErrorLaunchFailure ? last_error : cudaSuccess; }

} // namespace cuhost

using namespace cuhost;

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetLastError()
{
    const cudaError_t error = last_error;
    if (lost() == cudaSuccess) last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
#define CASE(name) \
    case name:     \
        return #name;
        CASE(cudaSuccess)
        CASE(cudaErrorInvalidValue)
        CASE(cudaErrorMemoryAllocation)
        CASE(cudaErrorInvalidConfiguration)
        CASE(cudaErrorInsufficientDriver)
        CASE(cudaErrorNoDevice)
        CASE(cudaErrorInvalidDevice)
        CASE(cudaErrorInvalidResourceHandle)
        CASE(cudaErrorNotReady)
        CASE(cudaErrorLaunchFailure)
#undef CASE
    }
    return "an unknown error";
}

const char *cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

void cuda_host_seed(uint64_t seed)
{
    const std::lock_guard<std::recursive_mutex> lock(everything);
    chosen.seed = seed;
    draw_from(seed);
}

void cuda_host_manage(int managed) { chosen.managed = managed != 0; }
void cuda_host_reset(void)
{
    const std::lock_guard<std::recursive_mutex> lock(everything);
    last_error = cudaSuccess;
}

int64_t cuda_host_reports(void) { return report_count(); }
