/* settle.c -- the nested adaptive rule: an example is finished when its own bar is met.
 *
 *   error = max(|A_new - A_old|_1, 2 |gap|) / |A_new|_1,   0/0 = 0
 *
 * |gap| is a rigorous lower bound of the L1 error of A_new; the nested difference catches
 * errors that cancel in the sum. An absolute change below 16 eps max(|f(x)|, |f(x')|, |A|_1)
 * is rounding: it cannot be improved, so it counts as met. Without `multiply` the difference
 * and its norm are those of the plain integral, the gap's norm is that of the product. */
#include "integrate.h"

#include <math.h>

enum { CHANGE, NORM, SUM, PRODUCT_NORM };

#define FA_ROUNDING 16.0
#define FA_SINGULAR_RATIO 10.0
#define FA_STALLED_RATIO 0.8
#define FA_STALLED_LEVELS 2

static double relative(double part, double whole) { return part == 0.0 ? 0.0 : part / whole; }

/* max that lets NaN through: a NaN bar must never pass a test. */
static double worst(double a, double b) { return a > b || isnan(a) ? a : b; }

static int is_rounding(double change, double norm, double scale, double eps)
{
    return change <= FA_ROUNDING * eps * worst(scale, norm);
}

static fa_outcome judge(const fa_integration *job, const double *s, double gap, double bar,
                        double scale, int64_t stalled)
{
    const double twice = 2.0 * fabs(gap), eps = job->eps;
    const double sum_eps = job->input[0].dtype.bits == 64 ? 0x1p-52 : 0x1p-23;
    if (!isfinite(s[CHANGE] + s[NORM] + s[SUM] + s[PRODUCT_NORM] + scale)) return FA_NONFINITE;
    if (job->schedule.rule != FA_FEJER) { /* no bar: the gap decides, where there is one */
        const int met = !job->completeness || !job->multiply ||
                        fabs(gap) <= job->tolerance * s[PRODUCT_NORM] ||
                        is_rounding(fabs(gap), s[PRODUCT_NORM], scale, sum_eps);
        return met ? FA_CONVERGED : FA_UNCONVERGED;
    }
    if (bar <= job->tolerance) return FA_CONVERGED;
    if (is_rounding(s[CHANGE], s[NORM], scale, eps) &&
        is_rounding(twice, s[PRODUCT_NORM], scale, eps)) {
        return FA_CONVERGED;
    }
    const int gap_stays =
        relative(twice, s[PRODUCT_NORM]) > FA_SINGULAR_RATIO * relative(s[CHANGE], s[NORM]);
    return gap_stays || stalled >= FA_STALLED_LEVELS ? FA_SINGULAR : FA_UNCONVERGED;
}

/* Levels in a row at which the change did not shrink. A bounded integrand with kinks halves
 * it at least; one that grows like 1 / alpha adds the same at every level. */
static int64_t count_stalled(fa_trend *trend, double change)
{
    trend->stalled = change > FA_STALLED_RATIO * trend->change ? trend->stalled + 1 : 0;
    if (trend->change == 0.0) trend->stalled = 0; /* the first level has nothing before it */
    trend->change = change;
    return trend->stalled;
}

static void report(const fa_integration *job, int64_t g, fa_outcome outcome, double gap, double bar,
                   int64_t level)
{
    job->gap[g] = job->multiply && !job->absolute ? gap : NAN;
    job->error[g] = job->schedule.rule == FA_FEJER ? bar : NAN;
    job->evaluations[g] = job->schedule.steps[level] * job->group;
    job->outcome[g] = (uint8_t)outcome;
}

int64_t fa_settle(const fa_integration *job, int64_t *active, int64_t *reached, fa_trend *trend,
                  int64_t count, const double *sums, int64_t level, int last)
{
    const int64_t S = job->group;
    int64_t kept = 0;
    for (int64_t a = 0; a < count; a++) {
        const int64_t g = active[a * S] / S;
        const double *s = sums + a * FA_MEASURES;
        const double output = job->output[g], base_output = job->base_output[g];
        const double gap = job->completeness ? s[SUM] - (output - base_output) : NAN;
        const double scale =
            job->completeness ? worst(fabs(output), fabs(base_output)) : fabs(output);
        const double bar =
            worst(relative(s[CHANGE], s[NORM]), relative(2.0 * fabs(gap), s[PRODUCT_NORM]));
        const int64_t stalled = count_stalled(&trend[g], s[CHANGE]);
        const fa_outcome outcome = judge(job, s, gap, bar, scale, stalled);
        const int goes_on = !last && (outcome == FA_UNCONVERGED || outcome == FA_SINGULAR);
        if (!goes_on) report(job, g, outcome, gap, bar, level);
        for (int64_t member = 0; member < S; member++) {
            const int64_t e = active[a * S + member];
            if (goes_on) active[kept++] = e;
            reached[e] = level;
        }
    }
    return kept;
}
