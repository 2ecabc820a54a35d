#include "chunks.h"

static fa_status run_chunk(fa_chunks *chunks, const fa_steps *steps, int64_t first, int64_t count,
                           int64_t remaining, int gradients, fa_error *error)
{
    const fa_model *model = chunks->model;
    DLTensor points[FA_MAX_INPUTS];
    int64_t shapes[FA_MAX_INPUTS][2];
    fa_evaluation answer = {0};
    for (int64_t t = 0; t < chunks->inputs; t++) {
        points[t] = chunks->points[t];
        points[t].shape = shapes[t];
        shapes[t][0] = count;
        shapes[t][1] = chunks->points[t].shape[1];
    }
    FA_TRY(steps->generate(steps->context, points, first, count, error));
    const fa_batch batch = {.rows = count,
                            .inputs = chunks->inputs,
                            .points = points,
                            .index = chunks->index,
                            .scalars = chunks->scalars,
                            .scalar_count = chunks->scalar_count,
                            .remaining = chunks->unfinished > 0 ? chunks->unfinished : remaining,
                            .gradients = gradients};
    FA_TRY(model->evaluate(model->self, &batch, &answer, error));
    const fa_status status = steps->consume(steps->context, &answer, first, count, error);
    model->release(model->self);
    return status;
}

fa_status fa_run_rows(fa_chunks *chunks, const fa_steps *steps, int64_t total, int gradients,
                      fa_error *error)
{
    for (int64_t first = 0; first < total;) {
        const int64_t left = total - first;
        const int64_t parts = (left + chunks->rows - 1) / chunks->rows;
        const int64_t count = (left + parts - 1) / parts;
        const fa_status status = run_chunk(chunks, steps, first, count, left, gradients, error);
        if (status == FA_ENOMEM && count > 1) {
            chunks->rows = count / 2;
            continue;
        }
        FA_TRY(status);
        first += count;
    }
    return FA_OK;
}
