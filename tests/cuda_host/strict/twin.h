/* twin.h -- memory that exists twice, on the host for the CPU backend and on the device for the
 * CUDA backend; an operation runs on both, and what it wrote is compared bit by bit. */
#ifndef CUDA_HOST_STRICT_TWIN_H
#define CUDA_HOST_STRICT_TWIN_H

#include <memory>
#include <vector>

#include <cuda_runtime.h>

#include "../check.h"
#include "fastattr.h"

/* One round of all checks. */
struct setting {
    uint64_t seed;
    fa_dtype dtype;
    cudaStream_t stream;
};

extern "C" const fa_backend *fa_backend_open(void);

enum place { on_cpu, on_cuda };

/* Numbers that depend on the round alone. */
void reseed(const setting &round);
uint64_t random_bits();
int64_t random_below(int64_t n);
double random_normal();

DLDataType dlpack_dtype(fa_dtype dtype);
int64_t item_bytes(fa_dtype dtype);
fa_dtype sums_dtype(fa_dtype dtype); /* ACC */
void put_number(void *item, fa_dtype dtype, double value);
double get_number(const void *item, fa_dtype dtype);

/* `bytes` bytes twice. On the device they end where the allocation ends, and begin `skew` bytes
 * after a multiple of 256. */
class twin
{
  public:
    explicit twin(int64_t bytes, int64_t skew = 0);
    ~twin();
    twin(const twin &) = delete;
    twin &operator=(const twin &) = delete;

    void *at(place where)
    {
        if (host.empty()) return nullptr; /* as the door to Python has it */
        return where == on_cpu ? host.data() : device + skew;
    }
    void send();                    /* the host's bytes to the device */
    void compare(const char *name); /* after all that was enqueued    */

  protected:
    std::vector<unsigned char> found_there();
    std::vector<unsigned char> host;

  private:
    unsigned char *device = nullptr;
    int64_t skew;
};

/* A table of numbers. */
template <class T> class twin_table : public twin
{
  public:
    explicit twin_table(std::vector<T> values) : twin(int64_t(values.size() * sizeof(T)))
    {
        if (!values.empty()) memcpy(host.data(), values.data(), values.size() * sizeof(T));
        send();
    }
    T *operator()(place where) { return static_cast<T *>(at(where)); }
};

/* A matrix of normal numbers, (rows, columns), or (planes, rows, columns) as the backends see
 * accumulators: the first axes flattened. */
class twin_tensor : public twin
{
  public:
    twin_tensor(fa_dtype dtype, int64_t rows, int64_t columns, int64_t skew_items = 0);
    DLTensor *operator()(place where) { return &tensors[where]; }
    double number(int64_t i) const; /* of the host's */
    void set_row(int64_t row, double value);
    using twin::compare;
    void compare(const char *name, double close); /* each number within `close` */
    int64_t rows() const { return shape[0]; }

  private:
    fa_dtype dtype;
    int64_t shape[2];
    DLTensor tensors[2];
};

/* op(args) on both. */
template <class Op, class Args> void run_twice(Op fa_backend::*op, Args args, const setting &round)
{
    fa_error error = {};
    CHECK((fa_backend_cpu.*op)(args(on_cpu), nullptr, &error) == FA_OK);
    const fa_status status = (fa_backend_open()->*op)(args(on_cuda), round.stream, &error);
    CHECK(status == FA_OK);
    if (status != FA_OK) fprintf(stderr, "%s\n", error.message);
}

#endif /* CUDA_HOST_STRICT_TWIN_H */
