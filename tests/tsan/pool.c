/* pool.c -- the thread pool and the cache of rules, all at once, for the thread sanitizer.
 *
 * Callers run loops side by side while the number of threads changes, others ask for the same
 * and for different rules, and the process forks in the midst of it: parent and children must
 * get every item once and every rule right. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quadrature.h"
#include "threads.h"

#define CALLERS 4
#define LOOPS 60
#define LARGEST 70001 /* items; above the size from which the pool is used */
#define NODES 48
#define FORKS 12
#define EARLY_FORKS 200
#define SECONDS 60 /* then a process hangs and is ended by its alarm */

const char *__tsan_default_options(void); /* children start threads: that is the point */
const char *__tsan_default_options(void) { return "die_after_fork=0:halt_on_error=1"; }

static atomic_int stop;
static atomic_uintptr_t rules[FA_RULES][NODES + 1]; /* where the first one found it */

#define EXPECT(condition)                                                     \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "pool.c:%d: not so: %s\n", __LINE__, #condition); \
            _exit(1);                                                         \
        }                                                                     \
    } while (0)

typedef struct {
    atomic_int pieces;
    int64_t factor;
    int64_t *out; /* (LARGEST) */
} items;

static void add(void *context, int64_t begin, int64_t end)
{
    items *work = context;
    atomic_fetch_add(&work->pieces, 1);
    for (int64_t i = begin; i < end; i++) work->out[i] += work->factor * i + 1;
}

/* Each item once, whoever did it; not one beyond. */
static void run_loop(items *work, int64_t n, int64_t cost)
{
    for (int64_t i = 0; i < LARGEST; i++) work->out[i] = 0;
    atomic_store(&work->pieces, 0);
    fa_parallel_for(n, cost, add, work);
    for (int64_t i = 0; i < LARGEST; i++) {
        EXPECT(work->out[i] == (i < n ? work->factor * i + 1 : 0));
    }
}

static void run_loops(int64_t factor, int loops, int alone)
{
    static const int64_t sizes[][2] = {{LARGEST, 1}, {1, 1 << 20}, {2, 40000}, {63, 2000},
                                       {0, 1},       {100, 1},     {65536, 1}, {3, 1 << 20}};
    items work = {0, factor, malloc(LARGEST * sizeof(int64_t))};
    EXPECT(work.out != NULL);
    for (int k = 0; k < loops; k++) run_loop(&work, sizes[k % 8][0], sizes[k % 8][1]);
    /* the last loop has three large items: nobody else wanted the pool */
    EXPECT(!alone || work.pieces == (fa_thread_count() < 3 ? fa_thread_count() : 3));
    free(work.out);
}

static void *caller(void *argument)
{
    run_loops((int64_t)(intptr_t)argument, LOOPS, 0);
    return NULL;
}

static void *changer(void *unused)
{
    (void)unused;
    for (int n = 0; !atomic_load(&stop); n = (n + 1) % 9) {
        fa_set_thread_count(n);
        const int count = fa_thread_count();
        EXPECT(count >= 1 && count <= FA_MAX_THREADS);
    }
    return NULL;
}

/* sum w = 1, nodes in order; the same arrays for whoever asks again. */
static void check_rule(fa_rule rule, int64_t n)
{
    const double *nodes, *weights;
    double sum = 0;
    uintptr_t none = 0;
    fa_error error;
    EXPECT(fa_quadrature(&nodes, &weights, rule, n, &error) == FA_OK);
    for (int64_t k = 0; k < n; k++) {
        EXPECT(nodes[k] >= 0 && nodes[k] <= 1 && (k == 0 || nodes[k] > nodes[k - 1]));
        sum += weights[k];
    }
    EXPECT(fabs(sum - 1) < 1e-13);
    if (!atomic_compare_exchange_strong(&rules[rule][n], &none, (uintptr_t)nodes)) {
        EXPECT(none == (uintptr_t)nodes);
    }
}

static void *asker(void *argument)
{
    const int64_t start = (int64_t)(intptr_t)argument;
    for (int64_t k = 0; k < NODES * FA_RULES; k++) {
        const int64_t turn = (start % 2 ? k : NODES * FA_RULES - 1 - k) + 7 * (start / 2);
        check_rule((fa_rule)(turn % FA_RULES), turn / FA_RULES % NODES + 1);
    }
    return NULL;
}

static void child(int k)
{
    alarm(SECONDS);
    EXPECT(fa_thread_count() >= 1);
    fa_set_thread_count(1 + k % 5);
    run_loops(k, 8, 1);
    for (int64_t n = 1; n <= NODES; n += 5) {
        for (int rule = 0; rule < FA_RULES; rule++) check_rule((fa_rule)rule, n);
    }
    _exit(0);
}

static void fork_once(int k)
{
    int status = -1;
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) child(k);
    EXPECT(waitpid(pid, &status, 0) == pid);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Before the first loop that is worth a pool: small loops and the number alone take the lock. */
static void *early(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop)) {
        fa_set_thread_count(1 + fa_thread_count() % 4);
        check_rule(FA_LEFT, 1);
    }
    return NULL;
}

static void fork_early(void)
{
    pthread_t thread;
    int status = -1;
    check_rule(FA_LEFT, 1); /* here first: a fork during the sanitizer's own pthread_once hangs */
    EXPECT(fa_thread_count() >= 1);
    EXPECT(pthread_create(&thread, NULL, early, NULL) == 0);
    for (int k = 0; k < EARLY_FORKS; k++) {
        const pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            alarm(SECONDS / 6);
            check_rule(FA_LEFT, 1);
            _exit(fa_thread_count() < 1);
        }
        EXPECT(waitpid(pid, &status, 0) == pid);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    atomic_store(&stop, 0);
}

int main(void)
{
    pthread_t threads[2 * CALLERS + 1];
    alarm(5 * SECONDS);
    fork_early();
    for (intptr_t k = 0; k < CALLERS; k++) {
        EXPECT(pthread_create(&threads[k], NULL, caller, (void *)(k + 1)) == 0);
        EXPECT(pthread_create(&threads[CALLERS + k], NULL, asker, (void *)k) == 0);
    }
    EXPECT(pthread_create(&threads[2 * CALLERS], NULL, changer, NULL) == 0);
    for (int k = 0; k < FORKS; k++) fork_once(k);
    for (int k = 0; k < 2 * CALLERS; k++) pthread_join(threads[k], NULL);
    atomic_store(&stop, 1);
    pthread_join(threads[2 * CALLERS], NULL);
    fa_set_thread_count(4);
    run_loops(3, 8, 1);
    printf("%d callers of %d loops, %d rules, %d forks\n", CALLERS, LOOPS, FA_RULES * NODES,
           EARLY_FORKS + FORKS);
    return 0;
}
