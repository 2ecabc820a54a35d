/* backend_cpu.c -- the table. Host and device memory are the same here. */
#include <string.h>

#include "cpu.h"

static fa_status copy(void *to, const void *from, int64_t bytes, void *stream, fa_error *error)
{
    (void)stream;
    (void)error;
    if (bytes > 0) memcpy(to, from, (size_t)bytes);
    return FA_OK;
}

static fa_status ready(int32_t device_id, fa_error *error)
{
    (void)device_id;
    (void)error;
    return FA_OK;
}

const fa_backend fa_backend_cpu = {.abi = FA_ABI,
                                   .device_type = kDLCPU,
                                   .name = "cpu",
                                   .built_for = "",
                                   .ready = ready,
                                   .upload = copy,
                                   .download = copy,
#define FA_CPU_ENTRY(op, doc) .op = fa_cpu_##op,
                                   FA_OPS(FA_CPU_ENTRY)
#undef FA_CPU_ENTRY
};
