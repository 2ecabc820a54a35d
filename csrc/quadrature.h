/* quadrature.h -- nodes and weights on [0, 1]. */
#ifndef FA_QUADRATURE_H
#define FA_QUADRATURE_H

#include "fastattr.h"

typedef enum {
    FA_GAUSS_LEGENDRE,
    FA_FEJER,     /* second kind, open: k / (n + 1) in angle; nested for n = 2^j - 1 */
    FA_MIDPOINT,  /* (k + 1/2) / n                                                   */
    FA_TRAPEZOID, /* k / (n - 1), end weights halved; n = 1 is the midpoint          */
    FA_LEFT,      /* k / n                                                           */
    FA_RIGHT,     /* (k + 1) / n                                                     */
    FA_RULES,
} fa_rule;

/* Nodes ascending and their weights, n each, exact to 1e-15. The arrays are the cache's
 * and live for the process. n >= 1; FA_ENOMEM when there is no memory for them. */
fa_status fa_quadrature(const double **nodes, const double **weights, fa_rule rule, int64_t n,
                        fa_error *error);

#endif /* FA_QUADRATURE_H */
