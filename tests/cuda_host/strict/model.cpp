#include "model.h"

#include <cmath>

small_model::small_model(place where_, const setting &round_, const std::vector<int64_t> &widths_,
                         int64_t rows, int64_t most_)
    : where(where_), round(round_), backend(where_ == on_cpu ? &fa_backend_cpu : fa_backend_open()),
      widths(widths_), most(most_), values(FA_FLOAT64, rows, 1),
      predicted(std::vector<int64_t>(size_t(rows), 0))
{
    for (const int64_t D : widths) {
        gradients.push_back(std::make_unique<twin_tensor>(round.dtype, rows, D));
    }
}

fa_model small_model::functions() { return {this, evaluate, release, nullptr}; }

void small_model::release(void *self) { static_cast<small_model *>(self)->live--; }

fa_status small_model::evaluate(void *self, const fa_batch *batch, fa_evaluation *out,
                                fa_error *error)
{
    small_model *const model = static_cast<small_model *>(self);
    model->calls++;
    if (batch->rows > model->most) return fa_fail(error, FA_ENOMEM, "too many rows");
    const fa_status status = model->answer(batch, out, error);
    if (status == FA_OK) model->live++;
    return status;
}

/* sign * f_c of row r is added to *value, its slopes to *slopes if there are any. */
void small_model::add_class(int64_t r, int64_t c, double sign,
                            const std::vector<std::vector<unsigned char>> &points, double *value,
                            std::vector<std::vector<double>> *slopes)
{
    const int64_t item = item_bytes(round.dtype);
    for (size_t t = 0; t < widths.size(); t++) {
        for (int64_t d = 0; d < widths[t]; d++) {
            const unsigned char *const at = points[t].data() + (r * widths[t] + d) * item;
            const double s = get_number(at, round.dtype) + 0.1 * double(c), q = 1.0 + s * s;
            const double w = double((d * 7 + c * 3 + int64_t(t) * 5) % 11 - 5) / 4.0;
            *value += sign * w * s / q;
            if (slopes != nullptr) (*slopes)[t][size_t(d)] += sign * w * (1.0 - s * s) / (q * q);
        }
    }
}

void small_model::compute_row(int64_t r, const fa_batch *batch,
                              const std::vector<std::vector<unsigned char>> &points,
                              const int64_t *scalars)
{
    double scores[model_classes] = {0.0, 0.0, 0.0};
    int64_t best = 0;
    for (int64_t c = 0; c < model_classes; c++) {
        add_class(r, c, 1.0, points, &scores[c], nullptr);
        if (scores[c] > scores[best]) best = c;
    }
    const int64_t plus = scalars[0] >= 0 ? scalars[0] : best, minus = scalars[1];
    double value = 0.0;
    std::vector<std::vector<double>> slopes;
    for (const int64_t D : widths) slopes.push_back(std::vector<double>(size_t(D)));
    add_class(r, plus, 1.0, points, &value, &slopes);
    if (minus >= 0) add_class(r, minus, -1.0, points, &value, &slopes);
    value_host[size_t(r)] = value;
    predicted_host[size_t(r)] = plus;
    const int64_t item = item_bytes(round.dtype);
    for (size_t t = 0; batch->gradients && t < widths.size(); t++) {
        for (int64_t d = 0; d < widths[t]; d++) {
            put_number(gradient_host[t].data() + (r * widths[t] + d) * item, round.dtype,
                       slopes[t][size_t(d)]);
        }
    }
}

fa_status small_model::answer(const fa_batch *batch, fa_evaluation *out, fa_error *error)
{
    const int64_t R = batch->rows, item = item_bytes(round.dtype);
    cudaStream_t const stream = where == on_cuda ? round.stream : nullptr;
    std::vector<std::vector<unsigned char>> points;
    std::vector<int64_t> scalars(size_t(2 * R));
    value_host.assign(size_t(R), 0.0);
    predicted_host.assign(size_t(R), 0);
    gradient_host.clear();
    for (size_t t = 0; t < widths.size(); t++) {
        const int64_t bytes = R * widths[t] * item;
        points.push_back(std::vector<unsigned char>(size_t(bytes)));
        gradient_host.push_back(std::vector<unsigned char>(size_t(bytes)));
        FA_TRY(
            backend->download(points[t].data(), fa_data(&batch->points[t]), bytes, stream, error));
    }
    FA_TRY(backend->download(scalars.data(), batch->scalars, 16 * R, stream, error));
    for (int64_t r = 0; r < R; r++) compute_row(r, batch, points, scalars.data() + 2 * r);

    FA_TRY(backend->upload(values.at(where), value_host.data(), 8 * R, stream, error));
    FA_TRY(backend->upload(predicted.at(where), predicted_host.data(), 8 * R, stream, error));
    const auto view = [&](size_t i, DLTensor like, int64_t columns) {
        shapes[i][0] = R;
        shapes[i][1] = columns;
        views[i] = like;
        views[i].shape = shapes[i];
        return &views[i];
    };
    const size_t T = widths.size();
    out->values = view(T, *values(where), 1);
    out->predicted = view(T + 1, *values(where), 1);
    views[T + 1].data = predicted.at(where);
    views[T + 1].dtype = {kDLInt, 64, 1};
    for (size_t t = 0; batch->gradients && t < T; t++) {
        FA_TRY(backend->upload(gradients[t]->at(where), gradient_host[t].data(),
                               R * widths[t] * item, stream, error));
        out->gradients[t] = view(t, *(*gradients[t])(where), widths[t]);
    }
    return FA_OK;
}
