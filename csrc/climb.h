/* climb.h -- adversarial paths: the arguments of their operations, and the arithmetic of a step.
 *
 * Part of fastattr.h, which includes it; letters as there.
 *
 * A slot s of S holds one path: its vertex at[s], what it has contributed sum[s] and, for some
 * quadratures, its last step[s]. Row r of a pass stands for the F = `fan` slots active[r],
 * active[r] + 1, ..., which are at one point (more than one only while `fresh`: all paths of an
 * example start at start[example]). Q scalars a row: the explained output f_t (`explained`),
 * then what each of the slots ascends (`ascents`; without it they step along or against f_t). */
#ifndef FA_CLIMB_H
#define FA_CLIMB_H

#include "dlpack_abi.h"
#include "half.h"

typedef struct {
    int64_t example;
    int64_t target; /* t, the explained class                       */
    int64_t goal;   /* the class to reach, or -1: any but t         */
    int64_t minus;  /* ascend f_goal - f_minus, or -1: f_goal alone */
} fa_slot;

typedef struct {
    int64_t first, count; /* rows                                    */
    int64_t fan;          /* F                                       */
    int explained;        /* Q = explained + F * ascents             */
    int ascents;
    int fresh;             /* vertices are still start[example]       */
    const int64_t *active; /* (rows of the pass) first slot of a row  */
    const fa_slot *slots;  /* (S)                                     */
} fa_climbers;

/* Bits of a slot's state, set by arrive and ascend. */
enum {
    FA_SLOT_REACHED = 1, /* the predicted class is the goal              */
    FA_SLOT_MOVED = 2,   /* some feature changed                         */
    FA_SLOT_BROKEN = 4,  /* NaN or infinity: the path cannot be followed */
    FA_SLOT_CLASS = 8,   /* the predicted class is in the bits from here */
};

typedef struct {
    DLTensor *out;         /* (R, D) T                                                  */
    int64_t *index;        /* (R) example of each row, or NULL                          */
    int64_t *scalars;      /* (Q, R, 2) or NULL                                         */
    const DLTensor *start; /* (B, D) T                                                  */
    const DLTensor *at;    /* (S, D) T                                                  */
    const DLTensor *step;  /* (S, D) ACC: the point is at - step / 2; NULL: it is at    */
    fa_climbers climbers;
} fa_place_args;

typedef struct {
    int64_t *state;            /* (S) becomes what fa_slot_state says          */
    double *value;             /* (S) takes the row's first scalar            */
    const DLTensor *values;    /* (Q, R) any floating type                    */
    const DLTensor *predicted; /* (R) int64                                   */
    fa_climbers climbers;
} fa_arrive_args;

typedef struct {
    double *out;            /* (N): sum over d of values[first + i, d], or of squares */
    const DLTensor *values; /* (first + N or more, D) T                               */
    int64_t first, count;   /* N                                                      */
    int square;
    int add; /* to what is in `out` */
} fa_total_args;

typedef enum { FA_STEP_LEFT, FA_STEP_TRAPEZOID, FA_STEP_MIDPOINT } fa_step_rule;

/* With u the sign of the ascent gradient, or the gradient over `norm`:
 *   next = clip(at + step_size u), inside [low, high] and start +- radius; d = next - at
 *   sum -= f_t's gradient * d (left), * (step + d) / 2 (trapezoid), nothing (midpoint)
 * `restart`: next = clip(start + step_size u) and d = next - start. A slot that reached its goal
 * moves no more if `stop`: d = 0. Descent is a negative step_size. */
typedef struct {
    DLTensor *at;             /* (S, D) T                                        */
    DLTensor *sum;            /* (S, D) ACC, or NULL: not wanted                 */
    DLTensor *step;           /* (S, D) ACC: d is kept there, or NULL (left)     */
    int64_t *state;           /* (S) gains FA_SLOT_MOVED, FA_SLOT_BROKEN         */
    const DLTensor *gradient; /* (Q * R, D) T, or NULL: zero                     */
    const DLTensor *start;    /* (B, D) T: where fresh paths are                 */
    const DLTensor *centre;   /* (B, D) T: of the radius and of restarts         */
    const DLTensor *low;      /* (B, D) or (1, D) T, or NULL: no bound           */
    const DLTensor *high;
    const double *norm; /* (F * R) sums of squares, or NULL: signs         */
    double step_size;
    double radius; /* negative: none                                  */
    fa_step_rule rule;
    int restart;
    int stop;
    fa_climbers climbers;
} fa_ascend_args;

typedef struct {
    DLTensor *sum;            /* (S, D) ACC: sum -= factor * gradient * step */
    const DLTensor *step;     /* (S, D) ACC                                  */
    const DLTensor *gradient; /* (R, D) T                                    */
    double factor;
    fa_climbers climbers; /* F = 1 */
} fa_contribute_args;

/* result[e] += scale * (sum[s] + sum[s + 1] + ...) over the F slots of each of N examples, which
 * lie one after the other from slot 0; N examples from `first` on. */
typedef struct {
    DLTensor *result;    /* (B, D) ACC */
    const DLTensor *sum; /* (S, D) ACC */
    int64_t first, count;
    int64_t fan;
    double scale;
} fa_combine_args;

/* The state of a slot whose point is predicted to be of class `predicted`. */
FA_HD int64_t fa_slot_state(const fa_slot *slot, int64_t predicted)
{
    const int reached = slot->goal >= 0 ? predicted == slot->goal : predicted != slot->target;
    return predicted << FA_SLOT_CLASS | (reached ? FA_SLOT_REACHED : 0);
}

/* The plane of gradients, of R rows each, in which slot j of a row finds what it ascends. */
FA_HD int64_t fa_ascent_plane(const fa_climbers *climbers, int64_t j)
{
    return climbers->ascents ? (climbers->explained != 0) + j : 0;
}

#endif /* FA_CLIMB_H */
