#include "model.h"

#include <cmath>

small_model::small_model(place where_, const setting &round_, const std::vector<int64_t> &widths_,
                         int64_t pairs, int64_t most_)
    : where(where_), round(round_), backend(where_ == on_cpu ? &fa_backend_cpu : fa_backend_open()),
      widths(widths_), most(most_), values(FA_FLOAT64, pairs, 1),
      predicted(std::vector<int64_t>(size_t(pairs), 0))
{
    for (const int64_t D : widths) {
        gradients.push_back(std::make_unique<twin_tensor>(round.dtype, pairs, D));
    }
}

fa_model small_model::functions() { return {this, evaluate, release, nullptr, nullptr}; }

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

/* Scalar q of row r, at q R + r. */
void small_model::compute_scalar(int64_t r, int64_t q, int64_t best, const fa_batch *batch,
                                 const std::vector<std::vector<unsigned char>> &points,
                                 const int64_t *scalars)
{
    const int64_t at = q * batch->rows + r, item = item_bytes(round.dtype);
    const int64_t plus = scalars[2 * at] >= 0 ? scalars[2 * at] : best, minus = scalars[2 * at + 1];
    std::vector<std::vector<double>> slopes;
    for (const int64_t D : widths) slopes.push_back(std::vector<double>(size_t(D)));
    double *const value = &value_host[size_t(at)];
    add_class(r, plus, 1.0, points, value, &slopes);
    if (minus >= 0) add_class(r, minus, -1.0, points, value, &slopes);
    for (size_t t = 0; batch->gradients && t < widths.size(); t++) {
        for (int64_t d = 0; d < widths[t]; d++) {
            put_number(gradient_host[t].data() + (at * widths[t] + d) * item, round.dtype,
                       slopes[t][size_t(d)]);
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
    predicted_host[size_t(r)] = says_class || scalars[2 * r] < 0 ? best : scalars[2 * r];
    for (int64_t q = 0; q < batch->scalar_count; q++) {
        compute_scalar(r, q, best, batch, points, scalars);
    }
}

fa_status small_model::answer(const fa_batch *batch, fa_evaluation *out, fa_error *error)
{
    const int64_t R = batch->rows, pairs = R * batch->scalar_count, item = item_bytes(round.dtype);
    cudaStream_t const stream = where == on_cuda ? round.stream : nullptr;
    std::vector<std::vector<unsigned char>> points;
    std::vector<int64_t> scalars(size_t(2 * pairs));
    value_host.assign(size_t(pairs), 0.0);
    predicted_host.assign(size_t(R), 0);
    gradient_host.clear();
    for (size_t t = 0; t < widths.size(); t++) {
        const int64_t bytes = R * widths[t] * item;
        points.push_back(std::vector<unsigned char>(size_t(bytes)));
        gradient_host.push_back(std::vector<unsigned char>(size_t(pairs * widths[t] * item)));
        FA_TRY(
            backend->download(points[t].data(), fa_data(&batch->points[t]), bytes, stream, error));
    }
    FA_TRY(backend->download(scalars.data(), batch->scalars, 16 * pairs, stream, error));
    for (int64_t r = 0; r < R; r++) compute_row(r, batch, points, scalars.data());

    FA_TRY(backend->upload(values.at(where), value_host.data(), 8 * pairs, stream, error));
    FA_TRY(backend->upload(predicted.at(where), predicted_host.data(), 8 * R, stream, error));
    const auto view = [&](size_t i, DLTensor like, int64_t rows, int64_t columns) {
        shapes[i][0] = rows;
        shapes[i][1] = columns;
        views[i] = like;
        views[i].shape = shapes[i];
        return &views[i];
    };
    const size_t T = widths.size();
    out->values = view(T, *values(where), pairs, 1);
    if (says_class || scalars[0] < 0) {
        out->predicted = view(T + 1, *values(where), R, 1);
        views[T + 1].data = predicted.at(where);
        views[T + 1].dtype = {kDLInt, 64, 1};
    }
    for (size_t t = 0; batch->gradients && t < T; t++) {
        FA_TRY(backend->upload(gradients[t]->at(where), gradient_host[t].data(),
                               pairs * widths[t] * item, stream, error));
        out->gradients[t] = view(t, *(*gradients[t])(where), pairs, widths[t]);
    }
    return FA_OK;
}
