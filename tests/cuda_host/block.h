/* block.h -- the block that runs: its threads, who waits for whom, the fibers it runs on. */
#ifndef CUDA_HOST_BLOCK_H
#define CUDA_HOST_BLOCK_H

#include "fiber.h"
#include "scheduler.h"
#include "tsan.h"

namespace cuhost
{

struct thread {
    uint3 index;
    fiber *runs_on; /* while it waits */
};

/* Lanes of one mask that wait for each other. */
struct gathering {
    unsigned arrived, mask;
    warp_kind kind;
    const char *file;
    int line;
    meeting met;
};

struct warp {
    unsigned present, gone;
    gathering at[32];
    uint64_t value[32], result[32];
    int source[32];
};

struct barrier {
    int arrived, votes, result;
    vote kind;
    const char *file;
    int line;
    meeting met;
};

/* Threads that may go on: first in first out, or the newest first, which lets one warp run far
 * ahead of the others. */
struct queue {
    int items[most_threads], head, count;

    void push(int item) { items[(head + count++) % most_threads] = item; }
    int pop_oldest()
    {
        const int item = items[head];
        head = (head + 1) % most_threads;
        count--;
        return item;
    }
    int pop_newest() { return items[(head + --count) % most_threads]; }
};

/* A last-in-first-out list of fibers; no heap, which the sanitizers would see. */
struct fibers {
    fiber *items[most_threads + 1];
    int count;
    void push(fiber *item) { items[count++] = item; }
    fiber *pop() { return items[--count]; }
};

struct block {
    const launch *job;
    void *shared;
    int size, begun, gone, current;
    bool hasty;  /* who may go on does so before others begin */
    bool failed; /* a rule was broken and reported            */
    bool dirty;  /* may have used shared memory               */
    int sequence[most_threads];
    thread threads[most_threads];
    warp warps[most_warps];
    barrier wait;
    queue ready;
    fibers idle, spent;
    fiber pool[most_threads + 1], host, *running;
    int mapped; /* fibers of the pool that have a stack */
    observer watch;
    int64_t waits, launches;
};

extern block here;

void wait();                 /* the thread that runs, until it is woken            */
void wake(int thread);       /* it may go on                                       */
[[noreturn]] void give_up(); /* a rule was broken: no thread of the block goes on  */

#define CUDA_HOST_REPORT(file_, line_, format, ...)                                            \
    report(file_, line_, format " (kernel %s launched at %s:%d, block %u,%u,%u)", __VA_ARGS__, \
           here.job->name, here.job->file, here.job->line, blockIdx.x, blockIdx.y, blockIdx.z)

} // namespace cuhost

#endif /* CUDA_HOST_BLOCK_H */
