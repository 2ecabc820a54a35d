/* dlpack_abi.h -- the DLPack ABI (v1.x) as fastattr reads it.
 *
 * Own declarations of a public binary layout: only what a borrower needs. The
 * assertions pin the offsets, so a slip here is a compile error and not a crash.
 * Specification: https://dmlc.github.io/dlpack/latest/c_api.html */
#ifndef FA_DLPACK_ABI_H
#define FA_DLPACK_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    kDLCPU = 1,
    kDLCUDA = 2,
    kDLCUDAHost = 3,
    kDLMetal = 8,
    kDLROCM = 10,
    kDLCUDAManaged = 13,
    kDLOneAPI = 14,
} DLDeviceType;

enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLComplex = 5, kDLBool = 6 };

typedef struct {
    int32_t device_type; /* DLDeviceType; an int32_t, whatever size the enum has */
    int32_t device_id;
} DLDevice;

typedef struct {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} DLDataType;

typedef struct {
    void *data; /* never assume alignment; add byte_offset; may be NULL when a size is 0 */
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape;
    int64_t *strides; /* in elements; NULL = compact C order (before version 1.2) */
    uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensor {
    DLTensor dl_tensor;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensor *self);
} DLManagedTensor;

typedef struct {
    uint32_t major;
    uint32_t minor;
} DLPackVersion;

typedef struct DLManagedTensorVersioned {
    DLPackVersion version; /* another major: touch nothing but the deleter */
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;

#define FA_DLPACK_MAJOR 1
#define FA_DLPACK_READ_ONLY UINT64_C(1)

/* The exchange table that a type may offer as __dlpack_c_exchange_api__: a view
 * of a tensor in nanoseconds, without a capsule. It checks nothing. */
typedef struct DLPackExchangeAPI {
    DLPackVersion version;
    struct DLPackExchangeAPI *previous;
    void *managed_allocator;
    void *managed_from_py;
    void *managed_to_py;
    int (*dltensor_from_py_no_sync)(void *py_object, DLTensor *out); /* may be NULL */
    int (*current_work_stream)(int32_t device_type, int32_t device_id, void **out);
} DLPackExchangeAPI;

static_assert(sizeof(DLTensor) == 48, "DLTensor");
static_assert(sizeof(DLManagedTensor) == 64, "DLManagedTensor");
static_assert(offsetof(DLManagedTensorVersioned, flags) == 24, "flags");
static_assert(offsetof(DLManagedTensorVersioned, dl_tensor) == 32, "dl_tensor");
static_assert(offsetof(DLPackExchangeAPI, dltensor_from_py_no_sync) == 40, "no_sync");

#endif /* FA_DLPACK_ABI_H */
