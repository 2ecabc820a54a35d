/* ascend.h -- adversarial paths of many examples to many classes, and what f_t loses along them. */
#ifndef FA_ASCEND_H
#define FA_ASCEND_H

#include "chunks.h"

/* One call: k paths for each of B examples, P = B k, in waves of at most S. Tensors and tables
 * are in the backend's memory and allocated by the caller, `plan` and results in the host's. */
typedef struct {
    fa_chunks chunks;       /* scalars: fa_ascend_pairs() pairs                                 */
    int64_t examples;       /* B                                                                */
    int64_t paths;          /* k                                                                */
    int64_t slots;          /* S: paths under way at a time                                     */
    int64_t max_steps;      /* m                                                                */
    const fa_slot *plan;    /* (B, k): goals ascend within an example                           */
    const DLTensor *start;  /* (T): (B, D) T, where the paths begin                             */
    const DLTensor *centre; /* (T): (B, D) T, of the radius and of restarts                     */
    const DLTensor *low;    /* (T): (B, D) or (1, D) T, or NULL: no bounds                      */
    const DLTensor *high;   /* (T)                                                              */
    DLTensor *at;           /* (T): (S, D) T, or (P, D) if keep_at: the end points at return    */
    DLTensor *sum;          /* (T): (S, D) ACC, or (P, D) if keep_sum; NULL: no contributions   */
    DLTensor *step;         /* (T): (S, D) ACC, or NULL: for the left rule only                 */
    DLTensor *result;       /* (T): (B, D) ACC, zero at entry: scale * sum over the paths; NULL */
    void *scratch;          /* fa_ascend_scratch() bytes                                        */
    double step_size;       /* negative: descend                                                */
    double radius;          /* negative: none                                                   */
    double scale;
    fa_step_rule rule;
    int ascents; /* each path ascends a class of its own; else all use the gradient of f_t      */
    int l2;      /* steps of this length, else in every feature                                 */
    int restart; /* every step is taken from the centre                                         */
    int stop;    /* paths end where their goal is reached                                       */
    int keep_at, keep_sum;

    double *initial;    /* (P) f_t where the path begins                                          */
    double *final;      /* (P) and where it ends                                                  */
    double *total;      /* (P) sum of the path's contributions                                    */
    int64_t *steps;     /* (P)                                                                    */
    uint8_t *outcome;   /* (P) fa_ascent                                                        */
    int64_t *predicted; /* (P) class at the end                                                 */
    int64_t *gradients; /* (B) gradients that were computed                                     */
    int64_t *units;     /* (B) the same and the forwards that they needed                       */
} fa_ascending;

typedef enum {
    FA_ASCENT_OPEN = 0,    /* m steps, and the goal was not reached */
    FA_ASCENT_REACHED = 1, /* the class at the end is the goal      */
    FA_ASCENT_STALLED = 2, /* nothing moved any more                */
    FA_ASCENT_BROKEN = 3,  /* NaN or infinity                       */
} fa_ascent;

int64_t fa_ascend_pairs(int64_t rows, int64_t paths);
int64_t fa_ascend_scratch(int64_t slots);

fa_status fa_ascend(fa_ascending *job, fa_error *error);

#endif /* FA_ASCEND_H */
