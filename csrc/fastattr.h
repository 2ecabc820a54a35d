/* fastattr.h -- the seam.
 *
 * Everything the engines, the backends and the Python binding agree on, and
 * nothing else: status and error, tensors, the row plan, the list of operations,
 * the backend table, the model. Includes neither Python.h nor cuda_runtime.h, so
 * each side builds alone.
 *
 * Letters: B examples, R rows of one chunk, D features of one input (all axes
 * after the first), T inputs, N nodes per example, L accumulators (levels),
 * Q explained scalars, A active examples, U lead rows. Every size is int64_t. */
#ifndef FASTATTR_H
#define FASTATTR_H

#include "dlpack_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FA_ABI_VERSION 1
#define FA_MAX_SCALARS 8
#define FA_MAX_INPUTS 64

/* ---- status and error ---------------------------------------------------- */

typedef enum {
    FA_OK = 0,
    FA_EINVAL,       /* the caller broke the contract: shape, dtype, range          */
    FA_ETYPE,        /* not a thing we can read: type, dtype                         */
    FA_EUNSUPPORTED, /* this build has no such operation, dtype or device            */
    FA_ENOMEM,       /* memory ran out; a model that says so is asked for fewer rows */
    FA_EDEVICE,      /* the device or its driver said no                             */
    FA_EMODEL,       /* the model failed; its own error is kept by its owner         */
} fa_status;

/* Filled by whoever returns a status other than FA_OK. Lives on the caller's
 * stack, so it needs no lock and no GIL. */
typedef struct {
    char message[256];
} fa_error;

fa_status fa_fail(fa_error *error, fa_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Return early. Only where nothing is held; otherwise `goto done`. */
#define FA_TRY(expression)                      \
    do {                                        \
        const fa_status fa_try_ = (expression); \
        if (fa_try_ != FA_OK) return fa_try_;   \
    } while (0)

/* ---- tensors --------------------------------------------------------------
 * Tensors that engines and backends see are DLTensors that passed fa_check_tensor
 * and are C-contiguous; their first axis counts examples or rows. Borrowed for the
 * length of one call. */

/* A foreign tensor is well formed: extents, strides and offsets cannot overflow and
 * data is there. Checks the description only; memory is not touched. */
fa_status fa_check_tensor(const DLTensor *tensor, fa_error *error);
int fa_is_contiguous(const DLTensor *tensor);
int64_t fa_numel(const DLTensor *tensor); /* of a checked tensor */
void *fa_data(const DLTensor *tensor);    /* data + byte_offset   */

typedef enum { FA_FLOAT32, FA_FLOAT64, FA_FLOAT16, FA_BFLOAT16, FA_OTHER } fa_dtype;
fa_dtype fa_dtype_of(DLDataType dtype);
const char *fa_dtype_name(DLDataType dtype); /* "float32", "int64", ...; static storage */
double fa_dtype_eps(DLDataType dtype);       /* spacing at 1 of a floating dtype */

/* ---- the row plan ---------------------------------------------------------
 * A pass is an ordered set of rows; a row is one point on one example's path:
 *   point[r]   = base[e] + alpha[k] * (input[e] - base[e])
 *   result[e] += weight[l, k] * gradient(point[r])       for every level l
 * Rows 0..lead-1 lie at the base (alpha 0, weight 0) of the examples in
 * lead_example; then come N rows for each active example, example-major. A chunk is
 * `count` rows from `first` on. The four tables are in the backend's memory. */
typedef struct {
    int64_t first;
    int64_t count;
    int64_t lead;
    int64_t nodes;
    int64_t levels;
    const int64_t *lead_example; /* (U) */
    const int64_t *lead_base;    /* (U) rows of `base`, or NULL: the example's own */
    const int64_t *active;       /* (A) ascending */
    const double *alpha;         /* (N) */
    const double *weight;        /* (L, N); exactly 0 = the row takes no part in level l */
} fa_rows;

/* ---- operations -----------------------------------------------------------
 * One line here, one file per backend. Contiguous tensors of one dtype; `T` is that
 * dtype, ACC is float for 16- and 32-bit data, double for 64-bit. */
#define FA_OPS(X)                                                       \
    X(points, "the points of a chunk, and whose they are")              \
    X(sample, "the points of random draws, and whose they are")         \
    X(accumulate, "result += weight * gradient, at every level")        \
    X(moments, "running mean and variance of the contributions")        \
    X(collect, "model outputs and predicted classes at the end points") \
    X(store, "model outputs of all rows")                               \
    X(measure, "per example: norms, sum and change of the attribution") \
    X(finish, "attribution = accumulator * (input - base)")             \
    X(spread, "standard errors, and their sums per example")            \
    X(gemm, "matrix product")                                           \
    X(place, "the points of adversarial paths, and whose they are")     \
    X(arrive, "which paths are where they were to go")                  \
    X(total, "sums over features, of values or of their squares")       \
    X(ascend, "one step of every path, and its contribution")           \
    X(contribute, "contribution of the last step alone")                \
    X(combine, "the sum over the paths of each example")                \
    X(activate, "a layer's activations and their slopes")               \
    X(gate, "gradients times slopes")                                   \
    X(head, "softmax, and the predicted classes")                       \
    X(pick, "explained outputs, and their gradients in all outputs")

typedef struct {
    DLTensor *out;         /* (R, D) T                                        */
    int64_t *index;        /* (R) example of each row, or NULL                */
    int64_t *scalars;      /* (R, 2) flat output indices plus, minus, or NULL */
    const DLTensor *input; /* (B, D) T                                        */
    const DLTensor *base;  /* (B, D) or (1, D) T                              */
    const int64_t *target; /* (B, 2)                                          */
    fa_rows rows;
} fa_points_args;

/* Random rows: the end row of an example (its input) and then n draws, example-major. Draw j
 * of example e lies at base[m] + alpha (start - base[m]) with start = input[e] + stdev[e] z:
 * reference m, alpha and z are keyed by (seed, ids[e], j), see draws.h. */
typedef struct {
    int64_t draws;      /* n                                                              */
    int64_t references; /* M: m is drawn from base[0..M-1]; 0 = base is (B, D) or (1, D)  */
    int along_path;     /* alpha is drawn from (0, 1); else it is 1                       */
    int stratified;     /* one alpha in every n-th of (0, 1)                              */
    uint64_t seed;
    const int64_t *ids; /* (B)                                                            */
} fa_draws;

typedef struct {
    DLTensor *out;         /* (R, D) T                                        */
    DLTensor *start;       /* (R, D) T: the noisy inputs, or NULL             */
    int64_t *index;        /* (R) or NULL                                     */
    int64_t *scalars;      /* (R, 2) or NULL                                  */
    const DLTensor *input; /* (B, D) T                                        */
    const DLTensor *base;  /* (M, D), (B, D) or (1, D) T                      */
    const int64_t *target; /* (B, 2)                                          */
    const double *stdev;   /* (B), or NULL: no noise                          */
    int64_t member;        /* which input this is: its noise has a stream     */
    int64_t first, count;  /* rows                                            */
    fa_draws draws;
} fa_sample_args;

/* With v the contribution gradient (start - base) of a draw, or the gradient alone, or its
 * square: Welford's mean and sum of squared deviations, in order of the draws. */
typedef struct {
    DLTensor *mean;           /* (B, D) ACC                                   */
    DLTensor *deviation;      /* (B, D) float64                               */
    const DLTensor *gradient; /* (R, D) T, or NULL: zero                      */
    const DLTensor *start;    /* (R, D) T, or NULL: the input                 */
    const DLTensor *input;    /* (B, D) T                                     */
    const DLTensor *base;     /* (M, D), (B, D) or (1, D) T                   */
    int64_t first, count;     /* rows                                         */
    int multiply;
    int square;
    fa_draws draws;
} fa_moments_args;

typedef struct {
    double *out;            /* (rows of the pass): out[first + r] = values[r] */
    const DLTensor *values; /* (R) any floating type                          */
    int64_t first, count;
} fa_store_args;

/* In place: deviation becomes the standard error of the mean, sqrt(deviation / (n (n - 1))),
 * or, for `variance`, mean becomes deviation / n. sums (B, 3) gains the sums over features of
 * the standard error, |mean| and mean. */
typedef struct {
    DLTensor *mean;      /* (B, D) ACC */
    DLTensor *deviation; /* (B, D) float64 */
    double *sums;        /* (B, 3)     */
    int64_t draws;       /* n          */
    int variance;
} fa_spread_args;
#define FA_SPREADS 3

typedef struct {
    DLTensor *result;         /* (L, B, D) ACC */
    const DLTensor *gradient; /* (R, D) T      */
    int64_t examples;         /* B             */
    fa_rows rows;
} fa_accumulate_args;

typedef struct {
    double *ends;              /* (2, B): value at the input, value at the base      */
    int64_t *target;           /* (B, 2); column 0 takes `predicted` unless NULL     */
    const DLTensor *values;    /* (R) any floating type: the explained scalar        */
    const DLTensor *predicted; /* (R) int64, or NULL; then one row an example        */
    int64_t examples;          /* B                                                  */
    fa_rows rows;
} fa_collect_args;

/* Examples come in groups of S consecutive ones (the segments of one path; S is 1 otherwise).
 * out[a] gains, over the features of one input and with A the new accumulators of the group's
 * members, A' the old ones (zero if NULL), m = input - base (or 1 unless `multiply`):
 *   [0] sum_s |A_s m_s - A'_s m_s|_1              [1] |sum_s A_s m_s|_1
 *   [2] sum of sum_s A_s (input_s - base_s)       [3] |sum_s A_s (input_s - base_s)|_1 */
typedef struct {
    double *out;           /* (A, 4)             */
    const void *updated;   /* (B, D) ACC         */
    const void *previous;  /* (B, D) ACC or NULL */
    const DLTensor *input; /* (B, D) T           */
    const DLTensor *base;  /* (B, D) or (1, D) T */
    const int64_t *active; /* (A, S)             */
    int64_t count;         /* A                  */
    int64_t group;         /* S                  */
    int multiply;
} fa_measure_args;
#define FA_MEASURES 4

typedef struct {
    DLTensor *out;          /* (B, D) ACC; may be the first plane of `result` */
    const DLTensor *result; /* (L, B, D) ACC                                  */
    const DLTensor *input;  /* (B, D) T                                       */
    const DLTensor *base;   /* (B, D) or (1, D) T                             */
    const int64_t *level;   /* (B) which accumulator holds the answer         */
    int multiply;
    int absolute;
} fa_finish_args;

typedef struct {
    DLTensor *out;     /* (M, N) T: float32 or float64     */
    const DLTensor *a; /* (M, K) T, or (K, M) if transpose_a */
    const DLTensor *b; /* (K, N) T, or (N, K) if transpose_b */
    int transpose_a;
    int transpose_b;
    int accumulate; /* out += */
} fa_gemm_args;

#include "climb.h"  /* the arguments of place, arrive, total, ascend, contribute, combine */
#include "layers.h" /* those of activate, gate, head, pick                               */

/* A backend: one function per operation. `stream` is a cudaStream_t on CUDA and NULL on
 * the CPU. Operations only enqueue and never allocate; only `download` waits. The caller's
 * current device is the same afterwards. */
typedef struct {
    uint32_t abi;        /* FA_ABI              */
    int32_t device_type; /* DLDeviceType        */
    const char *name;
    const char *built_for;                                  /* architectures: "75;80;..." */
    fa_status (*ready)(int32_t device_id, fa_error *error); /* is there such a device? */
    /* The host's memory may be reused at once. */
    fa_status (*upload)(void *device, const void *host, int64_t bytes, void *stream,
                        fa_error *error);
    fa_status (*download)(void *host, const void *device, int64_t bytes, void *stream,
                          fa_error *error);
#define FA_OP_FIELD(op, doc) \
    fa_status (*op)(const fa_##op##_args *args, void *stream, fa_error *error);
    FA_OPS(FA_OP_FIELD)
#undef FA_OP_FIELD
} fa_backend;

/* What a library built apart must have in common with us: the version, which is raised when the
 * meaning of a field changes, and the size of the table, which every new operation changes. */
#define FA_ABI ((uint32_t)(FA_ABI_VERSION << 16 | sizeof(fa_backend)))

extern const fa_backend fa_backend_cpu;

/* The backend for tensors on `device`, or a sentence that says what to do. */
fa_status fa_backend_for(const fa_backend **out, DLDevice device, fa_error *error);

/* The backend in the library at `path`, whose one symbol is `const fa_backend
 * *fa_backend_open(void)`; FA_EDEVICE if it cannot be loaded or is not of this build. It stays
 * loaded. */
fa_status fa_backend_load(const fa_backend **out, const char *path, fa_error *error);

/* ---- the model ------------------------------------------------------------ */

typedef struct {
    int64_t rows;           /* R                                                  */
    int64_t inputs;         /* T                                                  */
    const DLTensor *points; /* (T): each (R, D)                                   */
    const int64_t *index;   /* (R) example of each row                            */
    const int64_t *scalars; /* (Q, R, 2): out[plus] - out[minus], indices into the
                               flattened output of one row; minus -1 = none,
                               plus -1 = the predicted class                      */
    int64_t scalar_count;   /* Q                                                  */
    int64_t remaining;      /* rows of this pass not evaluated yet, these included */
    int gradients;          /* wanted? else values and predicted classes only     */
} fa_batch;

typedef struct {
    const DLTensor *values;                   /* (Q, R) any floating type          */
    const DLTensor *predicted;                /* (R) int64, or NULL                */
    const DLTensor *gradients[FA_MAX_INPUTS]; /* (Q, R, D) T each; NULL = all zero */
} fa_evaluation;

/* Straight paths as a whole: for every example e of active[0..count-1] and every level l
 *   sum[l, e] += sum_k weight[l, k] * gradient(base[e] + alpha[k] (input[e] - base[e])). */
typedef struct {
    const DLTensor *input; /* (B, D)                                          */
    const DLTensor *base;  /* (B, D) or (1, D)                                */
    DLTensor *sum;         /* (L, B, D) ACC                                   */
    const int64_t *target; /* (B, 2) plus (not -1) and minus, in host memory  */
    fa_rows rows;          /* of these examples, lead 0; tables in host memory */
} fa_lines;

/* FA_ENOMEM means "ask again with fewer rows". What `out` points to stays the model's
 * and is read before `release`, which ends every successful evaluate.
 *
 * `pull` is NULL where points lie in the space of the inputs. A model that sees points behind
 * an affine map of the inputs has gradients there; asked with the accumulators of `level`, of
 * the examples active[0..count-1] (host memory), it writes their image under the transposed
 * map where the engine's caller agreed with it.
 *
 * `sweep` is NULL but for a model that knows a shorter way to the sums along a straight path than
 * point by point; it answers with the values of all rows, and ends with `release` as well. */
typedef struct {
    void *self;
    fa_status (*evaluate)(void *self, const fa_batch *batch, fa_evaluation *out, fa_error *error);
    void (*release)(void *self);
    fa_status (*pull)(void *self, const int64_t *active, int64_t count, int64_t level,
                      fa_error *error);
    fa_status (*sweep)(void *self, const fa_lines *lines, fa_evaluation *out, fa_error *error);
} fa_model;

#ifdef __cplusplus
}
#endif
#endif /* FASTATTR_H */
