/* layers.h -- a dense network, layer by layer: the arguments of its operations.
 *
 * Part of fastattr.h, which includes it; letters as there. N outputs of a layer, C those of the
 * last; tensors are float32 or float64. */
#ifndef FA_LAYERS_H
#define FA_LAYERS_H

#include "dlpack_abi.h"

typedef enum {
    FA_IDENTITY,
    FA_RELU,
    FA_LEAKY_RELU, /* a: slope of the negative side             */
    FA_ELU,        /* a: alpha                                  */
    FA_GELU,       /* z Phi(z)                                  */
    FA_GELU_TANH,  /* its approximation by a tanh               */
    FA_SILU,
    FA_TANH,
    FA_SIGMOID,
    FA_SOFTPLUS, /* a: beta; b: beta z from which it is z */
    FA_ACTIVATIONS
} fa_activation;

typedef struct {
    fa_activation kind;
    double a, b;
} fa_activate; /* activation.h says what it does */

typedef enum { FA_RAW, FA_SOFTMAX, FA_LOG_SOFTMAX } fa_head;

typedef struct {
    DLTensor *out;      /* (R, N) T: act(in + bias); may be `in` */
    DLTensor *slope;    /* (R, N) T: act'(in + bias), or NULL    */
    const DLTensor *in; /* (R, N) T                              */
    const void *bias;   /* (N) T, or NULL                        */
    fa_activate activate;
} fa_activate_args;

typedef struct {
    DLTensor *out;         /* (R, N) T: delta * slope; may be `delta` */
    const DLTensor *slope; /* (R, N) T, or NULL: 1                    */
    const DLTensor *delta; /* (R, N) T                                */
} fa_gate_args;

/* In place: outputs become their softmax, or its logarithm. Sums in float64. */
typedef struct {
    DLTensor *out;      /* (R, C) T                                                   */
    int64_t *predicted; /* (R) the class of the largest output; NaN counts as such    */
    int64_t *logits;    /* (1) 1 is added to its bits where a row is no vector of
                           probabilities, which no softmax is for; NULL: not asked    */
    fa_head head;
} fa_head_args;

/* One scalar of every row, z[plus] - z[minus] of the outputs z behind the head, and its gradient
 * in the outputs before it. */
typedef struct {
    DLTensor *values;         /* (R) T                                            */
    DLTensor *delta;          /* (R, C) T, or NULL                                */
    int64_t *picked;          /* (R) plus, or NULL                                */
    const DLTensor *out;      /* (R, C) T                                         */
    const int64_t *scalars;   /* (R, 2) plus and minus; -1 as in fa_batch         */
    const int64_t *predicted; /* (R) plus where that is -1                        */
    fa_head head;
} fa_pick_args;

#endif /* FA_LAYERS_H */
