/* fiber.h -- stacks that hand the processor to each other. */
#ifndef CUDA_HOST_FIBER_H
#define CUDA_HOST_FIBER_H

#include <cstddef>

#if !defined(__x86_64__) || defined(CUDA_HOST_PORTABLE)
#define CUDA_HOST_LONGJMP
#include <setjmp.h>
#include <ucontext.h>
#endif

namespace cuhost
{

struct fiber {
    void *stack_pointer;
    char *stack;        /* NULL: the stack that the process gave us */
    const void *bottom; /* where it lies, for the address sanitizer */
    size_t bytes;
    void *fake_stack; /* the address sanitizer's */
    int number;
#ifdef CUDA_HOST_LONGJMP
    ucontext_t first;
    jmp_buf jump;
    bool started;
#endif
};

/* At the next switch to it the fiber starts with `entry`, which never returns. Its stack is
 * mapped the first time. `number` shifts its start a little, or all stacks would share the same
 * lines of the cache. */
void fiber_reset(fiber *self, int number, void (*entry)());

/* Until another fiber switches back. */
void fiber_switch(fiber *from, fiber *to);

/* What `entry` does first: `self` has the processor now. */
void fiber_arrive(fiber *self);

} // namespace cuhost

#endif /* CUDA_HOST_FIBER_H */
