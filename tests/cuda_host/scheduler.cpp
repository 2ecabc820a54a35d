/* scheduler.cpp -- the threads of one block as fibers.
 *
 * A fiber runs threads one after the other, as a plain loop would, until one of them has to wait;
 * only then another fiber goes on. So kernels without barriers cost no switch, and others one for
 * each thread and collective. The last to arrive at a collective computes it for everybody. */
#include "block.h"

#include "control.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

extern "C" {
__attribute__((weak, visibility("hidden"))) extern char cuda_host_shared_start[];
__attribute__((weak, visibility("hidden"))) extern char cuda_host_shared_stop[];
}

namespace cuhost
{

block here;

namespace
{

void fiber_main();

void select(int t)
{
    here.current = t;
    threadIdx = here.threads[t].index;
    here.watch.run_thread(t);
}

void switch_to(fiber *next)
{
    fiber *const from = here.running;
    here.running = next;
    fiber_switch(from, next);
}

fiber *idle_fiber()
{
    if (here.idle.count > 0) return here.idle.pop();
    fiber *const fresh = &here.pool[here.mapped];
    fiber_reset(fresh, here.mapped++, fiber_main);
    return fresh;
}

/* Run threads to their ends, one after the other, in this fiber. */
void run_threads()
{
    while (here.begun < here.size) {
        const int t = here.sequence[here.begun++];
        select(t);
        here.watch.thread_begins();
        here.job->run(here.job->arguments.get());
        here.watch.thread_ends();
        here.warps[t / 32].gone |= 1u << t % 32;
        here.gone++;
        if (watched || (here.hasty && here.ready.count > 0)) return;
    }
}

/* This fiber cannot go on, or has nothing to do. */
void let_others_run()
{
    if (here.ready.count > 0 && (here.hasty || here.begun == here.size)) {
        select(here.hasty ? here.ready.pop_newest() : here.ready.pop_oldest());
        switch_to(here.threads[here.current].runs_on);
    } else if (here.begun < here.size) {
        switch_to(idle_fiber());
    } else {
        switch_to(&here.host);
    }
}

void fiber_main()
{
    fiber_arrive(here.running);
    for (;;) {
        run_threads();
        (watched ? here.spent : here.idle).push(here.running);
        let_others_run();
    }
}

} // namespace

void wait()
{
    here.threads[here.current].runs_on = here.running;
    here.waits++;
    let_others_run();
}

void wake(int t) { here.ready.push(t); }

void give_up()
{
    here.failed = true;
    here.ready.count = 0;
    here.begun = here.size;
    switch_to(&here.host);
    abort();
}

namespace
{

/* Filled without the sanitizer's eyes: between two variables lies what it guards. */
__attribute__((no_sanitize("address", "thread"))) void fill(void *memory, size_t bytes, int value)
{
#if defined(__x86_64__)
    asm volatile("rep stosb" : "+D"(memory), "+c"(bytes) : "a"(value) : "memory");
#else
    for (volatile char *at = (volatile char *)memory; bytes > 0; bytes--) *at++ = (char)value;
#endif
}

/* Are they all `value`? Likewise. */
__attribute__((no_sanitize("address", "thread"))) bool is_filled(const char *memory, size_t bytes,
                                                                 int value)
{
    size_t at = 0;
    while (at < bytes && ((const volatile char *)memory)[at] == (char)value) at++;
    return at == bytes;
}

/* A NaN, or a number and an index far out of range. */
int rubbish() { return (chosen.seed & 2) != 0 ? 0x5a : 0xff; }

size_t static_bytes()
{
    char *const start = cuda_host_shared_start;
    return start != nullptr ? size_t(cuda_host_shared_stop - start) : 0;
}

void poison_shared_memory()
{
    if (!here.dirty) return;
    fill(cuda_host_shared_start, static_bytes(), rubbish());
    if (here.shared != nullptr) fill(here.shared, here.job->shared, rubbish());
    here.dirty = false;
}

/* Where no thread waited for others the memory was filled once, not for every block: a kernel
 * that writes it nevertheless has forgotten its barriers. */
void check_shared_memory()
{
    if (here.dirty || here.failed) return;
    if (is_filled(cuda_host_shared_start, static_bytes(), rubbish())) return;
    CUDA_HOST_REPORT(here.job->file, here.job->line, "shared memory is written and %s",
                     "there is no barrier");
}

void begin_block()
{
    order threads((uint64_t)here.size);
    for (int i = 0; i < here.size; i++) here.sequence[i] = (int)threads.next();
    here.begun = here.gone = here.wait.arrived = here.ready.count = 0;
    here.hasty = chosen.seed != 0 && (draw() & 1) != 0;
    for (int w = 0; w * 32 < here.size; w++) {
        const int lanes = here.size - w * 32;
        here.warps[w].present = lanes >= 32 ? ~0u : (1u << lanes) - 1;
        here.warps[w].gone = 0;
    }
    poison_shared_memory();
}

/* Nobody can go on, and somebody has not ended. */
void report_deadlock()
{
    for (int w = 0; w * 32 < here.size; w++) {
        for (const gathering &at : here.warps[w].at) {
            if (at.arrived == 0) continue;
            CUDA_HOST_REPORT(
                at.file, at.line,
                "lanes of the mask never came: warp %d, mask %08x, came %08x, ended %08x", w,
                at.mask, at.arrived, here.warps[w].gone);
            return;
        }
    }
    CUDA_HOST_REPORT(here.wait.file, here.wait.line,
                     "threads left before a barrier: %d of %d wait, %d have ended",
                     here.wait.arrived, here.size, here.gone);
}

void clean_up()
{
    for (warp &w : here.warps) {
        for (gathering &at : w.at) at.arrived = 0;
    }
    here.idle.count = here.spent.count = 0;
    for (int i = 0; i < here.mapped; i++) {
        fiber_reset(&here.pool[i], i, fiber_main);
        here.idle.push(&here.pool[i]);
    }
}

bool run_block()
{
    begin_block();
    switch_to(idle_fiber());
    here.watch.block_ends();
    while (here.spent.count > 0) here.idle.push(here.spent.pop());
    if (here.gone == here.size && !here.failed) return true;
    if (!here.failed) report_deadlock();
    clean_up();
    return false;
}

} // namespace

void run_grid(const launch &job, void *shared)
{
    const dim3 g = job.grid, b = job.block;
    here.job = &job;
    here.shared = shared;
    here.size = int(b.x * b.y * b.z);
    here.running = &here.host;
    here.failed = false;
    here.dirty = true;
    here.launches++;
    blockDim = b;
    gridDim = g;
    for (unsigned t = 0; t < (unsigned)here.size; t++) {
        here.threads[t].index = {t % b.x, t / b.x % b.y, t / b.x / b.y};
    }
    here.watch.enter_grid();
    const uint64_t blocks = uint64_t(g.x) * g.y * g.z;
    order sequence(blocks);
    for (uint64_t i = 0; i < blocks; i++) {
        const uint64_t k = sequence.next();
        blockIdx = {unsigned(k % g.x), unsigned(k / g.x % g.y), unsigned(k / g.x / g.y)};
        if (!run_block()) return;
    }
    check_shared_memory();
}

} // namespace cuhost

int64_t cuda_host_launches(void) { return cuhost::here.launches; }
int64_t cuda_host_waits(void) { return cuhost::here.waits; }
