/* main.cpp -- faults NAME [SEEDS]: 0 if every seed gave the right numbers, else 1. */
#include "faults.h"

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        bool (*run)();
    } list[] = {
#define ROW(name) {#name, fault_##name},
        FAULTS(ROW)
#undef ROW
    };
    const int seeds = argc > 2 ? atoi(argv[2]) : 1;
    int wrong = 0;
    for (const auto &fault : list) {
        if (argc < 2) printf("%s\n", fault.name);
        if (argc < 2 || strcmp(fault.name, argv[1]) != 0) continue;
        cuda_host_defer(1);
        for (int seed = 0; seed < seeds; seed++) {
            cuda_host_seed((uint64_t)seed);
            wrong += !fault.run();
            cuda_host_reset();
        }
        if (wrong > 0) fprintf(stderr, "wrong numbers for %d of %d seeds\n", wrong, seeds);
        return wrong > 0 || cuda_host_reports() > 0 ? 1 : 0;
    }
    return argc < 2 ? 0 : 2;
}
