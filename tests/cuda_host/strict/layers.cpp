/* layers.cpp -- csrc/engine/layers.c on both backends, against the network in blocks of
 * csrc/engine/dense.c, which shares nothing with it but the definitions. */
#include "engine.h"

#include <cmath>

extern "C" {
#include "engine/layers.h"
}

namespace
{

struct network {
    network(const setting &round_, const std::vector<int64_t> &widths, bool plain_first)
        : round(round_)
    {
        int64_t in = widths[0];
        for (size_t l = 0; l + 1 < widths.size(); l++) {
            const bool weightless = l == 0 ? plain_first : in == widths[l + 1];
            const int64_t out = weightless ? in : widths[l + 1];
            const fa_activate activate = {fa_activation(random_below(FA_ACTIVATIONS)), 0.5, 20.0};
            weights.push_back(std::make_unique<twin_tensor>(round.dtype, out, in));
            biases.push_back(std::make_unique<twin_tensor>(round.dtype, 1, out));
            const bool biased = !weightless && random_below(3) != 0;
            for (const place where : {on_cpu, on_cuda}) {
                static const char nothing = 0; /* a weight of no elements is still a product */
                const void *const weight = weights[l]->at(where);
                specs[where].push_back({in, out,
                                        weightless          ? nullptr
                                        : weight != nullptr ? weight
                                                            : &nothing,
                                        biased ? biases[l]->at(where) : nullptr, activate});
            }
            in = out;
        }
    }
    setting round;
    std::vector<std::unique_ptr<twin_tensor>> weights, biases;
    std::vector<fa_layer_spec> specs[2];
};

struct answers {
    std::vector<double> values, gradients;
    std::vector<int64_t> predicted;
};

void read(std::vector<double> *out, const fa_backend *backend, const DLTensor *from, void *stream)
{
    fa_error error;
    const fa_dtype dtype = fa_dtype_of(from->dtype);
    const int64_t count = fa_numel(from), item = item_bytes(dtype);
    std::vector<unsigned char> bytes(size_t(count * item) + 1);
    CHECK(backend->download(bytes.data(), fa_data(from), count * item, stream, &error) == FA_OK);
    for (int64_t i = 0; i < count; i++) out->push_back(get_number(&bytes[size_t(i * item)], dtype));
}

answers ask(const fa_model &model, const fa_backend *backend, const fa_batch &batch, void *stream)
{
    answers found;
    fa_evaluation out = {};
    fa_error error = {};
    const fa_status status = model.evaluate(model.self, &batch, &out, &error);
    CHECK(status == FA_OK);
    if (status != FA_OK) {
        fprintf(stderr, "layers: %s\n", error.message);
        return found;
    }
    read(&found.values, backend, out.values, stream);
    if (batch.gradients) read(&found.gradients, backend, out.gradients[0], stream);
    if (out.predicted != nullptr) {
        found.predicted.resize(size_t(batch.rows));
        CHECK(backend->download(found.predicted.data(), fa_data(out.predicted), 8 * batch.rows,
                                stream, &error) == FA_OK);
    }
    model.release(model.self);
    return found;
}

void compare(const std::vector<double> &found, const std::vector<double> &wanted, double close,
             const char *name)
{
    double largest = 1.0, furthest = 0.0;
    CHECK(found.size() == wanted.size());
    for (size_t i = 0; i < wanted.size() && i < found.size(); i++) {
        const double distance = fabs(found[i] - wanted[i]);
        largest = std::max(largest, fabs(wanted[i]));
        furthest = distance <= furthest ? furthest : distance;
    }
    CHECK(furthest <= close * largest);
    if (!(furthest <= close * largest)) fprintf(stderr, "layers: %s by %g\n", name, furthest);
}

void evaluate_twice(const setting &round, network &net, fa_head head, int64_t Q, int gradients)
{
    fa_error error = {};
    const int64_t R = 1 + random_below(20), most = R + random_below(3), D = net.specs[on_cpu][0].in;
    const int64_t C = net.specs[on_cpu].back().out;
    const double close = round.dtype == FA_FLOAT64 ? 1e-11 : 2e-4;
    twin_tensor points(round.dtype, R, D);
    std::vector<int64_t> pairs;
    for (int64_t i = 0; i < Q * R; i++) {
        pairs.push_back(random_below(C + 1) - 1);
        pairs.push_back(random_below(C + 1) - 1);
    }
    twin_table<int64_t> scalars(pairs);
    answers found[2];
    for (const place where : {on_cpu, on_cuda}) {
        const fa_backend *backend = where == on_cpu ? &fa_backend_cpu : fa_backend_open();
        void *const stream = where == on_cpu ? nullptr : (void *)round.stream;
        const fa_layers layers = {
            backend, {where == on_cpu ? kDLCPU : kDLCUDA, 0}, round.dtype,
            head,    int64_t(net.specs[where].size()),        net.specs[where].data()};
        twin memory(fa_layers_bytes(&layers, most, Q * most));
        fa_layers_run run = {};
        fa_model model;
        run.net = &layers;
        run.stream = stream;
        run.memory = memory.at(where);
        run.rows = most;
        run.pairs = Q * most;
        fa_layers_begin(&run, &model);
        const fa_batch batch = {R, 1, points(where), nullptr, scalars(where), Q, R, gradients};
        (void)ask(model, backend, batch, stream); /* what it leaves is not what the next one gets */
        found[where] = ask(model, backend, batch, stream);
    }
    fa_dense *dense = nullptr;
    CHECK(fa_dense_new(&dense, round.dtype, net.specs[on_cpu].data(),
                       int64_t(net.specs[on_cpu].size()), head, 0, &error) == FA_OK);
    fa_dense_run blocks;
    fa_model model;
    fa_dense_begin(&blocks, &model, dense);
    const fa_batch batch = {R, 1, points(on_cpu), nullptr, scalars(on_cpu), Q, R, gradients};
    const answers wanted = ask(model, &fa_backend_cpu, batch, nullptr);
    fa_dense_end(&blocks);
    fa_dense_free(dense);
    for (const place where : {on_cpu, on_cuda}) {
        compare(found[where].values, wanted.values, close, "values");
        compare(found[where].gradients, wanted.gradients, close, "gradients");
    }
    if (!gradients) CHECK(found[on_cpu].predicted == found[on_cuda].predicted);
    for (size_t r = 0; !gradients && r < size_t(R); r++) {
        CHECK(pairs[2 * r] < 0 ? found[on_cpu].predicted[r] == wanted.predicted[r]
                               : found[on_cpu].predicted[r] == pairs[2 * r]);
    }
}

} // namespace

void check_layers(const setting &round)
{
    if (round.dtype != FA_FLOAT32 && round.dtype != FA_FLOAT64) return;
    const std::vector<std::vector<int64_t>> shapes = {
        {4, 3}, {1, 1}, {7, 40, 40, 5}, {30, 64, 32, 2}, {5, 0, 3}, {0, 4, 2}, {6, 6, 6, 6}};
    for (const auto &widths : shapes) {
        for (const fa_head head : {FA_RAW, FA_SOFTMAX, FA_LOG_SOFTMAX}) {
            if (head != FA_RAW && widths.back() < 2) continue;
            for (const int gradients : {1, 0}) {
                network net(round, widths, random_below(2) && widths.size() > 2);
                evaluate_twice(round, net, head, 1 + random_below(3), gradients);
            }
        }
    }
}
