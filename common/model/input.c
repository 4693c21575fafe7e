#include "model/input.h"

#include "base/error.h"

mst_status mst_input_check_shape(const struct mst_dataset *dataset, const struct mst_model *model, const char *file,
                                 struct mst_error *err)
{
    const struct mst_shape *got = mst_dataset_feature_shape(dataset);
    const struct mst_shape *want = mst_model_input_shape(model, 0);
    if (!mst_shape_equal(got, want)) {
        char got_text[MST_SHAPE_TEXT_BYTES];
        char want_text[MST_SHAPE_TEXT_BYTES];
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s holds examples of shape %s, and the model's InputLayer takes %s: change batch_shape or the "
                        "data",
                        file, mst_shape_print(got, got_text, sizeof got_text),
                        mst_shape_print(want, want_text, sizeof want_text));
    }
    return MST_OK;
}

mst_status mst_input_check(const struct mst_dataset *dataset, const struct mst_model *model,
                           const struct mst_compile *compile, const char *file, struct mst_error *err)
{
    MST_TRY(mst_input_check_shape(dataset, model, file, err));
    if (mst_compile_label_use(compile, model, 0) == MST_LABEL_NONE)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: %s against one label an example needs a model of 1 output, this one has %zu", file,
                        mst_loss_name(compile->losses[0].kind), mst_model_output_shape(model, 0)->dims[0]);
    size_t n_classes = mst_compile_n_classes(compile, model, 0);
    if (n_classes > 0)
        return mst_dataset_check_labels(dataset, n_classes, err);
    if (!mst_dataset_labels(dataset))
        return mst_fail(err, MST_FAILED_PRECONDITION, "%s comes without labels, and the loss needs them", file);
    return MST_OK;
}
