/* check.c -- validation of foreign tensors, in plain C so that it can be fuzzed alone.
 *
 * A DLTensor comes from any producer: past this door its element offsets fit int64_t,
 * its byte offsets fit the address space, and only memory itself can still be wrong.
 * Strides of axes with extent 0 or 1 are never used and never looked at. */
#include "fastattr.h"

#define FA_MAX_NDIM 64

static int64_t item_size(DLDataType dtype) { return dtype.bits / 8; }

static int is_empty(const DLTensor *tensor)
{
    for (int32_t axis = 0; axis < tensor->ndim; axis++) {
        if (tensor->shape[axis] == 0) return 1;
    }
    return 0;
}

int64_t fa_numel(const DLTensor *tensor)
{
    int64_t numel = is_empty(tensor) ? 0 : 1; /* (2^40, 2^40, 0) has no elements either */
    for (int32_t axis = 0; numel > 0 && axis < tensor->ndim; axis++) numel *= tensor->shape[axis];
    return numel;
}

void *fa_data(const DLTensor *tensor) { return (char *)tensor->data + tensor->byte_offset; }

static fa_status check_dtype(DLDataType dtype, fa_error *error)
{
    if (dtype.lanes != 1) {
        return fa_fail(error, FA_ETYPE, "expected a scalar dtype, got %d lanes", dtype.lanes);
    }
    if (dtype.bits != 8 && dtype.bits != 16 && dtype.bits != 32 && dtype.bits != 64) {
        return fa_fail(error, FA_ETYPE, "expected 8, 16, 32 or 64 bits an element, got %d",
                       dtype.bits);
    }
    return FA_OK;
}

static fa_status check_shape(const DLTensor *tensor, fa_error *error)
{
    int64_t product = 1;
    for (int32_t axis = 0; axis < tensor->ndim; axis++) {
        if (tensor->shape[axis] < 0) {
            return fa_fail(error, FA_EINVAL, "expected extents >= 0, got %lld on axis %d",
                           (long long)tensor->shape[axis], axis);
        }
    }
    if (is_empty(tensor)) return FA_OK;
    for (int32_t axis = 0; axis < tensor->ndim; axis++) {
        if (__builtin_mul_overflow(product, tensor->shape[axis], &product)) {
            return fa_fail(error, FA_EINVAL, "the number of elements does not fit 64 bits");
        }
    }
    return FA_OK;
}

/* The lowest and the highest byte that strides can reach: relative to data, then as addresses. */
static fa_status check_extent(const DLTensor *tensor, fa_error *error)
{
    int64_t low = 0, high = 0, bytes = 0;
    uintptr_t start = 0, end = 0;
    int overflow = __builtin_mul_overflow(fa_numel(tensor), item_size(tensor->dtype), &bytes);
    for (int32_t axis = 0; tensor->strides != NULL && axis < tensor->ndim; axis++) {
        int64_t reach = 0;
        if (tensor->shape[axis] == 1) continue;
        overflow |= __builtin_mul_overflow(tensor->shape[axis] - 1, tensor->strides[axis], &reach);
        overflow |= reach < 0 ? __builtin_add_overflow(low, reach, &low)
                              : __builtin_add_overflow(high, reach, &high);
    }
    overflow |= __builtin_mul_overflow(low, item_size(tensor->dtype), &low);
    overflow |= __builtin_mul_overflow(high, item_size(tensor->dtype), &high);
    overflow |= tensor->byte_offset > (uint64_t)(INT64_MAX / 2) || high > INT64_MAX / 2 ||
                bytes > INT64_MAX / 2;
    if (!overflow) {
        const int64_t past = tensor->strides != NULL ? high + item_size(tensor->dtype) : bytes;
        overflow = __builtin_add_overflow((uintptr_t)tensor->data, tensor->byte_offset, &start) ||
                   __builtin_add_overflow(start, past - 1, &end) || start < 0 - (uintptr_t)low;
    }
    if (overflow) {
        return fa_fail(error, FA_EINVAL, "shape, strides or byte offset exceed the address space");
    }
    return FA_OK;
}

fa_status fa_check_tensor(const DLTensor *tensor, fa_error *error)
{
    if (tensor->ndim < 0 || tensor->ndim > FA_MAX_NDIM) {
        return fa_fail(error, FA_EINVAL, "expected 0 to %d axes, got %d", FA_MAX_NDIM,
                       tensor->ndim);
    }
    if (tensor->ndim > 0 && tensor->shape == NULL) {
        return fa_fail(error, FA_EINVAL, "a tensor of %d axes came without a shape", tensor->ndim);
    }
    FA_TRY(check_dtype(tensor->dtype, error));
    FA_TRY(check_shape(tensor, error));
    if (is_empty(tensor)) return FA_OK; /* nothing is ever read */
    FA_TRY(check_extent(tensor, error));
    if (tensor->data == NULL) {
        return fa_fail(error, FA_EINVAL, "a tensor of %lld elements came without data",
                       (long long)fa_numel(tensor));
    }
    return FA_OK;
}

int fa_is_contiguous(const DLTensor *tensor)
{
    if (tensor->strides == NULL || is_empty(tensor)) return 1;
    int64_t expected = 1;
    for (int32_t axis = tensor->ndim - 1; axis >= 0; axis--) {
        if (tensor->shape[axis] != 1 && tensor->strides[axis] != expected) return 0;
        expected *= tensor->shape[axis];
    }
    return 1;
}

fa_dtype fa_dtype_of(DLDataType dtype)
{
    if (dtype.lanes != 1) return FA_OTHER;
    if (dtype.code == kDLBfloat && dtype.bits == 16) return FA_BFLOAT16;
    if (dtype.code != kDLFloat) return FA_OTHER;
    return dtype.bits == 16   ? FA_FLOAT16
           : dtype.bits == 32 ? FA_FLOAT32
           : dtype.bits == 64 ? FA_FLOAT64
                              : FA_OTHER;
}

const char *fa_dtype_name(DLDataType dtype)
{
    static const char *const names[7][4] = {
        [kDLInt] = {"int8", "int16", "int32", "int64"},
        [kDLUInt] = {"uint8", "uint16", "uint32", "uint64"},
        [kDLFloat] = {"float8", "float16", "float32", "float64"},
        [kDLBfloat] = {NULL, "bfloat16", NULL, NULL},
        [kDLComplex] = {NULL, NULL, "complex32", "complex64"},
        [kDLBool] = {"bool", NULL, NULL, NULL},
    };
    const int column = dtype.bits == 8 ? 0 : dtype.bits == 16 ? 1 : dtype.bits == 32 ? 2 : 3;
    const char *name = dtype.code < 7 ? names[dtype.code][column] : NULL;
    return name != NULL ? name : "an unknown dtype";
}

double fa_dtype_eps(DLDataType dtype)
{
    switch (fa_dtype_of(dtype)) {
    case FA_FLOAT64:
        return 0x1p-52;
    case FA_FLOAT16:
        return 0x1p-10;
    case FA_BFLOAT16:
        return 0x1p-7;
    default:
        return 0x1p-23;
    }
}
