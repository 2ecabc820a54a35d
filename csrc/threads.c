/* threads.c -- a pthread pool: static partition, condition variables, no spinning.
 *
 * Workers are started at the first loop that is worth it and live for the process. One
 * loop runs at a time; a second caller does its own work alone instead of waiting. After
 * fork() the child has no workers: the pool is reset there and starts afresh when needed.
 * Where another runtime's threads are shared, they take the parts and the workers sleep. */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#define FA_SERIAL_ELEMENTS 65536

static pthread_mutex_t caller_lock = PTHREAD_MUTEX_INITIALIZER; /* held by the running loop */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;        /* guards all below         */
static pthread_cond_t work_ready = PTHREAD_COND_INITIALIZER;
static pthread_cond_t work_done = PTHREAD_COND_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int wanted_threads;  /* 0 = not chosen yet */
static int workers;         /* started so far     */
static uint64_t generation; /* number of the current loop */
static int parts, pending;
static struct {
    fa_range_fn fn;
    void *context;
    int64_t items;
} job;

static _Atomic(const fa_team *) team;

/* How the team shares a loop. `parts` above stays as it is: a worker that overslept the last loop
 * of the pool still reads it. */
typedef struct {
    int parts;
    atomic_int next;
} shares;

static int available_cpus(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static void run_part(int part, int of)
{
    const int64_t begin = job.items * part / of, end = job.items * (part + 1) / of;
    if (begin < end) job.fn(job.context, begin, end);
}

/* Worker w takes part w + 1 of every loop that has so many parts. */
static void *worker_main(void *argument)
{
    const int part = (int)(intptr_t)argument + 1;
    pthread_mutex_lock(&lock);
    for (uint64_t seen = generation - 1;;) {
        while (generation == seen) pthread_cond_wait(&work_ready, &lock);
        seen = generation;
        const int of = parts;
        if (part >= of) continue;
        pthread_mutex_unlock(&lock);
        run_part(part, of);
        pthread_mutex_lock(&lock);
        if (--pending == 0) pthread_cond_signal(&work_done);
    }
    return NULL;
}

static void take_parts(void *context)
{
    shares *const loop = context;
    for (int part; (part = atomic_fetch_add(&loop->next, 1)) < loop->parts;) {
        run_part(part, loop->parts);
    }
}

static void reset_in_child(void)
{
    atomic_store(&team, NULL);
    pthread_mutex_init(&caller_lock, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&work_ready, NULL);
    pthread_cond_init(&work_done, NULL);
    workers = 0;
    pending = 0;
}

static void register_fork_handler(void) { pthread_atfork(NULL, NULL, reset_in_child); }

/* Start workers up to `count`; fewer if the system refuses. Called with `lock` held and a
 * new generation not yet announced. */
static void start_workers(int count)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (workers < count) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, worker_main, (void *)(intptr_t)workers) != 0)
            break;
        workers++;
    }
    pthread_attr_destroy(&attributes);
}

int fa_thread_count(void)
{
    pthread_once(&fork_once, register_fork_handler); /* before anybody holds a lock */
    pthread_mutex_lock(&lock);
    if (wanted_threads == 0) wanted_threads = available_cpus();
    const int count = wanted_threads < FA_MAX_THREADS ? wanted_threads : FA_MAX_THREADS;
    pthread_mutex_unlock(&lock);
    return count;
}

void fa_set_thread_count(int count)
{
    pthread_once(&fork_once, register_fork_handler);
    pthread_mutex_lock(&lock);
    wanted_threads = count > 0 ? count : 0;
    pthread_mutex_unlock(&lock);
}

void fa_share_team(const fa_team *shared)
{
    pthread_once(&fork_once, register_fork_handler);
    atomic_store(&team, shared);
}

/* Whether the shared team has run the loop; called with `caller_lock` held. */
static int run_on_team(int threads)
{
    const fa_team *const shared = atomic_load(&team);
    const int most = shared != NULL ? shared->most() : 1;
    if (most < 2) return 0;
    shares loop = {.parts = threads};
    shared->parallel(take_parts, &loop, (unsigned)(threads < most ? threads : most), 0);
    return 1;
}

void fa_parallel_for(int64_t items, int64_t cost, fa_range_fn fn, void *context)
{
    const int threads = fa_thread_count();
    if (items <= 0) return;
    if (threads == 1 || items == 1 || cost <= 0 || items < FA_SERIAL_ELEMENTS / cost ||
        pthread_mutex_trylock(&caller_lock) != 0) {
        fn(context, 0, items);
        return;
    }
    job.fn = fn;
    job.context = context;
    job.items = items;
    if (run_on_team(threads)) {
        pthread_mutex_unlock(&caller_lock);
        return;
    }
    pthread_mutex_lock(&lock);
    start_workers(threads - 1);
    const int of = parts = (workers < threads - 1 ? workers : threads - 1) + 1;
    pending = of - 1;
    generation++;
    pthread_cond_broadcast(&work_ready);
    pthread_mutex_unlock(&lock);

    run_part(0, of);

    pthread_mutex_lock(&lock);
    while (pending > 0) pthread_cond_wait(&work_done, &lock);
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&caller_lock);
}
