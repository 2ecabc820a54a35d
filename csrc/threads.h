/* threads.h -- a small pool for loops over disjoint pieces of memory. */
#ifndef FA_THREADS_H
#define FA_THREADS_H

#include <stdint.h>

/* Work on items begin..end-1. Called from several threads at once; must not fail. */
typedef void (*fa_range_fn)(void *context, int64_t begin, int64_t end);

/* Run `fn` over 0..items-1 in equal consecutive ranges, one a thread, and return when all
 * are done. `cost` is the elements touched per item; below 64k elements in all, or when
 * another thread is using the pool, the caller's thread does everything. The partition
 * must not change the result: an item's memory belongs to that item. */
void fa_parallel_for(int64_t items, int64_t cost, fa_range_fn fn, void *context);

/* Another runtime's threads, which do the loops from now on while that runtime is allowed more than
 * one: `parallel` calls a function on up to so many of them, the caller's among them, and returns
 * when all are done. Threads that spin on after their own loops would keep ours from the cores.
 * Not in a child of fork(), where such threads are gone. */
typedef struct {
    void (*parallel)(void (*fn)(void *), void *context, unsigned threads, unsigned flags);
    int (*most)(void); /* threads allowed */
} fa_team;
void fa_share_team(const fa_team *team); /* kept for the life of the process */

/* Threads used by fa_parallel_for, the caller's included. set: n >= 1; 0 = one per CPU
 * this process may run on. */
#define FA_MAX_THREADS 64
int fa_thread_count(void);
void fa_set_thread_count(int count);

#endif /* FA_THREADS_H */
