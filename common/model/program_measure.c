// Loss and metrics of a batch. Labels become targets as a user of Keras would make them: the value itself for one
// output, else a row with a single 1. A metric that is a loss takes the logits of a softmax or sigmoid that ends the
// model as the loss does, for Keras finds them at the output that it gives to both.
#include "model/program.h"
#include "program_private.h"

#include <math.h>
#include <string.h>

bool mst_loss_prefers_logits(enum mst_loss_kind loss, size_t n_outputs)
{
    if (loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY || loss == MST_LOSS_CATEGORICAL_CROSSENTROPY)
        return n_outputs > 1;
    return loss == MST_LOSS_BINARY_CROSSENTROPY;
}

static bool is_hinge(enum mst_loss_kind loss)
{
    return loss == MST_LOSS_HINGE || loss == MST_LOSS_SQUARED_HINGE;
}

bool mst_loss_changes_targets(enum mst_loss_kind loss, const struct mst_loss_options *options)
{
    return is_hinge(loss) || options->label_smoothing != 0;
}

// What a device does with a class label costs less than a row of targets.
static bool takes_labels(enum mst_loss_kind loss, const struct mst_loss_options *options)
{
    return loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY ||
           (loss == MST_LOSS_CATEGORICAL_CROSSENTROPY && options->label_smoothing == 0);
}

bool mst_compile_wants_rows(const struct mst_compile *compile, size_t n_outputs)
{
    bool wants = n_outputs == 1 || !takes_labels(compile->loss, &compile->options);
    for (size_t m = 0; m < compile->n_metrics; m++) {
        const struct mst_metric *metric = &compile->metrics[m];
        wants = wants || metric->kind == MST_METRIC_BINARY_ACCURACY ||
                (metric->kind == MST_METRIC_LOSS && !takes_labels(metric->loss, &metric->options));
    }
    return wants;
}

// Rows of targets, from labels where there are no others; NULL if nobody wants them.
static const float *targets_of(struct mst_program *program, const struct mst_program_step *step)
{
    const struct mst_target *target = &step->targets[0];
    if (target->values != NULL || program->label_values == NULL)
        return target->values;
    size_t n_outputs = program->n_outputs;
    struct mst_convert convert = {.n = step->n_examples, .scale = 1.0f, .y = program->label_values};
    if (mst_compile_label_use(&program->compile, program->model, 0) != MST_LABEL_ONE_HOT) {
        program->device->ops->convert_i32(program->device, &convert, target->labels);
        return program->label_values;
    }
    memset(program->label_values, 0, step->n_examples * n_outputs * sizeof(float));
    for (size_t r = 0; r < step->n_examples; r++)
        program->label_values[r * n_outputs + (size_t)target->labels[r]] = 1.0f;
    return program->label_values;
}

static bool all_zero_or_one(size_t n, const float *x)
{
    size_t n_other = 0;
    for (size_t i = 0; i < n; i++)
        n_other += x[i] != 0.0f && x[i] != 1.0f;
    return n_other == 0;
}

// The targets that a loss really compares with. Keras turns a batch of zeros and ones into -1 and 1 for a hinge.
static const float *soften(struct mst_program *program, const struct mst_program_step *step, enum mst_loss_kind loss,
                           const struct mst_loss_options *options, const float *targets)
{
    size_t n = step->n_examples * program->n_outputs;
    double smoothing = options->label_smoothing;
    struct mst_convert convert = {.n = n, .scale = 2.0f, .offset = -1.0f, .y = program->soft_targets};
    if (targets == NULL || !mst_loss_changes_targets(loss, options))
        return targets;
    if (is_hinge(loss) && !all_zero_or_one(n, targets))
        return targets;
    if (!is_hinge(loss)) {
        double share = loss == MST_LOSS_BINARY_CROSSENTROPY ? 0.5 : 1.0 / (double)program->n_outputs;
        convert.scale = (float)(1.0 - smoothing);
        convert.offset = (float)(smoothing * share);
    }
    program->device->ops->convert_f32(program->device, &convert, targets);
    return program->soft_targets;
}

static enum mst_dense_loss dense_loss_of(enum mst_loss_kind kind)
{
    static const enum mst_dense_loss dense[] = {
        [MST_LOSS_BINARY_CROSSENTROPY] = MST_DENSE_BINARY_CROSSENTROPY,
        [MST_LOSS_MEAN_ABSOLUTE_ERROR] = MST_DENSE_ABSOLUTE,
        [MST_LOSS_MEAN_ABSOLUTE_PERCENTAGE_ERROR] = MST_DENSE_PERCENTAGE,
        [MST_LOSS_MEAN_SQUARED_LOGARITHMIC_ERROR] = MST_DENSE_LOGARITHMIC,
        [MST_LOSS_HUBER] = MST_DENSE_HUBER,
        [MST_LOSS_LOG_COSH] = MST_DENSE_LOG_COSH,
        [MST_LOSS_HINGE] = MST_DENSE_HINGE,
        [MST_LOSS_SQUARED_HINGE] = MST_DENSE_SQUARED_HINGE,
        [MST_LOSS_CATEGORICAL_HINGE] = MST_DENSE_CATEGORICAL_HINGE,
        [MST_LOSS_KL_DIVERGENCE] = MST_DENSE_KL_DIVERGENCE,
        [MST_LOSS_POISSON] = MST_DENSE_POISSON,
        [MST_LOSS_COSINE_SIMILARITY] = MST_DENSE_COSINE_SIMILARITY,
    };
    return dense[kind];
}

// Sum of the examples' losses; `loss` has outputs, their kind and where the gradient goes.
static double run_loss(struct mst_program *program, const struct mst_program_step *step, enum mst_loss_kind kind,
                       const struct mst_loss_options *options, const float *targets, struct mst_loss *loss)
{
    struct mst_device *device = program->device;
    loss->rows = step->n_examples;
    loss->columns = program->n_outputs;
    loss->labels = step->targets[0].labels;
    loss->grad_scale = 1.0f / (float)step->n_examples;
    // A class label is a row of targets with a single 1: the same loss.
    if (kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY ||
        (takes_labels(kind, options) && step->targets[0].values == NULL))
        return step->targets[0].labels != NULL ? device->ops->sparse_crossentropy(device, loss) : (double)NAN;
    loss->targets = soften(program, step, kind, options, targets);
    if (kind == MST_LOSS_MEAN_SQUARED_ERROR)
        return device->ops->mean_squared_error(device, loss);
    if (kind == MST_LOSS_CATEGORICAL_CROSSENTROPY)
        return device->ops->crossentropy(device, loss);
    loss->dense = dense_loss_of(kind);
    loss->delta = (float)options->delta;
    return device->ops->dense_loss(device, loss);
}

static bool is_the_loss(const struct mst_compile *compile, const struct mst_metric *metric)
{
    return metric->loss == compile->loss && metric->options.from_logits == compile->options.from_logits &&
           metric->options.label_smoothing == compile->options.label_smoothing &&
           metric->options.delta == compile->options.delta;
}

// The logits that a softmax or sigmoid at the end was given, or NULL.
static const float *kept_logits(const struct mst_program *program)
{
    if (program->loss_takes_logits)
        return program->values[program->n_ops];
    if (program->logits_op == SIZE_MAX)
        return NULL;
    const struct op *op = &program->ops[program->logits_op];
    return op->keeps_before ? op->before : program->values[program->logits_op];
}

static double run_loss_metric(struct mst_program *program, const struct mst_program_step *step,
                              const struct mst_metric *metric, const float *targets)
{
    struct mst_loss loss = {.input = metric->options.from_logits ? MST_LOSS_LOGITS : MST_LOSS_PROBABILITIES,
                            .outputs = program->output};
    if (mst_loss_prefers_logits(metric->loss, program->n_outputs) && kept_logits(program) != NULL) {
        loss.input = MST_LOSS_LOGITS;
        loss.outputs = kept_logits(program);
    }
    return run_loss(program, step, metric->loss, &metric->options, targets, &loss);
}

static double run_accuracy(struct mst_program *program, const struct mst_program_step *step,
                           const struct mst_metric *metric, const float *targets)
{
    struct mst_device *device = program->device;
    struct mst_matches matches = {.rows = step->n_examples,
                                  .columns = program->n_outputs,
                                  .outputs = program->output,
                                  .labels = step->targets[0].labels,
                                  .targets = targets,
                                  .threshold = (float)metric->threshold,
                                  .k = metric->k};
    bool is_top_k = metric->kind == MST_METRIC_SPARSE_TOP_K || metric->kind == MST_METRIC_CATEGORICAL_TOP_K;
    bool is_categorical =
        metric->kind == MST_METRIC_CATEGORICAL_ACCURACY || metric->kind == MST_METRIC_CATEGORICAL_TOP_K;
    bool has_targets =
        step->targets[0].values != NULL && program->compile.loss != MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY;
    if (metric->kind == MST_METRIC_BINARY_ACCURACY)
        return (double)device->ops->count_matches_binary(device, &matches) / (double)program->n_outputs;
    if (!is_categorical && has_targets && step->targets[0].labels == NULL)
        return NAN; // class labels were not given
    if (is_categorical && has_targets)
        matches.labels = NULL;
    if (is_top_k)
        return (double)device->ops->count_in_top_k(device, &matches);
    return is_categorical && has_targets ? (double)device->ops->count_matches_categorical(device, &matches)
                                         : (double)device->ops->count_matches_sparse(device, &matches);
}

// A measure that is a mean over examples.
static void add_mean(const struct mst_program_step *step, size_t measure, double sum)
{
    step->sums[2 * measure] += sum;
    step->sums[2 * measure + 1] += (double)step->n_examples;
}

void mst_program_measure(struct mst_program *program, const struct mst_program_step *step,
                         struct mst_program_result *result)
{
    const struct mst_compile *compile = &program->compile;
    const float *targets = targets_of(program, step);
    bool takes_logits = compile->options.from_logits || program->loss_takes_logits;
    struct mst_loss loss = {.input = takes_logits ? MST_LOSS_LOGITS : MST_LOSS_PROBABILITIES,
                            .outputs = program->values[program->n_ops],
                            .grad = program->gradient};
    double loss_sum = run_loss(program, step, compile->loss, &compile->options, targets, &loss);
    result->loss_is_finite = isfinite(loss_sum);
    add_mean(step, 0, loss_sum);
    for (size_t m = 0; m < compile->n_metrics; m++) {
        const struct mst_metric *metric = &compile->metrics[m];
        double sum = loss_sum;
        if (metric->kind != MST_METRIC_LOSS)
            sum = run_accuracy(program, step, metric, targets);
        else if (!is_the_loss(compile, metric))
            sum = run_loss_metric(program, step, metric, targets);
        // As a metric Keras wants a cosine large.
        bool is_turned = metric->kind == MST_METRIC_LOSS && metric->loss == MST_LOSS_COSINE_SIMILARITY;
        add_mean(step, 1 + m, is_turned ? -sum : sum);
    }
}
