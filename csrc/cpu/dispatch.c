/* dispatch.c -- which instructions the kernels may use, decided once per process. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#ifdef FA_X86
#include <cpuid.h>
#endif

static const char *const names[FA_LEVELS] = {"base", "avx2", "avx512"};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int chosen;

static int best_level(void)
{
#ifdef FA_X86
    unsigned a, b, features = 0, d;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") ||
        !__builtin_cpu_supports("fma")) {
        return FA_LEVEL_BASE;
    }
    if (!__get_cpuid(1, &a, &b, &features, &d) || !(features & bit_F16C)) { /* clang: no name */
        return FA_LEVEL_BASE;
    }
    const int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return wide ? FA_LEVEL_AVX512 : FA_LEVEL_AVX2;
#else
    return FA_LEVEL_BASE;
#endif
}

/* FASTATTR_CPU_LEVEL lowers the level, for tests and for machines where wide vectors cost
 * clock speed. A name that is unknown, or more than the CPU has, changes nothing. */
static void choose(void)
{
    const char *wanted = getenv("FASTATTR_CPU_LEVEL");
    chosen = best_level();
    for (int level = 0; wanted != NULL && level < chosen; level++) {
        if (strcmp(wanted, names[level]) == 0) chosen = level;
    }
}

int fa_cpu_level(void)
{
    pthread_once(&once, choose);
    return chosen;
}

const char *fa_cpu_level_name(int level) { return names[level]; }
