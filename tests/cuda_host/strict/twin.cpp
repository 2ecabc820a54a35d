#include "twin.h"

#include <cmath>

#include "half.h"

static uint64_t state;

void reseed(const setting &round) { state = round.seed * 1000003 + uint64_t(round.dtype) + 1; }

uint64_t random_bits() /* splitmix64 */
{
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

int64_t random_below(int64_t n) { return int64_t(random_bits() % uint64_t(n)); }

double random_normal() /* nearly */
{
    double sum = -6.0;
    for (int i = 0; i < 12; i++) sum += double(random_bits() >> 11) * 0x1p-53;
    return sum;
}

DLDataType dlpack_dtype(fa_dtype dtype)
{
    const uint8_t code = dtype == FA_BFLOAT16 ? uint8_t(kDLBfloat) : uint8_t(kDLFloat);
    return {code, uint8_t(8 * item_bytes(dtype)), 1};
}

int64_t item_bytes(fa_dtype dtype) { return dtype == FA_FLOAT64 ? 8 : dtype == FA_FLOAT32 ? 4 : 2; }

fa_dtype sums_dtype(fa_dtype dtype) { return dtype == FA_FLOAT64 ? FA_FLOAT64 : FA_FLOAT32; }

void put_number(void *item, fa_dtype dtype, double value)
{
    const float single = float(value);
    const fa_half half = fa_half_of_float(single);
    const fa_bfloat bfloat = fa_bfloat_of_float(single);
    switch (dtype) {
    case FA_FLOAT64:
        memcpy(item, &value, sizeof(value));
        break;
    case FA_FLOAT32:
        memcpy(item, &single, sizeof(single));
        break;
    case FA_FLOAT16:
        memcpy(item, &half, sizeof(half));
        break;
    default:
        memcpy(item, &bfloat, sizeof(bfloat));
    }
}

double get_number(const void *item, fa_dtype dtype)
{
    double value;
    float single;
    uint16_t bits;
    switch (dtype) {
    case FA_FLOAT64:
        memcpy(&value, item, sizeof(value));
        return value;
    case FA_FLOAT32:
        memcpy(&single, item, sizeof(single));
        return single;
    default:
        memcpy(&bits, item, sizeof(bits));
        return dtype == FA_FLOAT16 ? fa_float_of_half(bits) : fa_float_of_bfloat(bits);
    }
}

twin::twin(int64_t bytes, int64_t skew_bytes) : host(size_t(bytes)), skew(skew_bytes)
{
    CHECK(cudaMalloc(&device, size_t(bytes + skew)) == cudaSuccess);
}

twin::~twin() { CHECK(cudaFree(device) == cudaSuccess); }

void twin::send()
{
    if (host.empty()) return;
    CHECK(cudaMemcpy(device + skew, host.data(), host.size(), cudaMemcpyHostToDevice) ==
          cudaSuccess);
}

std::vector<unsigned char> twin::found_there()
{
    std::vector<unsigned char> found(host.size());
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    if (found.empty()) return found;
    CHECK(cudaMemcpy(found.data(), device + skew, found.size(), cudaMemcpyDeviceToHost) ==
          cudaSuccess);
    return found;
}

void twin::compare(const char *name)
{
    const std::vector<unsigned char> found = found_there();
    size_t at = 0;
    while (at < found.size() && found[at] == host[at]) at++;
    CHECK(at == found.size());
    if (at < found.size()) {
        fprintf(stderr, "%s differs from byte %zu of %zu on\n", name, at, found.size());
    }
}

void twin_tensor::compare(const char *name, double close)
{
    const std::vector<unsigned char> found = found_there();
    const int64_t item = item_bytes(dtype);
    double furthest = 0.0;
    for (int64_t i = 0; i < shape[0] * shape[1]; i++) {
        const double distance = fabs(get_number(found.data() + i * item, dtype) - number(i));
        furthest = distance <= furthest ? furthest : distance; /* NaN stays */
    }
    CHECK(furthest <= close);
    if (!(furthest <= close)) fprintf(stderr, "%s differs by %g\n", name, furthest);
}

twin_tensor::twin_tensor(fa_dtype dtype_, int64_t rows, int64_t columns, int64_t skew_items)
    : twin(rows * columns * item_bytes(dtype_), skew_items * item_bytes(dtype_)), dtype(dtype_),
      shape{rows, columns}
{
    const int64_t item = item_bytes(dtype);
    for (int64_t i = 0; i < rows * columns; i++) {
        put_number(host.data() + i * item, dtype, random_normal());
    }
    send();
    for (const place where : {on_cpu, on_cuda}) {
        const DLDevice there = {where == on_cpu ? kDLCPU : kDLCUDA, 0};
        tensors[where] = {at(where), there, 2, dlpack_dtype(dtype), shape, nullptr, 0};
    }
}

double twin_tensor::number(int64_t i) const
{
    return get_number(host.data() + i * item_bytes(dtype), dtype);
}

void twin_tensor::set_row(int64_t row, double value)
{
    for (int64_t d = 0; d < shape[1]; d++) {
        put_number(host.data() + (row * shape[1] + d) * item_bytes(dtype), dtype, value);
    }
    send();
}
