#include "plans.h"

static std::vector<int64_t> some_of(int64_t n) /* ascending, at least one */
{
    std::vector<int64_t> found;
    for (int64_t i = 0; i < n; i++) {
        if (random_below(3) > 0 || (i == n - 1 && found.empty())) found.push_back(i);
    }
    return found;
}

static std::vector<int64_t> indices(int64_t count, int64_t n)
{
    std::vector<int64_t> found((size_t)count);
    for (int64_t &i : found) i = random_below(n);
    return found;
}

/* From 1 down; to 0 only if no lead rows lie there: a pass has one row at either end. */
static std::vector<double> alphas(int64_t n, bool to_base)
{
    std::vector<double> found;
    const double step = n > 1 ? 1.0 / double(to_base ? n - 1 : n) : 0.0;
    for (int64_t k = 0; k < n; k++) found.push_back(1.0 - double(k) * step);
    if (to_base && n > 1) found.back() = 0.0;
    return found;
}

/* count <= n of 0..n-1, no number twice. */
static std::vector<int64_t> distinct(int64_t count, int64_t n)
{
    std::vector<int64_t> found;
    const int64_t start = random_below(n);
    for (int64_t i = 0; i < count; i++) found.push_back((start + i) % n);
    return found;
}

static std::vector<double> weights(int64_t levels, int64_t nodes)
{
    std::vector<double> found;
    for (int64_t i = 0; i < levels * nodes; i++) {
        found.push_back(random_below(3) == 0 ? 0.0 : random_normal());
    }
    return found;
}

row_plan::row_plan(int64_t B, int64_t N, int64_t L, int64_t U, bool own_bases)
    : examples(B), nodes(N), levels(L), leads(U), active_host(some_of(B)),
      lead_example(distinct(U, B)), lead_base(indices(U, B)), active(active_host),
      alpha(alphas(N, U == 0)), weight(weights(L, N)), has_lead_base(own_bases)
{
    rows = leads + int64_t(active_host.size()) * nodes;
    for (int64_t r = 0; r < rows; r++) {
        bool none = true;
        for (int64_t l = 0; l < levels && r >= leads; l++) {
            none = none && weight(on_cpu)[l * nodes + (r - leads) % nodes] == 0.0;
        }
        weightless.push_back(none);
    }
}

fa_rows row_plan::chunk(place where, int64_t first, int64_t count)
{
    return {first,
            count,
            leads,
            nodes,
            levels,
            lead_example(where),
            has_lead_base ? lead_base(where) : nullptr,
            active(where),
            alpha(where),
            weight(where)};
}

static std::vector<int64_t> distant_ids(int64_t n)
{
    std::vector<int64_t> found;
    for (int64_t e = 0; e < n; e++) found.push_back(e * 1000003 + random_below(1000));
    return found;
}

draw_plan::draw_plan(int64_t B, int64_t n, int64_t M, bool along_path, bool stratified)
    : examples(B), rows(B * (n + 1)),
      draws{n, M, along_path, stratified, random_bits() % 1000, nullptr}, ids(distant_ids(B))
{
}
