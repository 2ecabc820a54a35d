/* main.cpp -- the stand-in against plain loops, for many seeds: selftest [seeds] */
#include <algorithm>
#include <cstdio>
#include <random>

#include "../check.h"
#include "../control.h"
#include "kernels.h"

namespace
{

std::mt19937 numbers(1);

std::vector<float> normals(size_t n)
{
    std::normal_distribution<float> normal;
    std::vector<float> x(n);
    for (float &value : x) value = normal(numbers);
    return x;
}

/* Whole numbers, so that sums do not depend on their order. */
template <class T> std::vector<T> whole_numbers(size_t n)
{
    std::vector<T> x(n);
    for (T &value : x) value = T(int(numbers() % 17) - 8);
    return x;
}

template <class T> void check_row_sums(int64_t R, int64_t D, int block)
{
    const std::vector<T> in = whole_numbers<T>(size_t(R * D));
    device_array<T> device(in), out((size_t)R), total(std::vector<T>{0});
    row_sums(out.data(), total.data(), device.data(), R, D, block, nullptr);
    std::vector<T> sums((size_t)R);
    T all = 0;
    for (int64_t r = 0; r < R; r++) {
        for (int64_t d = 0; d < D; d++) sums[size_t(r)] += in[size_t(r * D + d)];
        all += sums[size_t(r)];
    }
    CHECK(out.get() == sums);
    CHECK(total.get()[0] == all);
}

void check_compact(int n, int block)
{
    const float limit = 0.3f;
    const std::vector<float> x = normals(size_t(n));
    const size_t blocks = size_t((n + block - 1) / block);
    std::vector<int> wanted;
    for (int i = 0; i < n; i++) {
        if (x[size_t(i)] > limit) wanted.push_back(i);
    }
    device_array<float> device(x);
    device_array<int> index((size_t)n), total(1), counts(blocks), offsets(blocks);
    compact(index.data(), total.data(), counts.data(), offsets.data(), device.data(), limit, n,
            block, nullptr);
    CHECK(total.get()[0] == (int)wanted.size());
    std::vector<int> found = index.get();
    found.resize(wanted.size());
    CHECK(found == wanted);
}

void check_argmax(int R, int D)
{
    const std::vector<float> in = whole_numbers<float>(size_t(R * D));
    device_array<float> device(in);
    device_array<int> out((size_t)R);
    argmax(out.data(), device.data(), R, D, nullptr);
    std::vector<int> wanted;
    for (int r = 0; r < R; r++) {
        const auto row = in.begin() + r * D;
        wanted.push_back(int(std::max_element(row, row + D) - row));
    }
    CHECK(out.get() == wanted);
}

void check_histogram(int n, int block)
{
    std::vector<unsigned> x((size_t)n), wanted(64);
    for (unsigned &value : x) value = (unsigned)numbers();
    for (unsigned value : x) wanted[value % 64]++;
    device_array<unsigned> device(x), bins(std::vector<unsigned>(64));
    histogram(bins.data(), device.data(), n, block, nullptr);
    CHECK(bins.get() == wanted);
}

void check_scale_add(int n)
{
    const std::vector<float> x = normals(size_t(n)), y = normals(size_t(n));
    device_array<float> left(x), right(y), out((size_t)n);
    scale_add(out.data(), left.data(), right.data(), 1.7f, n, nullptr);
    std::vector<float> wanted;
    for (size_t i = 0; i < x.size(); i++) wanted.push_back(1.7f * x[i] + y[i]);
    CHECK(out.get() == wanted);
}

void check_coordinates(dim3 extent)
{
    device_array<int> out(size_t(extent.x * extent.y * extent.z));
    coordinates(out.data(), extent, nullptr);
    std::vector<int> wanted;
    for (unsigned z = 0; z < extent.z; z++) {
        for (unsigned y = 0; y < extent.y; y++) {
            for (unsigned x = 0; x < extent.x; x++) wanted.push_back(int(x + 10 * y + 100 * z));
        }
    }
    CHECK(out.get() == wanted);
}

void check_mirror(int n, int block)
{
    const std::vector<double> in = whole_numbers<double>(size_t(n));
    device_array<double> device(in), out((size_t)n);
    mirror(out.data(), device.data(), n, block, nullptr);
    std::vector<double> wanted = in;
    for (int start = 0; start < n; start += block) {
        std::reverse(wanted.begin() + start, wanted.begin() + std::min(start + block, n));
    }
    CHECK(out.get() == wanted);
}

void check_votes()
{
    const std::vector<int> in = whole_numbers<int>(32);
    device_array<int> device(in);
    device_array<unsigned> out(VOTES * 32);
    votes(out.data(), device.data(), nullptr);
    const std::vector<unsigned> found = out.get();
    unsigned positive = 0, negative = 0;
    for (int i = 0; i < 32; i++) {
        positive |= unsigned(in[size_t(i)] > 0) << i;
        negative |= unsigned(in[size_t(i)] < 0) << i;
    }
    for (int i = 0; i < 32; i++) {
        const int start = i / 8 * 8;
        unsigned alike = 0;
        for (int j = 0; j < 32; j++) {
            alike |= unsigned(in[size_t(j)] % 3 == in[size_t(i)] % 3) << j;
        }
        const auto at = [&](int j) { return (unsigned)in[size_t(j)]; };
        const unsigned wanted[VOTES] = {positive,
                                        0,
                                        1,
                                        alike,
                                        at(start + 3),
                                        at(i % 8 + 2 < 8 ? i + 2 : i),
                                        at(i % 8 >= 2 ? i - 2 : i),
                                        at(i ^ 1),
                                        i < 16 ? positive & 0xffffu : negative & 0xffff0000u};
        for (int v = 0; v < VOTES; v++) CHECK(found[size_t(v * 32 + i)] == wanted[v]);
    }
}

void check_everything()
{
    for (int block : {32, 64, 96, 1024}) {
        for (int64_t D : {1, 31, 33, 500}) {
            for (int64_t R : {1, 5}) check_row_sums<float>(R, D, block);
            check_row_sums<double>(3, D, block);
        }
    }
    check_row_sums<float>(120, 40, 64); /* more rows than blocks */
    for (int n : {1, 31, 32, 33, 1000, 5000}) {
        for (int block : {32, 128}) {
            check_compact(n, block);
            check_histogram(n, block);
            check_mirror(n, block);
        }
    }
    for (int D : {1, 31, 32, 33, 300}) {
        for (int R : {1, 3, 4, 5, 50}) check_argmax(R, D);
    }
    for (int n : {4, 60, 256, 1000}) check_scale_add(n);
    for (dim3 extent : {dim3(1, 1, 1), dim3(4, 3, 2), dim3(9, 7, 5)}) check_coordinates(extent);
    check_votes();
}

/* Two streams and an event, and memory of the host that is read when the copy runs. */
void check_streams()
{
    const int n = 256;
    cudaStream_t first, second;
    cudaEvent_t copied;
    CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking) == cudaSuccess);
    CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking) == cudaSuccess);
    CHECK(cudaEventCreateWithFlags(&copied, cudaEventDisableTiming) == cudaSuccess);
    std::vector<float> x = normals(n), found((size_t)n);
    const std::vector<float> before = x;
    device_array<float> device(n), out(n), zero(std::vector<float>(n, 0.0f));
    const size_t bytes = n * sizeof(float);
    CHECK(cudaMemcpyAsync(device.data(), x.data(), bytes, cudaMemcpyHostToDevice, first) ==
          cudaSuccess);
    std::fill(x.begin(), x.end(), -1.0f); /* pageable: was read at the call */
    CHECK(cudaEventRecord(copied, first) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(second, copied) == cudaSuccess);
    scale_add(out.data(), device.data(), zero.data(), 1.0f, n, second);
    CHECK(cudaMemcpyAsync(found.data(), out.data(), bytes, cudaMemcpyDeviceToHost, second) ==
          cudaSuccess);
    CHECK(cudaStreamSynchronize(second) == cudaSuccess);
    CHECK(found == before);
    CHECK(cudaEventQuery(copied) == cudaSuccess);
    CHECK(cudaEventDestroy(copied) == cudaSuccess);
    CHECK(cudaStreamDestroy(first) == cudaSuccess);
    CHECK(cudaStreamDestroy(second) == cudaSuccess);
}

} // namespace

int main(int argc, char **argv)
{
    const int seeds = argc > 1 ? atoi(argv[1]) : 3;
    for (int seed = 0; seed < seeds; seed++) {
        cuda_host_seed((uint64_t)seed);
        cuda_host_defer(seed % 2);
        check_everything();
        check_streams();
    }
    CHECK(cuda_host_allocations() == 0);
    CHECK(cuda_host_reports() == 0);
    return finish_checks("selftest");
}
