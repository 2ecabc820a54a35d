/* tsan.h -- tells the thread sanitizer what a block's threads are, and what orders them.
 *
 * The kernels are compiled with -fsanitize=thread, the scheduler is not: for the sanitizer each
 * thread of a block is a thread, and only what is said here happens before something else. */
#ifndef CUDA_HOST_TSAN_H
#define CUDA_HOST_TSAN_H

#ifdef CUDA_HOST_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#include "scheduler.h"

namespace cuhost
{

#ifdef CUDA_HOST_TSAN
constexpr bool watched = true;

/* Two places by turns: a thread that wakes late would else also acquire what others released
 * for the next meeting, which hides races. */
class meeting
{
  public:
    char *enter()
    {
        char *const place = &places[turn & 1];
        __tsan_release(place);
        return place;
    }
    void complete() { turn++; }
    static void leave(char *place) { __tsan_acquire(place); }

  private:
    char places[2];
    unsigned turn = 0;
};

class observer
{
  public:
    void enter_grid()
    {
        host = __tsan_get_current_fiber();
        __tsan_release(&begin);
    }
    void run_thread(int thread)
    {
        if (threads[thread] == nullptr) threads[thread] = __tsan_create_fiber(0);
        __tsan_switch_to_fiber(threads[thread], __tsan_switch_to_fiber_no_sync);
    }
    void thread_begins() { __tsan_acquire(&begin); }
    void thread_ends() { __tsan_release(&end); }
    void block_ends()
    {
        __tsan_switch_to_fiber(host, __tsan_switch_to_fiber_no_sync);
        __tsan_acquire(&end);
        __tsan_release(&begin);
    }

  private:
    void *host, *threads[most_threads];
    char begin, end;
};
#else
constexpr bool watched = false;

class meeting
{
  public:
    char *enter() { return nullptr; }
    void complete() {}
    static void leave(char *) {}
};

class observer
{
  public:
    void enter_grid() {}
    void run_thread(int) {}
    void thread_begins() {}
    void thread_ends() {}
    void block_ends() {}
};
#endif

} // namespace cuhost

#endif /* CUDA_HOST_TSAN_H */
