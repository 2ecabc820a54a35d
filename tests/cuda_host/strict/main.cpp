/* main.cpp -- every operation and engine on the stand-in against the CPU: strict [seeds [name]] */
#include <cstdlib>

#include "twin.h"

/* An operation without its check does not link. */
#define DECLARE(op, doc) void check_##op(const setting &round);
FA_OPS(DECLARE)
#undef DECLARE
void check_integrate(const setting &round);
void check_sampling(const setting &round);
void check_ascending(const setting &round);
void check_layers(const setting &round);
void check_copies(const setting &round);

static const struct {
    const char *name;
    void (*run)(const setting &round);
} checks[] = {
#define ROW(op, doc) {#op, check_##op},
    FA_OPS(ROW)
#undef ROW
        {"copies", check_copies},
    {"integrate", check_integrate},
    {"sampling", check_sampling},
    {"ascending", check_ascending},
    {"layers", check_layers},
};

/* What was copied to the device comes back, and the host's memory may be reused at once. */
void check_copies(const setting &round)
{
    fa_error error;
    const fa_backend *const cuda = fa_backend_open();
    std::vector<double> there = {1.0, 2.0, 3.0}, back(3);
    const std::vector<double> before = there;
    device_array<double> memory(3);
    CHECK(cuda->abi == FA_ABI);
    CHECK(cuda->ready(0, &error) == FA_OK);
    CHECK(cuda->ready(1, &error) == FA_EDEVICE);
    CHECK(cuda->upload(memory.data(), there.data(), 24, round.stream, &error) == FA_OK);
    there.assign(3, -1.0);
    CHECK(cuda->download(back.data(), memory.data(), 24, round.stream, &error) == FA_OK);
    CHECK(back == before);
}

int main(int argc, char **argv)
{
    const int seeds = argc > 1 ? atoi(argv[1]) : 2;
    const char *const only = argc > 2 ? argv[2] : nullptr;
    int run = 0;
    for (int seed = 0; seed < seeds; seed++) {
        cudaStream_t stream = nullptr;
        if (seed % 3 != 0) CHECK(cudaStreamCreateWithFlags(&stream, 1) == cudaSuccess);
        cuda_host_seed((uint64_t)seed);
        cuda_host_defer(seed % 2);
        for (const fa_dtype dtype : {FA_FLOAT32, FA_FLOAT64, FA_FLOAT16, FA_BFLOAT16}) {
            const setting round = {(uint64_t)seed, dtype, stream};
            for (const auto &check : checks) {
                if (only != nullptr && strcmp(only, check.name) != 0) continue;
                reseed(round);
                check.run(round);
                run++;
            }
        }
        if (stream != nullptr) CHECK(cudaStreamDestroy(stream) == cudaSuccess);
    }
    CHECK(run > 0); /* else the name was none */
    CHECK(cuda_host_allocations() == 0);
    CHECK(cuda_host_reports() == 0);
    return finish_checks("strict");
}
