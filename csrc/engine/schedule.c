#include "schedule.h"

fa_status fa_schedule_init(fa_schedule *out, fa_rule rule, int64_t steps, int adaptive,
                           fa_error *error)
{
    *out = (fa_schedule){.rule = rule, .opening = rule == FA_FEJER ? 1 : 0};
    if (steps < 1 || steps > FA_MOST_STEPS) {
        return fa_fail(error, FA_EINVAL, "steps: expected 1 to 2**40, got %lld", (long long)steps);
    }
    if (rule != FA_FEJER) {
        out->steps[out->levels++] = steps;
    } else if (adaptive) {
        for (int64_t n = FA_NESTED_FIRST; n <= steps && out->levels < FA_MAX_LEVELS;
             n = 2 * n + 1) {
            out->steps[out->levels++] = n;
        }
    } else if (steps % 2 == 1 && steps >= 3) {
        out->steps[out->levels++] = (steps - 1) / 2;
        out->steps[out->levels++] = steps;
    }
    if (out->levels > out->opening) return FA_OK;
    return fa_fail(error, FA_EINVAL, "steps: the nested rule does not have %lld nodes",
                   (long long)steps);
}

int64_t fa_schedule_passes(const fa_schedule *schedule)
{
    return schedule->levels - schedule->opening;
}

int64_t fa_schedule_most_nodes(const fa_schedule *schedule)
{
    const int64_t opening = schedule->steps[schedule->opening] + 1;
    const int64_t last = schedule->steps[schedule->levels - 1] / 2 + 1;
    return opening > last ? opening : last;
}

int fa_schedule_has_input(const fa_schedule *schedule)
{
    return schedule->rule == FA_RIGHT || (schedule->rule == FA_TRAPEZOID && schedule->steps[0] > 1);
}

int fa_schedule_has_base(const fa_schedule *schedule)
{
    return schedule->rule == FA_LEFT || (schedule->rule == FA_TRAPEZOID && schedule->steps[0] > 1);
}

/* Column k of `weight`: the weights, at every level, of node i (0-based) of level `top`.
 * Going down one level, node i is node (i - 1) / 2 if i is odd and absent if it is even. */
static fa_status fill_weights(double *weight, const fa_schedule *schedule, int64_t top, int64_t i,
                              int64_t k, int64_t stride, int64_t lowest, fa_error *error)
{
    for (int64_t level = 0; level < schedule->levels; level++) weight[level * stride + k] = 0.0;
    for (int64_t level = top, j = i; level >= lowest; level--, j = (j - 1) / 2) {
        const double *nodes, *weights;
        FA_TRY(fa_quadrature(&nodes, &weights, schedule->rule, schedule->steps[level], error));
        weight[level * stride + k] = weights[j];
        if (j % 2 == 0) break;
    }
    for (int64_t level = top + 1, j = 2 * i + 1; level < schedule->levels; level++, j = 2 * j + 1) {
        const double *nodes, *weights;
        FA_TRY(fa_quadrature(&nodes, &weights, schedule->rule, schedule->steps[level], error));
        weight[level * stride + k] = weights[j];
    }
    return FA_OK;
}

fa_status fa_schedule_pass(int64_t *nodes, double *alpha, double *weight,
                           const fa_schedule *schedule, int64_t pass, int end_row, fa_error *error)
{
    const int64_t top = schedule->opening + pass, lowest = pass == 0 ? 0 : top;
    const int64_t every = pass == 0 ? 1 : 2; /* later levels add their even nodes only */
    const int64_t first = end_row ? 1 : 0;
    const int64_t stride = first + (schedule->steps[top] + every - 1) / every;
    const double *all, *unused;
    FA_TRY(fa_quadrature(&all, &unused, schedule->rule, schedule->steps[top], error));
    if (end_row) {
        alpha[0] = 1.0;
        for (int64_t level = 0; level < schedule->levels; level++) weight[level * stride] = 0.0;
    }
    for (int64_t k = first, i = 0; k < stride; k++, i += every) {
        alpha[k] = all[i];
        FA_TRY(fill_weights(weight, schedule, top, i, k, stride, lowest, error));
    }
    *nodes = stride;
    return FA_OK;
}
