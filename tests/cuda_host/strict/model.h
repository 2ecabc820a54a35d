/* model.h -- a small model in C++ with memory of its own on either backend.
 *
 * f_c(x) = sum_d w_cd s_d / (1 + s_d^2) with s_d = x_d + 0.1 c over the features of all inputs,
 * c = 0, 1, 2. In float64, row by row, so that no row knows of another. */
#ifndef CUDA_HOST_STRICT_MODEL_H
#define CUDA_HOST_STRICT_MODEL_H

#include "twin.h"

constexpr int64_t model_classes = 3;

class small_model
{
  public:
    /* Has memory for `pairs` scalars of rows, and refuses more than `most` rows at a time, as if
     * memory ran out. */
    small_model(place where, const setting &round, const std::vector<int64_t> &widths,
                int64_t pairs, int64_t most);

    fa_model functions();
    int64_t calls = 0, live = 0;
    /* Of every point its class; else only where a scalar asks for it. */
    bool says_class = false;

  private:
    static fa_status evaluate(void *self, const fa_batch *batch, fa_evaluation *out,
                              fa_error *error);
    static void release(void *self);
    fa_status answer(const fa_batch *batch, fa_evaluation *out, fa_error *error);
    void compute_scalar(int64_t r, int64_t q, int64_t best, const fa_batch *batch,
                        const std::vector<std::vector<unsigned char>> &points,
                        const int64_t *scalars);
    void compute_row(int64_t r, const fa_batch *batch,
                     const std::vector<std::vector<unsigned char>> &points, const int64_t *scalars);
    void add_class(int64_t r, int64_t c, double sign,
                   const std::vector<std::vector<unsigned char>> &points, double *value,
                   std::vector<std::vector<double>> *slopes);

    place where;
    setting round;
    const fa_backend *backend;
    std::vector<int64_t> widths;
    int64_t most;
    std::vector<std::unique_ptr<twin_tensor>> gradients;
    twin_tensor values;
    twin_table<int64_t> predicted;
    std::vector<double> value_host;
    std::vector<int64_t> predicted_host;
    std::vector<std::vector<unsigned char>> gradient_host;
    DLTensor views[FA_MAX_INPUTS + 2];
    int64_t shapes[FA_MAX_INPUTS + 2][2];
};

#endif /* CUDA_HOST_STRICT_MODEL_H */
