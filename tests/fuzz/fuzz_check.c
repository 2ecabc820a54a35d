/* fuzz_check.c -- descriptions of tensors that lie, against csrc/check.c.
 *
 * An input is a string of bytes, read as a list of decisions: a true description of memory
 * that exists, then up to four changes to it. What check.c says about the result is compared
 * with the same said plainly in 128-bit integers; what it accepts and what lies in the memory
 * that exists is read, element by element, under the sanitizers.
 *
 *   fuzz_check [RUNS [SEED]]   run i is made of random bytes from seed SEED + i
 * With -DFA_LIBFUZZER there is no main: libFuzzer makes the bytes. */
#include <sanitizer/common_interface_defs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fastattr.h"

#define MAX_AXES 64
#define MAX_READ 4096 /* elements of a description that is read or walked through */

typedef __int128 wide;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What is told of the input that failed, and of all of them at the end. */
static DLTensor shown;
static uint64_t seed_now;
static long accepted, refused, reads, contiguous;

static const char *const sentences[] = {
    "expected 0 to 64 axes",    "came without a shape",  "expected a scalar dtype",
    "bits an element",          "expected extents >= 0", "number of elements does not fit",
    "exceed the address space", "came without data",
};
#define SENTENCES (sizeof(sentences) / sizeof(*sentences))
static long seen[SENTENCES];

static void show(void)
{
    const DLTensor *t = &shown;
    fprintf(stderr, "seed %llu: data %p, byte offset %llu, dtype (%d, %d, %d), ndim %d\n",
            (unsigned long long)seed_now, t->data, (unsigned long long)t->byte_offset,
            t->dtype.code, t->dtype.bits, t->dtype.lanes, t->ndim);
    for (int32_t i = 0; t->shape != NULL && i < t->ndim && i < MAX_AXES; i++) {
        fprintf(stderr, "  axis %d: extent %lld", i, (long long)t->shape[i]);
        if (t->strides != NULL) fprintf(stderr, ", stride %lld", (long long)t->strides[i]);
        fputc('\n', stderr);
    }
}

#define EXPECT(condition)                                                           \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "fuzz_check.c:%d: not so: %s\n", __LINE__, #condition); \
            show();                                                                 \
            abort();                                                                \
        }                                                                           \
    } while (0)

/* ---- an input ------------------------------------------------------------ */

typedef struct {
    const uint8_t *bytes;
    size_t left;
} stream;

static uint64_t take(stream *in, int count)
{
    uint64_t value = 0;
    for (; count > 0 && in->left > 0; count--, in->left--) value = value << 8 | *in->bytes++;
    return value; /* zeros when the bytes are used up */
}

static int64_t below(stream *in, int64_t n) { return (int64_t)(take(in, 2) % (uint64_t)n); }

typedef struct {
    DLTensor tensor;
    int64_t shape[MAX_AXES], strides[MAX_AXES];
    char *block; /* all the memory there is: size bytes, no more */
    size_t size;
} description;

static const DLDataType dtypes[] = {{kDLFloat, 32, 1},  {kDLFloat, 64, 1},   {kDLFloat, 16, 1},
                                    {kDLBfloat, 16, 1}, {kDLInt, 8, 1},      {kDLInt, 64, 1},
                                    {kDLUInt, 32, 1},   {kDLComplex, 64, 1}, {kDLBool, 8, 1}};

/* Axes in any order, steps between elements, axes backwards, axes that repeat. */
static void choose_strides(description *d, stream *in)
{
    const int32_t ndim = d->tensor.ndim;
    int32_t order[MAX_AXES];
    int64_t step = 1;
    const uint64_t layout = take(in, 1) % 8; /* 0, 1: C order; 2: NULL */
    for (int32_t i = 0; i < ndim; i++) order[i] = ndim - 1 - i;
    for (int32_t i = ndim - 1; layout > 2 && i > 0; i--) {
        const int64_t j = below(in, i + 1);
        const int32_t axis = order[i];
        order[i] = order[j];
        order[j] = axis;
    }
    for (int32_t i = 0; i < ndim; i++) {
        const uint64_t kind = layout > 3 ? take(in, 1) % 8 : 0;
        const int64_t extent = d->shape[order[i]];
        if (kind == 1) step *= 2;
        d->strides[order[i]] = kind == 2 ? -step : kind == 3 ? 0 : step;
        if (kind != 3 && extent > 1) step *= extent;
    }
    if (layout == 2) d->tensor.strides = NULL;
}

/* The bytes that can be reached, relative to fa_data: low <= 0 <= high; `high` is past the end. */
static void reach(wide *low, wide *high, const DLTensor *t)
{
    const wide item = t->dtype.bits / 8;
    wide step = 1, first = 0, last = 0;
    for (int32_t axis = t->ndim - 1; axis >= 0; axis--) {
        const wide stride = t->strides != NULL ? t->strides[axis] : step;
        const wide end = (t->shape[axis] - (wide)1) * stride;
        if (t->shape[axis] > 1 && end < 0) first += end;
        if (t->shape[axis] > 1 && end > 0) last += end;
        step *= t->shape[axis];
    }
    *low = first * item;
    *high = (last + 1) * item;
}

/* At first the truth: 0 to 5 axes (now and then 64) and as much memory as they reach. */
static void describe(description *d, stream *in)
{
    wide low, high;
    int64_t numel = 1;
    const uint64_t axes = take(in, 1);
    d->tensor = (DLTensor){.device = {kDLCPU, 0},
                           .ndim = axes > 250 ? MAX_AXES : (int32_t)(axes % 6),
                           .dtype = dtypes[take(in, 1) % (sizeof(dtypes) / sizeof(*dtypes))],
                           .shape = d->shape,
                           .strides = d->strides,
                           .byte_offset = take(in, 1) % 4 == 0 ? take(in, 1) : 0};
    for (int32_t i = 0; i < d->tensor.ndim; i++) {
        const int64_t extent = d->tensor.ndim < MAX_AXES || i < 3 ? below(in, 64) : 8;
        d->shape[i] = extent == 63 ? 0 : 1 + extent % 6;
        if (numel * d->shape[i] > MAX_READ / 16) d->shape[i] = 1;
        if (d->shape[i] > 0) numel *= d->shape[i];
        if (d->tensor.ndim == MAX_AXES && i >= 3) d->shape[i] = 1;
    }
    choose_strides(d, in);
    reach(&low, &high, &d->tensor);
    d->size = (size_t)(high - low);
    d->block = malloc(d->size);
    if (d->block == NULL) abort();
    memset(d->block, 1, d->size);
    d->tensor.data = (void *)((uintptr_t)d->block - (uintptr_t)low - d->tensor.byte_offset);
}

/* Numbers that are next to a border: powers of two, the ends of int64_t, small ones. */
static int64_t awkward(stream *in)
{
    const int64_t near = (int64_t)(take(in, 1) % 5) - 2;
    const uint64_t kind = take(in, 1);
    if (kind < 64) return near;
    if (kind < 80) return (int64_t)take(in, 8);
    const uint64_t power = (UINT64_C(1) << kind % 64) + (uint64_t)near;
    return (int64_t)(kind < 168 ? power : 0 - power);
}

static void change(description *d, stream *in)
{
    DLTensor *t = &d->tensor;
    const int64_t axis = below(in, t->ndim > 0 && t->ndim < MAX_AXES ? t->ndim : MAX_AXES);
    switch (take(in, 1) % 16) {
    case 0:
        t->ndim ^= (int32_t)(take(in, 1) % 4);
        break;
    case 1:
        t->ndim = (int32_t)awkward(in);
        break;
    case 2:
    case 3:
        d->shape[axis] = awkward(in);
        break;
    case 4:
    case 5:
        d->strides[axis] = awkward(in);
        break;
    case 6: /* a pair whose product is near a border */
        d->shape[axis] = INT64_C(1) << take(in, 1) % 63;
        d->strides[axis] = awkward(in);
        break;
    case 7:
        t->byte_offset = (uint64_t)awkward(in);
        break;
    case 8:
        t->data = take(in, 1) % 2 ? NULL : (void *)(uintptr_t)awkward(in);
        break;
    case 9:
        t->shape = NULL;
        break;
    case 10:
        t->strides = t->strides == NULL ? d->strides : NULL;
        break;
    case 11:
        t->dtype.code = (uint8_t)take(in, 1);
        break;
    case 12:
        t->dtype.bits = (uint8_t)(1u << take(in, 1) % 8);
        break;
    case 13:
        t->dtype.bits = (uint8_t)take(in, 1);
        break;
    case 14:
        t->dtype.lanes = (uint16_t)(take(in, 2) % 5);
        break;
    default:
        t->device.device_type = (int32_t)awkward(in);
        d->shape[axis] = 0;
        break;
    }
}

/* ---- the same in plain words --------------------------------------------- */

static wide naive_numel(const DLTensor *t)
{
    wide numel = 1;
    for (int32_t i = 0; i < t->ndim; i++) {
        if (t->shape[i] == 0) return 0;
    }
    for (int32_t i = 0; i < t->ndim && numel <= INT64_MAX; i++) numel *= t->shape[i];
    return numel;
}

/* 1 = well formed beyond doubt, 0 = certainly not, -1 = so large that it may be refused. */
static int naive_check(const DLTensor *t)
{
    const wide small = (wide)1 << 60, start = (wide)(uintptr_t)t->data + t->byte_offset;
    const int bits = t->dtype.bits;
    wide low, high;
    if (t->ndim < 0 || t->ndim > MAX_AXES || (t->ndim > 0 && t->shape == NULL)) return 0;
    if (t->dtype.lanes != 1 || (bits != 8 && bits != 16 && bits != 32 && bits != 64)) return 0;
    for (int32_t i = 0; i < t->ndim; i++) {
        if (t->shape[i] < 0) return 0;
    }
    const wide numel = naive_numel(t);
    if (numel == 0) return 1;
    if (numel > INT64_MAX || numel * (bits / 8) > INT64_MAX || t->data == NULL) return 0;
    reach(&low, &high, t);
    if (low < INT64_MIN || high > INT64_MAX || t->byte_offset > INT64_MAX) return 0;
    if (start + low < 0 || start + high - 1 > UINTPTR_MAX) return 0;
    return numel * 8 < small && -low < small && high < small && t->byte_offset < small ? 1 : -1;
}

/* Element i in C order, as a consumer of a checked tensor would find it. */
static int64_t offset_of(const DLTensor *t, int64_t i)
{
    int64_t offset = 0, step = 1;
    for (int32_t axis = t->ndim - 1; axis >= 0; axis--) {
        const int64_t index = i % t->shape[axis];
        if (index > 0) offset += index * (t->strides != NULL ? t->strides[axis] : step);
        step *= t->shape[axis];
        i /= t->shape[axis];
    }
    return offset;
}

static int naive_contiguous(const DLTensor *t, int64_t numel)
{
    wide step = 1;
    if (t->strides == NULL || numel == 0) return 1;
    for (int64_t i = 0; numel <= MAX_READ && i < numel; i++) {
        if (offset_of(t, i) != i) return 0;
    }
    for (int32_t axis = t->ndim - 1; numel > MAX_READ && axis >= 0; axis--) {
        if (t->shape[axis] > 1 && t->strides[axis] != step) return 0;
        step *= t->shape[axis];
    }
    return 1;
}

static void check_dtypes(DLDataType dtype, int checked)
{
    static const char *const codes[] = {"int", "uint", "float", "", "bfloat", "complex", "bool"};
    const fa_dtype wanted = dtype.lanes != 1                              ? FA_OTHER
                            : dtype.code == kDLBfloat && dtype.bits == 16 ? FA_BFLOAT16
                            : dtype.code != kDLFloat                      ? FA_OTHER
                            : dtype.bits == 16                            ? FA_FLOAT16
                            : dtype.bits == 32                            ? FA_FLOAT32
                            : dtype.bits == 64                            ? FA_FLOAT64
                                                                          : FA_OTHER;
    const double eps = fa_dtype_eps(dtype);
    char name[32] = "an unknown dtype";
    EXPECT(fa_dtype_of(dtype) == wanted);
    EXPECT(eps >= 0x1p-52 && eps <= 0x1p-7 && (wanted != FA_FLOAT64 || eps == 0x1p-52));
    EXPECT(wanted != FA_FLOAT32 || eps == 0x1p-23);
    EXPECT(fa_dtype_name(dtype) != NULL && strlen(fa_dtype_name(dtype)) < sizeof(name));
    if (!checked || strcmp(fa_dtype_name(dtype), name) == 0) return;
    snprintf(name, sizeof(name), dtype.code == kDLBool ? "%s" : "%s%d", codes[dtype.code],
             dtype.bits);
    EXPECT(strcmp(fa_dtype_name(dtype), name) == 0);
}

/* ---- the properties ------------------------------------------------------ */

static void read_all(const description *d, int64_t numel)
{
    static volatile unsigned char sink;
    const DLTensor *t = &d->tensor;
    const int64_t item = t->dtype.bits / 8;
    for (int64_t i = 0; i < numel; i++) {
        const unsigned char *element = (unsigned char *)fa_data(t) + offset_of(t, i) * item;
        for (int64_t byte = 0; byte < item; byte++) {
            EXPECT(element[byte] == 1);
            sink = element[byte];
        }
    }
    (void)sink;
    reads++;
}

static void check_accepted(const description *d)
{
    const DLTensor *t = &d->tensor;
    const wide numel = naive_numel(t);
    wide low, high;
    EXPECT(fa_numel(t) == numel);
    EXPECT(fa_is_contiguous(t) == naive_contiguous(t, (int64_t)numel));
    contiguous += fa_is_contiguous(t);
    if (numel == 0) return;
    reach(&low, &high, t);
    const uintptr_t start = (uintptr_t)fa_data(t);
    EXPECT(start == (uintptr_t)t->data + t->byte_offset);
    if (numel <= MAX_READ && start + low >= (wide)(uintptr_t)d->block &&
        start + high <= (wide)(uintptr_t)d->block + (wide)d->size) {
        read_all(d, (int64_t)numel);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    stream in = {bytes, size};
    description d = {.block = NULL};
    fa_error error;
    memset(&error, 'x', sizeof(error));
    describe(&d, &in);
    for (uint64_t changes = take(&in, 1) % 5; changes > 0; changes--) change(&d, &in);
    shown = d.tensor;

    const fa_status status = fa_check_tensor(&d.tensor, &error);
    const int wanted = naive_check(&d.tensor);
    EXPECT(status == FA_OK || status == FA_EINVAL || status == FA_ETYPE);
    EXPECT(wanted < 0 || (status == FA_OK) == wanted);
    check_dtypes(d.tensor.dtype, status == FA_OK);
    if (status == FA_OK) {
        accepted++;
        check_accepted(&d);
    } else {
        size_t sentence = 0;
        EXPECT(memchr(error.message, 0, sizeof(error.message)) != NULL);
        while (sentence < SENTENCES && !strstr(error.message, sentences[sentence])) sentence++;
        EXPECT(sentence < SENTENCES);
        seen[sentence]++;
        refused++;
    }
    free(d.block);
    return 0;
}

#ifndef FA_LIBFUZZER
static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

int main(int argc, char **argv)
{
    const uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const clock_t begin = clock();
    __sanitizer_set_death_callback(show);
    for (uint64_t run = 0; run < runs; run++) {
        uint64_t state = next(&(uint64_t){seed_now = seed + run}), words[16];
        for (size_t i = 0; i < 16; i++) words[i] = next(&state);
        LLVMFuzzerTestOneInput((const uint8_t *)words, sizeof(words));
    }
    printf("%llu inputs in %.1f s: %ld accepted (%ld contiguous, %ld read), %ld refused\n",
           (unsigned long long)runs, (double)(clock() - begin) / CLOCKS_PER_SEC, accepted,
           contiguous, reads, refused);
    for (size_t i = 0; i < SENTENCES; i++) {
        printf("%10ld %s\n", seen[i], sentences[i]);
        if (runs >= 20000 && seen[i] == 0) return 1; /* then the inputs are no good */
    }
    return runs >= 20000 && (accepted < refused / 4 || reads < accepted / 4 || !contiguous);
}
#endif
