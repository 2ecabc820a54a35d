/* integrate.h -- weighted sums of gradients along straight paths, in bounded memory. */
#ifndef FA_INTEGRATE_H
#define FA_INTEGRATE_H

#include "chunks.h"
#include "schedule.h"

/* From good to bad. */
typedef enum {
    FA_CONVERGED = 0,   /* the bar is below the tolerance, or the method makes no claim      */
    FA_UNCONVERGED = 1, /* the cap was reached, or a fixed rule's gap exceeds the tolerance  */
    FA_SINGULAR = 2,    /* unconverged, and no more nodes would help: see settle.c            */
    FA_NONFINITE = 3,   /* NaN or infinity in an output or a gradient of this example        */
} fa_outcome;

/* Rows behind an affine map of the inputs, of other sizes E: they lie between `base` and
 * `input`, the images of the ends, and `sum` takes their gradients. model->pull brings the sums
 * of a level back to `result` before it is judged. All NULL: the rows lie where the
 * attribution does. */
typedef struct {
    const DLTensor *input; /* (T): (B, E)                                  */
    const DLTensor *base;  /* (T): (B, E) or (1, E)                        */
    DLTensor *sum;         /* (T): (L, B, E) accumulators, zero at entry   */
} fa_behind;

/* One call. Tensors, device tables and scratch are in the backend's memory, (B) results in
 * the host's; all belong to the caller. */
typedef struct {
    fa_chunks chunks;
    int64_t examples;      /* B                                                           */
    int64_t group;         /* S: consecutive examples that stop together, as segments of one
                              path; the (B) results below are then (B / S)                */
    const double *known;   /* (2, B / S) host: f at the input and the base, when they are
                              known already; NULL: their rows ride along                  */
    const DLTensor *input; /* (T): (B, D)                                                 */
    const DLTensor *base;  /* (T): (B, D) or (1, D)                                       */
    DLTensor *result;      /* (T): (P, B, D) accumulators, zero at entry; level l is in
                              plane l % P, see fa_integrate_planes                       */
    DLTensor *values;      /* (T): (B, D), may share memory with `result` if P is 1       */
    fa_behind behind;      /* where the rows lie                                          */
    int64_t *target;       /* (B, 2) plus and minus; plus is filled in if `predict`       */
    void *scratch;         /* fa_integrate_scratch() bytes                                */

    int shared_base; /* all examples have one base and the model sees nothing else
                        of them: one row there for each distinct scalar         */
    fa_schedule schedule;
    double tolerance;
    double eps;       /* spacing at 1 of the numbers the model computes in           */
    int adaptive;     /* stop each example when its own bar is met                   */
    int predict;      /* a forward-only pass chooses the class                       */
    int completeness; /* sum of the attribution = f(input) - f(base)                 */
    int multiply;     /* by input - base                                             */
    int absolute;

    double *gap, *error, *output, *base_output; /* (B), or (B / S) */
    int64_t *evaluations;                       /* (B) gradient evaluations, end rows not counted */
    uint8_t *outcome;                           /* (B) fa_outcome */
    int swept;                                  /* whether the model summed along lines */
} fa_integration;

/* P: an accumulator for each level, or, for rows behind a map, for the last two. */
int64_t fa_integrate_planes(const fa_schedule *schedule, int behind);

int64_t fa_integrate_scratch(const fa_schedule *schedule, int64_t examples);

/* On FA_EMODEL the model's own error stands. Nothing is kept after any return. */
fa_status fa_integrate(fa_integration *job, fa_error *error);

/* How the nested change of one example went so far; zero at the start. */
typedef struct {
    double change;
    int64_t stalled;
} fa_trend;

/* settle.c: the stopping rule. `sums` (A, 4) of fa_measure_args for the A active groups at
 * `level`. Writes gap, error, evaluations and outcome of every group that is finished, or of
 * all if `last`; keeps the examples of the others in `active` and returns how many. */
int64_t fa_settle(const fa_integration *job, int64_t *active, int64_t *reached, fa_trend *trend,
                  int64_t count, const double *sums, int64_t level, int last);

#endif /* FA_INTEGRATE_H */
