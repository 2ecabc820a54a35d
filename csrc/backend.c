/* backend.c -- which backend computes on which device. */
#include "fastattr.h"

fa_status fa_backend_for(const fa_backend **out, DLDevice device, fa_error *error)
{
    switch (device.device_type) {
    case kDLCPU:
    case kDLCUDAHost:
        *out = &fa_backend_cpu;
        return FA_OK;
    case kDLCUDA:
    case kDLCUDAManaged:
        return fa_fail(error, FA_EDEVICE,
                       "CUDA tensors: this build of fastattr has no CUDA backend; move the model "
                       "and the inputs to the CPU");
    default:
        return fa_fail(error, FA_EDEVICE,
                       "device type %d is not supported; fastattr computes on cpu and cuda",
                       device.device_type);
    }
}
