/* engine.h -- what the engines' checks share: the memory of a call, twice. */
#ifndef CUDA_HOST_STRICT_ENGINE_H
#define CUDA_HOST_STRICT_ENGINE_H

#include <algorithm>

#include "model.h"

extern "C" {
#include "engine/chunks.h"
}

/* Tensors of T inputs, for the tables of a job. */
class tensors
{
  public:
    void add(std::unique_ptr<twin_tensor> one)
    {
        for (const place where : {on_cpu, on_cuda}) views[where].push_back(*(*one)(where));
        list.push_back(std::move(one));
    }
    void add(fa_dtype dtype, int64_t rows, int64_t columns, bool zero = false)
    {
        auto one = std::make_unique<twin_tensor>(dtype, rows, columns);
        for (int64_t r = 0; zero && r < rows; r++) one->set_row(r, 0.0);
        add(std::move(one));
    }
    DLTensor *operator()(place where) { return views[where].data(); }
    void compare(const char *name)
    {
        for (const auto &one : list) one->compare(name);
    }

  private:
    std::vector<std::unique_ptr<twin_tensor>> list;
    std::vector<DLTensor> views[2];
};

inline std::vector<int64_t> targets(int64_t B, bool predict, bool versus)
{
    std::vector<int64_t> found;
    for (int64_t e = 0; e < B; e++) {
        found.push_back(predict ? -1 : e % 2);
        found.push_back(versus ? 2 : -1);
    }
    return found;
}

/* The same numbers by their bits, NaN equal to NaN. */
template <class T> void compare(const std::vector<T> (&found)[2], const char *name)
{
    const bool same = memcmp(found[0].data(), found[1].data(), found[0].size() * sizeof(T)) == 0;
    CHECK(same);
    if (!same) fprintf(stderr, "%s differs\n", name);
}

/* What every engine wants of the caller. */
struct shared_memory {
    shared_memory(const setting &round_, const std::vector<int64_t> &widths_, int64_t B,
                  int64_t base_rows, int64_t rows_, std::vector<int64_t> target_, int64_t pairs = 0)
        : round(round_), widths(widths_), rows(rows_),
          index(std::vector<int64_t>(size_t(rows_), -7)),
          scalars(std::vector<int64_t>(size_t(2 * std::max(pairs, rows_)), -7)), target(target_)
    {
        for (const int64_t D : widths) {
            input.add(round.dtype, B, D);
            base.add(round.dtype, base_rows, D);
            points.add(round.dtype, rows, D);
        }
    }

    fa_chunks chunks(place where, const fa_model *model)
    {
        return {where == on_cpu ? &fa_backend_cpu : fa_backend_open(),
                where == on_cpu ? nullptr : round.stream,
                model,
                int64_t(widths.size()),
                points(where),
                index(where),
                scalars(where),
                rows,
                1,
                0};
    }

    setting round;
    std::vector<int64_t> widths;
    int64_t rows;
    tensors input, base, points;
    twin_table<int64_t> index, scalars, target;
};

#endif /* CUDA_HOST_STRICT_ENGINE_H */
