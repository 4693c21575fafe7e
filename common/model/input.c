#include "model/input.h"

#include "base/error.h"
#include "tensor/shape.h"

// Keras adds or takes away a last axis of one element where an array lacks it or has it.
static bool suits(const struct mst_shape *got, const struct mst_shape *want)
{
    const struct mst_shape *longer = got->rank > want->rank ? got : want;
    struct mst_shape shorter = *longer;
    if (got->rank == want->rank)
        return mst_shape_equal(got, want);
    shorter.rank--;
    return longer->dims[shorter.rank] == 1 && mst_shape_equal(&shorter, longer == got ? want : got);
}

mst_status mst_input_check_shapes(const struct mst_dataset *dataset, const struct mst_model *model,
                                  struct mst_error *err)
{
    size_t n = mst_model_n_inputs(model);
    if (mst_dataset_n_inputs(dataset) != n)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the data have %zu inputs, the model takes %zu",
                        mst_dataset_n_inputs(dataset), n);
    for (size_t i = 0; i < n; i++) {
        const struct mst_dataset_input *input = mst_dataset_input(dataset, i);
        const struct mst_shape *want = mst_model_input_shape(model, i);
        char got_text[MST_SHAPE_TEXT_BYTES], want_text[MST_SHAPE_TEXT_BYTES];
        if (!suits(&input->shape, want))
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s holds examples of shape %s, and the model's InputLayer%s%s takes %s: change "
                            "batch_shape or the data, of a CSV file its columns",
                            input->file, mst_shape_print(&input->shape, got_text, sizeof got_text), n > 1 ? " " : "",
                            n > 1 ? mst_model_input_name(model, i) : "",
                            mst_shape_print(want, want_text, sizeof want_text));
    }
    return MST_OK;
}

static mst_status check_values(const struct mst_dataset_output *got, const struct mst_model *model, size_t output,
                               struct mst_error *err)
{
    size_t n_wanted;
    MST_TRY(mst_shape_count(mst_model_output_shape(model, output), &n_wanted));
    if (got->width != n_wanted)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: the labels are %zu values an example, and the model's output %s has %zu", got->file,
                        got->width, mst_model_output_name(model, output), n_wanted);
    return MST_OK;
}

static mst_status check_output(const struct mst_dataset *dataset, const struct mst_model *model,
                               const struct mst_compile *compile, size_t output, struct mst_error *err)
{
    const char *file = mst_dataset_input(dataset, 0)->file;
    enum mst_label_use use = mst_compile_label_use(compile, model, output);
    bool has_output = output < mst_dataset_n_outputs(dataset) && mst_dataset_output(dataset, output)->width > 0;
    if (!compile->losses[output].is_given)
        return MST_OK;
    if (has_output && use != MST_LABEL_CLASS && mst_dataset_output(dataset, output)->values)
        return check_values(mst_dataset_output(dataset, output), model, output, err);
    if (use == MST_LABEL_NONE)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: %s against one label an example needs a model of 1 output, this one has %zu", file,
                        mst_loss_name(compile->losses[output].kind), mst_model_output_shape(model, output)->dims[0]);
    size_t n_classes = mst_compile_n_classes(compile, model, output);
    if (n_classes > 0)
        return mst_dataset_check_labels(dataset, output, n_classes, err);
    if (!has_output)
        return mst_fail(err, MST_FAILED_PRECONDITION, "%s comes without labels, and the loss needs them", file);
    return MST_OK;
}

mst_status mst_input_check(const struct mst_dataset *dataset, const struct mst_model *model,
                           const struct mst_compile *compile, struct mst_error *err)
{
    MST_TRY(mst_input_check_shapes(dataset, model, err));
    for (size_t i = 0; i < mst_model_n_outputs(model); i++)
        MST_TRY(check_output(dataset, model, compile, i, err));
    return MST_OK;
}
