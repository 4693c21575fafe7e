// Losses and metrics of a batch. Labels become targets as a user of Keras would make them: the value itself for one
// value, else a row with a single 1. A metric that is a loss takes the logits of a softmax or sigmoid that ends the
// model as the loss does, for Keras finds them at the output that it gives to both; one that is the output's loss costs
// nothing. Unweighted metrics of a weighted loss are computed apart, as are weighted accuracies, row by row.
#include "model/program.h"
#include "program_private.h"
#include "score.h"

#include <math.h>
#include <string.h>

// Of a batch whose examples all weigh nothing: its penalties still count where no other batch has anything to say.
#define WEIGHT_OF_NONE 1e-20

// An output and what it is compared with, in one step.
struct measured {
    struct mst_device *device;
    const struct mst_program_step *step;
    const struct program_output *output;
    const struct mst_output_loss *loss;
    const struct mst_target *target;
    const float *targets; // rows, or NULL
    const float *weights; // of the examples, or NULL
    double loss_sum;      // Σ w l of the loss
};

static bool prefers_logits(enum mst_loss_kind loss, size_t n_values)
{
    if (loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY || loss == MST_LOSS_CATEGORICAL_CROSSENTROPY)
        return n_values > 1;
    return loss == MST_LOSS_BINARY_CROSSENTROPY;
}

static bool is_hinge(enum mst_loss_kind loss)
{
    return loss == MST_LOSS_HINGE || loss == MST_LOSS_SQUARED_HINGE;
}

static bool changes_targets(enum mst_loss_kind loss, const struct mst_loss_options *options)
{
    return is_hinge(loss) || options->label_smoothing != 0;
}

// What a device does with a class label costs less than a row of targets. Of values that are no probabilities the two
// differ: with a label they are clipped before they are divided by their sum.
static bool takes_labels(enum mst_loss_kind loss, const struct mst_loss_options *options, bool of_logits)
{
    return loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY ||
           (loss == MST_LOSS_CATEGORICAL_CROSSENTROPY && options->label_smoothing == 0 &&
            (of_logits || options->from_logits));
}

static void add_needs_of_metric(const struct mst_metric *metric, size_t n_values, bool has_logits,
                                struct output_needs *needs)
{
    switch (metric->kind) {
    case MST_METRIC_LOSS:
        needs->rows |= !takes_labels(metric->loss, &metric->options, has_logits);
        needs->soft_targets |= changes_targets(metric->loss, &metric->options);
        if (prefers_logits(metric->loss, n_values))
            needs->metric_logits = true;
        else
            needs->probabilities = true;
        break;
    case MST_METRIC_SPARSE_CATEGORICAL_ACCURACY:
    case MST_METRIC_CATEGORICAL_ACCURACY:
        break; // the order of the values
    case MST_METRIC_SPARSE_TOP_K:
    case MST_METRIC_CATEGORICAL_TOP_K:
        needs->probabilities = true;
        break;
    default:
        needs->rows = needs->probabilities = true;
    }
}

struct output_needs mst_program_output_needs(const struct mst_compile *compile, size_t output, size_t n_values,
                                             bool has_logits)
{
    const struct mst_output_loss *loss = &compile->losses[output];
    struct output_needs needs = {0};
    if (loss->is_given) {
        needs.logits = prefers_logits(loss->kind, n_values);
        needs.rows = n_values == 1 || !takes_labels(loss->kind, &loss->options, has_logits);
        needs.soft_targets = changes_targets(loss->kind, &loss->options);
    }
    for (size_t m = 0; m < compile->n_metrics; m++) {
        if (compile->metrics[m].output == output)
            add_needs_of_metric(&compile->metrics[m], n_values, has_logits, &needs);
    }
    return needs;
}

// Rows of targets, from labels where there are no others; NULL if nobody wants them.
static const float *targets_of(const struct measured *m)
{
    const struct program_output *output = m->output;
    size_t n = m->step->n_examples;
    if (m->target->values != NULL || output->label_values == NULL)
        return m->target->values;
    struct mst_convert convert = {.n = n, .scale = 1.0f, .y = output->label_values};
    if (output->n_values == 1 && m->loss->kind != MST_LOSS_CATEGORICAL_CROSSENTROPY) {
        m->device->ops->convert_i32(m->device, &convert, m->target->labels);
        return output->label_values;
    }
    memset(output->label_values, 0, n * output->n_values * sizeof(float));
    for (size_t r = 0; r < n; r++)
        output->label_values[r * output->n_values + (size_t)m->target->labels[r]] = 1.0f;
    return output->label_values;
}

static bool all_zero_or_one(size_t n, const float *x)
{
    size_t n_other = 0;
    for (size_t i = 0; i < n; i++)
        n_other += x[i] != 0.0f && x[i] != 1.0f;
    return n_other == 0;
}

// The targets that a loss really compares with. Keras turns a batch of zeros and ones into -1 and 1 for a hinge.
static const float *soften(const struct measured *m, enum mst_loss_kind loss, const struct mst_loss_options *options)
{
    size_t n = m->step->n_examples * m->output->n_values;
    double smoothing = options->label_smoothing;
    struct mst_convert convert = {.n = n, .scale = 2.0f, .offset = -1.0f, .y = m->output->soft_targets};
    if (m->targets == NULL || !changes_targets(loss, options))
        return m->targets;
    if (is_hinge(loss) && !all_zero_or_one(n, m->targets))
        return m->targets;
    if (!is_hinge(loss)) {
        double share = loss == MST_LOSS_BINARY_CROSSENTROPY ? 0.5 : 1.0 / (double)m->output->n_values;
        convert.scale = (float)(1.0 - smoothing);
        convert.offset = (float)(smoothing * share);
    }
    m->device->ops->convert_f32(m->device, &convert, m->targets);
    return m->output->soft_targets;
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

// Sum of the examples' losses, each by its weight; `loss` has outputs, their kind, weights and where the gradient goes.
static double run_loss(const struct measured *m, enum mst_loss_kind kind, const struct mst_loss_options *options,
                       struct mst_loss *loss)
{
    struct mst_device *device = m->device;
    loss->rows = m->step->n_examples;
    loss->columns = m->output->n_values;
    loss->labels = m->target->labels;
    // A class label is a row of targets with a single 1: the same loss.
    if (kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY ||
        (takes_labels(kind, options, loss->input == MST_LOSS_LOGITS) && m->target->values == NULL))
        return loss->labels != NULL ? device->ops->sparse_crossentropy(device, loss) : (double)NAN;
    loss->targets = soften(m, kind, options);
    if (kind == MST_LOSS_MEAN_SQUARED_ERROR)
        return device->ops->mean_squared_error(device, loss);
    if (kind == MST_LOSS_CATEGORICAL_CROSSENTROPY)
        return device->ops->crossentropy(device, loss);
    loss->dense = dense_loss_of(kind);
    loss->delta = (float)options->delta;
    return device->ops->dense_loss(device, loss);
}

static bool is_the_loss(const struct measured *m, const struct mst_metric *metric)
{
    const struct mst_loss_options *a = &metric->options, *b = &m->loss->options;
    return metric->loss == m->loss->kind && a->from_logits == b->from_logits &&
           a->label_smoothing == b->label_smoothing && a->delta == b->delta &&
           (m->weights == NULL || metric->is_weighted);
}

static double run_loss_metric(const struct measured *m, const struct mst_metric *metric)
{
    const struct program_output *output = m->output;
    struct mst_loss loss = {.input = metric->options.from_logits ? MST_LOSS_LOGITS : MST_LOSS_PROBABILITIES,
                            .outputs = output->values,
                            .row_weights = metric->is_weighted ? m->weights : NULL};
    if (is_the_loss(m, metric))
        return m->loss_sum;
    if (prefers_logits(metric->loss, output->n_values) && output->logits != NULL) {
        loss.input = MST_LOSS_LOGITS;
        loss.outputs = output->logits;
    }
    return run_loss(m, metric->loss, &metric->options, &loss);
}

static double run_root_mean_squared(const struct measured *m, const struct mst_metric *metric)
{
    struct mst_loss loss = {.outputs = m->output->values, .row_weights = metric->is_weighted ? m->weights : NULL};
    return run_loss(m, MST_LOSS_MEAN_SQUARED_ERROR, &metric->options, &loss);
}

// Matches among the rows from first on.
static double count_matches(const struct measured *m, const struct mst_metric *metric, size_t first, size_t rows)
{
    struct mst_device *device = m->device;
    size_t columns = m->output->n_values;
    struct mst_matches matches = {.rows = rows,
                                  .columns = columns,
                                  .outputs = m->output->values + first * columns,
                                  .labels = m->target->labels != NULL ? m->target->labels + first : NULL,
                                  .targets = m->targets != NULL ? m->targets + first * columns : NULL,
                                  .threshold = (float)metric->threshold,
                                  .k = metric->k};
    bool is_top_k = metric->kind == MST_METRIC_SPARSE_TOP_K || metric->kind == MST_METRIC_CATEGORICAL_TOP_K;
    bool is_categorical =
        metric->kind == MST_METRIC_CATEGORICAL_ACCURACY || metric->kind == MST_METRIC_CATEGORICAL_TOP_K;
    bool has_targets = m->target->values != NULL && m->loss->kind != MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY;
    if (metric->kind == MST_METRIC_BINARY_ACCURACY)
        return (double)device->ops->count_matches_binary(device, &matches) / (double)columns;
    if (!is_categorical && has_targets && matches.labels == NULL)
        return NAN; // class labels were not given
    if (is_categorical && has_targets)
        matches.labels = NULL;
    if (is_top_k)
        return (double)device->ops->count_in_top_k(device, &matches);
    return is_categorical && has_targets ? (double)device->ops->count_matches_categorical(device, &matches)
                                         : (double)device->ops->count_matches_sparse(device, &matches);
}

static double run_accuracy(const struct measured *m, const struct mst_metric *metric)
{
    double sum = 0;
    if (!metric->is_weighted || m->weights == NULL)
        return count_matches(m, metric, 0, m->step->n_examples);
    for (size_t r = 0; r < m->step->n_examples; r++)
        sum += (double)m->weights[r] * count_matches(m, metric, r, 1);
    return sum;
}

static double sum_of_weights(const struct measured *m)
{
    double sum = 0;
    for (size_t r = 0; r < m->step->n_examples; r++)
        sum += m->weights != NULL ? (double)m->weights[r] : 1.0;
    return sum;
}

static double count_equal(const struct measured *m, const struct mst_metric *metric)
{
    double sum = 0;
    size_t n = m->output->n_values;
    for (size_t r = 0; r < m->step->n_examples; r++) {
        size_t n_equal = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++)
            n_equal += m->output->values[i] == m->targets[i];
        sum += (double)n_equal / (double)n * (metric->is_weighted && m->weights != NULL ? (double)m->weights[r] : 1);
    }
    return sum;
}

static void run_mean(const struct measured *m, const struct mst_metric *metric, double *sums)
{
    if (metric->kind == MST_METRIC_EQUALITY)
        sums[0] += count_equal(m, metric);
    else if (metric->kind == MST_METRIC_ROOT_MEAN_SQUARED_ERROR)
        sums[0] += run_root_mean_squared(m, metric);
    else if (metric->kind != MST_METRIC_LOSS)
        sums[0] += run_accuracy(m, metric);
    else if (metric->loss == MST_LOSS_COSINE_SIMILARITY)
        sums[0] -= run_loss_metric(m, metric); // as a metric Keras wants it large
    else
        sums[0] += run_loss_metric(m, metric);
    sums[1] += metric->is_weighted && m->weights != NULL ? sum_of_weights(m) : (double)m->step->n_examples;
}

static void run_metric(const struct measured *m, const struct mst_compile *compile, const struct mst_metric *metric)
{
    double *sums = m->step->sums + metric->first_sum;
    struct mst_confusion_rows rows = {.n = m->step->n_examples,
                                      .n_values = m->output->n_values,
                                      .values = m->output->values,
                                      .targets = m->targets,
                                      .weights = metric->is_weighted ? m->weights : NULL};
    if (mst_confusion_has(metric->kind))
        mst_confusion_add(compile, metric, &rows, sums);
    else if (mst_score_has(metric->kind))
        mst_score_add(metric, &rows, sums);
    else
        run_mean(m, metric, sums);
}

// The loss of one output, as the mean or sum of the batch that Keras reports; its gradient is that of the job's loss.
static double run_output_loss(struct measured *m)
{
    const struct mst_output_loss *loss = m->loss;
    double divisor = 1;
    if (loss->reduction == MST_REDUCTION_MEAN)
        divisor = (double)m->step->n_examples;
    else if (loss->reduction == MST_REDUCTION_WEIGHTED_MEAN)
        divisor = sum_of_weights(m);
    double scale = divisor != 0 ? 1.0 / divisor : 0; // as Keras divides
    bool takes_logits = loss->options.from_logits || m->output->loss_takes_logits;
    struct mst_loss batch = {.input = takes_logits ? MST_LOSS_LOGITS : MST_LOSS_PROBABILITIES,
                             .outputs = m->output->raw,
                             .row_weights = m->weights,
                             .grad = m->output->gradient,
                             .grad_scale = (float)(loss->weight * scale)};
    m->loss_sum = run_loss(m, loss->kind, &loss->options, &batch);
    return loss->reduction == MST_REDUCTION_MEAN ? m->loss_sum : m->loss_sum * scale * (double)m->step->n_examples;
}

// The job's loss is Keras's mean over batches, each by its number of examples. Those of single outputs are means over
// batches that count the same: on TensorFlow Keras does not know there how large a batch is, and a partial one counts
// whole.
static void add_loss(const struct mst_program_step *step, double sum)
{
    step->sums[0] += sum;
    step->sums[1] += (double)step->n_examples;
}

static void add_output_loss(const struct mst_program_step *step, size_t measure, double sum)
{
    step->sums[2 * measure] += sum / (double)step->n_examples;
    step->sums[2 * measure + 1] += 1;
}

// The class as Keras finds it: rounded, or the largest of a row.
static int32_t class_of(const struct mst_target *target, size_t n_values, size_t r)
{
    if (target->values == NULL)
        return target->labels[r];
    const float *row = target->values + r * n_values;
    size_t largest = 0;
    if (n_values == 1)
        return (int32_t)rintf(fminf(fmaxf(row[0], -1e9f), 1e9f));
    for (size_t i = 1; i < n_values; i++)
        largest = row[i] > row[largest] ? i : largest;
    return (int32_t)largest;
}

static const float *weights_of(struct mst_program *program, const struct mst_program_step *step)
{
    const struct mst_output_loss *loss = &program->compile.losses[0];
    struct mst_target target = step->targets[0];
    if (program->class_weights == NULL)
        return step->weights;
    if (loss->kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY)
        target.values = NULL;
    for (size_t r = 0; r < step->n_examples; r++) {
        int32_t class = class_of(&target, program->outputs[0].n_values, r);
        program->class_weights[r] = mst_compile_class_weight(&program->compile, class);
    }
    return program->class_weights;
}

static double weight_of_batch(const struct mst_program *program, const struct mst_program_step *step,
                              const float *weights)
{
    const struct mst_compile *compile = &program->compile;
    double sum = 0;
    for (size_t o = 0; o < program->n_outputs; o++)
        if (compile->losses[o].is_given && compile->losses[o].reduction != MST_REDUCTION_WEIGHTED_MEAN)
            weights = NULL;
    if (weights == NULL)
        return (double)step->n_examples;
    for (size_t r = 0; r < step->n_examples; r++)
        sum += (double)weights[r];
    return sum > 0 ? sum : WEIGHT_OF_NONE;
}

void mst_program_measure(struct mst_program *program, const struct mst_program_step *step,
                         struct mst_program_result *result)
{
    const struct mst_compile *compile = &program->compile;
    const float *weights = weights_of(program, step);
    double total = 0;
    size_t measure = 1;
    result->weight = weight_of_batch(program, step, weights);
    for (size_t o = 0; o < program->n_outputs; o++) {
        struct measured m = {.device = program->device,
                             .step = step,
                             .output = &program->outputs[o],
                             .loss = &compile->losses[o],
                             .target = &step->targets[o],
                             .weights = weights};
        if (!m.loss->is_given)
            continue;
        m.targets = targets_of(&m);
        double sum = run_output_loss(&m);
        total += m.loss->weight * sum;
        if (compile->n_output_losses > 0)
            add_output_loss(step, measure++, sum);
        for (size_t i = 0; i < compile->n_metrics; i++) {
            if (compile->metrics[i].output == o)
                run_metric(&m, compile, &compile->metrics[i]);
        }
    }
    total += mst_program_penalties(program, step) * (double)step->n_examples;
    add_loss(step, total);
    result->loss_is_finite = isfinite(total);
}
