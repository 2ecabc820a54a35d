/* main.cpp -- faults: every mistake in a process of its own, which must end by saying what it
 * should. faults NAME: that one here; 0 if it is not noticed. */
#include "faults.h"

#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace
{

#if defined(CUDA_HOST_TSAN)
#define EXPECTED(plain, address, threads) threads
#elif defined(__SANITIZE_ADDRESS__)
#define EXPECTED(plain, address, threads) address
#else
#define EXPECTED(plain, address, threads) plain
#endif

constexpr int seeds = 8;

const struct {
    const char *name;
    bool (*run)();
    const char *expected;
} list[] = {{"none", fault_none, nullptr},
#define ROW(name, plain, address, threads) {#name, fault_##name, EXPECTED(plain, address, threads)},
            FAULTS(ROW)
#undef ROW
};

/* 0 if every seed gave the right numbers and nothing was reported, else 1. */
int make_mistake(bool (*run)())
{
    int wrong = 0;
    cuda_host_defer(1);
    for (uint64_t seed = 0; seed < seeds; seed++) {
        cuda_host_seed(seed);
        wrong += !run();
        cuda_host_reset();
    }
    if (wrong > 0) fprintf(stderr, "wrong numbers for %d of %d seeds\n", wrong, seeds);
    return wrong > 0 || cuda_host_reports() > 0 ? 1 : 0;
}

/* What `program name` says on stderr, and how it ends. */
std::string said_by(const char *program, const char *name, int *status)
{
    int ends[2];
    std::string text;
    if (pipe(ends) != 0) return text;
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        execl(program, program, name, (char *)nullptr);
        _exit(127);
    }
    close(ends[1]);
    char piece[4096];
    for (ssize_t n; (n = read(ends[0], piece, sizeof(piece))) > 0;) text.append(piece, size_t(n));
    close(ends[0]);
    waitpid(child, status, 0);
    return text;
}

} // namespace

int main(int argc, char **argv)
{
    int noticed = 0, unseen = 0;
    for (const auto &fault : list) {
        if (argc > 1 && strcmp(fault.name, argv[1]) == 0) return make_mistake(fault.run);
        if (argc > 1) continue;
        const bool faultless = fault.run == fault_none;
        unseen += fault.expected == nullptr && !faultless;
        if (fault.expected == nullptr && !faultless) continue;
        int status = 0;
        const std::string text = said_by("/proc/self/exe", fault.name, &status);
        const bool right = faultless ? status == 0 && text.empty()
                                     : status != 0 && text.find(fault.expected) != text.npos;
        CHECK(right);
        noticed += right && !faultless;
        if (!right)
            fprintf(stderr, "%s: ended with %d and said:\n%s", fault.name, status, text.c_str());
    }
    if (argc > 1) return 2; /* no such name */
    printf("faults: %d noticed, %d not visible in this build\n", noticed, unseen);
    return checks_failed == 0 ? 0 : 1;
}
