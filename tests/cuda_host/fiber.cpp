/* fiber.cpp -- 20 to 30 ns a switch in assembly on x86-64, about 45 ns by longjmp elsewhere;
 * swapcontext would ask the kernel for the signal mask, 230 ns. */
#include "fiber.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuhost
{

namespace
{

constexpr size_t stack_bytes = 128 << 10, guard_bytes = 64 << 10;

fiber *leaving; /* who switched last: the sanitizer tells its successor about it */
void (*start)();

void map_stack(fiber *self)
{
    void *const memory = mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard_bytes, PROT_NONE) != 0) {
        perror("cuda_host: no stack for a thread of the device");
        abort();
    }
    self->stack = static_cast<char *>(memory) + guard_bytes;
    self->bottom = self->stack;
    self->bytes = stack_bytes;
}

} // namespace

extern "C" {
__attribute__((used, visibility("hidden"))) void cuda_host_start()
{
    start();
    abort();
}
#ifndef CUDA_HOST_LONGJMP
__attribute__((visibility("hidden"))) void cuda_host_switch(void **from, void *to);
#endif
}

#ifndef CUDA_HOST_LONGJMP
/* Saves what the ABI wants saved on the old stack, and that stack's pointer in *from. */
asm(".text\n"
    ".p2align 4\n"
    ".globl cuda_host_switch\n"
    ".hidden cuda_host_switch\n"
    ".type cuda_host_switch, @function\n"
    "cuda_host_switch:\n"
    "    .cfi_startproc\n"
    "    endbr64\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    "    .cfi_endproc\n"
    ".size cuda_host_switch, .-cuda_host_switch\n");

/* A stack as cuda_host_switch leaves it: six registers, where to go on, an end for debuggers. */
static void prepare(fiber *self, char *top)
{
    void **at = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15));
    *--at = nullptr;
    *--at = reinterpret_cast<void *>(cuda_host_start);
    for (int i = 0; i < 6; i++) *--at = nullptr;
    self->stack_pointer = at;
}

static void go(fiber *from, fiber *to)
{
    cuda_host_switch(&from->stack_pointer, to->stack_pointer);
}
#else
static void prepare(fiber *self, char *top)
{
    getcontext(&self->first);
    self->first.uc_stack.ss_sp = self->stack;
    self->first.uc_stack.ss_size = size_t(top - self->stack);
    self->first.uc_link = nullptr;
    makecontext(&self->first, cuda_host_start, 0);
    self->started = false;
}

static void go(fiber *from, fiber *to)
{
    if (_setjmp(from->jump) != 0) return;
    if (to->stack != nullptr && !to->started) {
        to->started = true;
        setcontext(&to->first);
    }
    _longjmp(to->jump, 1);
}
#endif

void fiber_reset(fiber *self, int number, void (*entry)())
{
    if (self->stack == nullptr) map_stack(self);
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(self->stack, self->bytes); /* frames that were given up */
#endif
    self->number = number;
    self->fake_stack = nullptr;
    start = entry;
    prepare(self, self->stack + self->bytes - size_t(number) * 5 % 64 * 64);
}

void fiber_arrive(fiber *self)
{
    (void)self;
#ifdef __SANITIZE_ADDRESS__
    /* of the process's own stack we learn only here where it is */
    __sanitizer_finish_switch_fiber(self->fake_stack, &leaving->bottom, &leaving->bytes);
#endif
}

void fiber_switch(fiber *from, fiber *to)
{
    if (from == to) return;
    leaving = from;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
#endif
    go(from, to);
    fiber_arrive(from);
}

} // namespace cuhost
