/* quadrature.c -- the rules of quadrature.h, computed in long double and cached.
 *
 * Gauss-Legendre: roots of P_n by Newton from about cos(pi (k - 1/4) / (n + 1/2)), weights
 * 2 / ((1 - x^2) P_n'(x)^2) (Abramowitz & Stegun 25.4.29).
 * Fejer's second rule: nodes (1 - cos(theta_k)) / 2, theta_k = k pi / (n + 1), weights
 * 2 sin(theta_k) / (n + 1) * sum_j sin((2j - 1) theta_k) / (2j - 1), j = 1..(n + 1) / 2
 * (Waldvogel, BIT 46, 2006).
 * Both are symmetric: half is computed, the other half mirrored. */
#include "quadrature.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

typedef struct entry {
    struct entry *next;
    fa_rule rule;
    int64_t n;
    double values[]; /* n nodes, then n weights */
} entry;

static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static entry *cache;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static const long double pi = 3.141592653589793238462643383279502884L;

/* P_n and P_n' at x, by the three-term recurrence. */
static void legendre(long double *value, long double *slope, long double x, int64_t n)
{
    long double previous = 1.0L, current = x;
    for (int64_t k = 2; k <= n; k++) {
        const long double next =
            ((long double)(2 * k - 1) * x * current - (long double)(k - 1) * previous) /
            (long double)k;
        previous = current;
        current = next;
    }
    *value = current;
    *slope = (long double)n * (x * current - previous) / (x * x - 1.0L);
}

static void mirror(double *nodes, double *weights, int64_t k, int64_t n, long double node,
                   long double weight)
{
    nodes[k] = (double)node;
    nodes[n - 1 - k] = (double)(1.0L - node);
    weights[k] = weights[n - 1 - k] = (double)weight;
}

static void gauss_legendre(double *nodes, double *weights, int64_t n)
{
    for (int64_t k = 0; k < (n + 1) / 2; k++) {
        const long double m = (long double)n,
                          guess = cosl(pi * ((long double)k + 0.75L) / (m + 0.5L));
        long double x = (1.0L - (1.0L - 1.0L / m) / (8.0L * m * m)) * guess; /* to O(n^-4) */
        long double value = 0, slope = 1;
        for (int step = 0; step < 100; step++) {
            legendre(&value, &slope, x, n);
            x -= value / slope;
            if (fabsl(value / slope) < 1e-18L) break;
        }
        if (2 * k + 1 == n) x = 0.0L;
        legendre(&value, &slope, x, n);
        mirror(nodes, weights, k, n, (1.0L - x) / 2, 1.0L / ((1.0L - x * x) * slope * slope));
    }
}

/* Every sine is one of sin(i pi / (n + 1)): angles are reduced exactly, in integers. */
static int fejer(double *nodes, double *weights, int64_t n)
{
    const int64_t period = 2 * (n + 1);
    const long double step = pi / (long double)(n + 1);
    long double *const sines = malloc((size_t)period * sizeof(*sines));
    if (sines == NULL) return 0;
    for (int64_t i = 0; i < period; i++) sines[i] = sinl((long double)i * step);
    for (int64_t k = 0; k < (n + 1) / 2; k++) {
        const long double half = sinl((long double)(k + 1) * step / 2);
        long double sum = 0.0L;
        for (int64_t j = 1, turn = k + 1; j <= (n + 1) / 2; j++) {
            sum += sines[turn] / (long double)(2 * j - 1);
            turn += 2 * (k + 1);
            if (turn >= period) turn -= period;
        }
        mirror(nodes, weights, k, n, half * half, 2.0L * sines[k + 1] / (long double)(n + 1) * sum);
    }
    free(sines);
    return 1;
}

static void equidistant(double *nodes, double *weights, fa_rule rule, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        const long double i = (long double)k, of = (long double)n;
        const int end = rule == FA_TRAPEZOID && (k == 0 || k == n - 1);
        nodes[k] = (double)(rule == FA_LEFT       ? i / of
                            : rule == FA_RIGHT    ? (i + 1) / of
                            : rule == FA_MIDPOINT ? (i + 0.5L) / of
                                                  : i / (of - 1));
        weights[k] = (double)(rule != FA_TRAPEZOID ? 1 / of : (end ? 0.5L : 1.0L) / (of - 1));
    }
}

static entry *compute(fa_rule rule, int64_t n)
{
    int made = 1;
    entry *out = n > INT64_MAX / 64 ? NULL : malloc(sizeof(entry) + 2 * (size_t)n * sizeof(double));
    if (out == NULL) return NULL;
    double *nodes = out->values, *weights = nodes + n;
    out->rule = rule;
    out->n = n;
    if (rule == FA_GAUSS_LEGENDRE) {
        gauss_legendre(nodes, weights, n);
    } else if (rule == FA_FEJER) {
        made = fejer(nodes, weights, n);
    } else {
        equidistant(nodes, weights, rule == FA_TRAPEZOID && n == 1 ? FA_MIDPOINT : rule, n);
    }
    if (!made) free(out);
    return made ? out : NULL;
}

/* A fork while another thread holds the lock leaves it locked in the child. The list itself
 * is always whole: an entry is finished before one pointer makes it visible. */
static void unlock_in_child(void) { pthread_mutex_init(&cache_lock, NULL); }

static void register_fork_handler(void) { pthread_atfork(NULL, NULL, unlock_in_child); }

static entry *find(fa_rule rule, int64_t n)
{
    entry *found = cache;
    while (found != NULL && (found->rule != rule || found->n != n)) found = found->next;
    return found;
}

/* Nodes are computed outside the lock: it is never held for long, and whoever computed the
 * same ones a moment later gives his up. */
fa_status fa_quadrature(const double **nodes, const double **weights, fa_rule rule, int64_t n,
                        fa_error *error)
{
    if (n < 1) {
        return fa_fail(error, FA_EINVAL, "steps: expected at least 1, got %lld", (long long)n);
    }
    pthread_once(&fork_once, register_fork_handler);
    pthread_mutex_lock(&cache_lock);
    entry *found = find(rule, n);
    pthread_mutex_unlock(&cache_lock);
    if (found == NULL) {
        entry *const made = compute(rule, n);
        if (made == NULL) {
            return fa_fail(error, FA_ENOMEM, "steps: no memory for %lld nodes", (long long)n);
        }
        pthread_mutex_lock(&cache_lock);
        found = find(rule, n);
        if (found == NULL) {
            made->next = cache;
            cache = found = made;
        } else {
            free(made);
        }
        pthread_mutex_unlock(&cache_lock);
    }
    *nodes = found->values;
    *weights = found->values + n;
    return FA_OK;
}
