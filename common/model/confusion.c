// Evenly spread thresholds need no search: the number that a value is above is computed as Keras does, in float32, so
// that a value on a border falls on the same side. The curves are computed in double from merged counts.
#include "confusion.h"

#include "base/error.h"

#include <math.h>

bool mst_confusion_has(enum mst_metric_kind kind)
{
    return kind >= MST_METRIC_TRUE_POSITIVES && kind <= MST_METRIC_AUC;
}

static size_t n_labels(const struct mst_metric *metric)
{
    return metric->is_by_label ? metric->n_values : 1;
}

size_t mst_confusion_n_sums(const struct mst_metric *metric)
{
    return 2 * n_labels(metric) * (metric->n_thresholds + 1);
}

// ---- adding ----

// How many thresholds x is above.
static size_t n_below(const struct mst_compile *compile, const struct mst_metric *metric, float x)
{
    size_t n = metric->n_thresholds;
    if (metric->first_threshold == SIZE_MAX) {
        float clipped = fminf(fmaxf(x, 0.0f), 1.0f); // 0 for NaN
        float above = ceilf(clipped * (float)(n - 1));
        // All of [0, 1] is above the first threshold of an AUC, which is a little below 0.
        return metric->kind == MST_METRIC_AUC && above < 1.0f ? 1 : (size_t)above;
    }
    const float *thresholds = compile->thresholds + metric->first_threshold;
    size_t low = 0;
    while (low < n) {
        size_t middle = low + (n - low) / 2;
        if (x > thresholds[middle])
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}

// The last of the k largest of a row (of equals the first count as larger): later ones are not among them.
static size_t find_kth(const float *row, size_t n, size_t k)
{
    size_t at = SIZE_MAX;
    for (size_t found = 0; found < k && found < n; found++) {
        size_t next = SIZE_MAX;
        for (size_t i = 0; i < n; i++) {
            bool comes_after = at == SIZE_MAX || row[i] < row[at] || (row[i] == row[at] && i > at);
            if (!isnan(row[i]) && comes_after && (next == SIZE_MAX || row[i] > row[next]))
                next = i;
        }
        if (next == SIZE_MAX)
            break; // the rest is NaN
        at = next;
    }
    return at;
}

static bool is_among(const float *row, size_t i, size_t kth)
{
    return kth != SIZE_MAX && (row[i] > row[kth] || (row[i] == row[kth] && i <= kth));
}

static void add_row(const struct mst_compile *compile, const struct mst_metric *metric,
                    const struct mst_confusion_rows *rows, size_t r, double *sums)
{
    const float *row = rows->values + r * rows->n_values;
    const float *target = rows->targets + r * rows->n_values;
    double weight = rows->weights != NULL ? (double)rows->weights[r] : 1.0;
    size_t size = metric->n_thresholds + 1;
    size_t kth = metric->k > 0 ? find_kth(row, rows->n_values, metric->k) : 0;
    size_t first = metric->class_id == SIZE_MAX ? 0 : metric->class_id;
    size_t end = metric->class_id == SIZE_MAX ? rows->n_values : first + 1;
    for (size_t i = first; i < end; i++) {
        size_t at = metric->is_by_label ? i : 0;
        float x = metric->options.from_logits ? 1.0f / (1.0f + expf(-row[i])) : row[i];
        if (target[i] == 0.0f)
            at += n_labels(metric);
        if (metric->k == 0 || is_among(row, i, kth)) // else it is above nothing
            sums[at * size + n_below(compile, metric, x)] += weight;
        else
            sums[at * size] += weight;
    }
}

void mst_confusion_add(const struct mst_compile *compile, const struct mst_metric *metric,
                       const struct mst_confusion_rows *rows, double *sums)
{
    for (size_t r = 0; r < rows->n; r++)
        add_row(compile, metric, rows, r, sums);
}

// ---- what they say ----

// Counts at one threshold.
struct counts {
    double tp, fp, tn, fn;
};

// From one threshold down to the one below it: one addition each.
struct walk {
    const double *positive;
    const double *negative;
    double all_positive;
    double all_negative;
    struct counts at;
};

// At a threshold above all values.
static struct walk walk_of(const struct mst_metric *metric, const double *sums, size_t label)
{
    size_t size = metric->n_thresholds + 1;
    struct walk walk = {.positive = sums + label * size, .negative = sums + (n_labels(metric) + label) * size};
    for (size_t i = 0; i < size; i++) {
        walk.all_positive += walk.positive[i];
        walk.all_negative += walk.negative[i];
    }
    walk.at.fn = walk.all_positive;
    walk.at.tn = walk.all_negative;
    return walk;
}

// To threshold i, the one below that which it was at.
static void step_down(struct walk *walk, size_t i)
{
    walk->at.tp += walk->positive[i + 1];
    walk->at.fp += walk->negative[i + 1];
    walk->at.fn = walk->all_positive - walk->at.tp;
    walk->at.tn = walk->all_negative - walk->at.fp;
}

// Keras's divide_no_nan.
static double ratio(double a, double b)
{
    return b != 0 ? a / b : 0;
}

static double recall(const struct counts *at)
{
    return ratio(at->tp, at->tp + at->fn);
}

static double precision(const struct counts *at)
{
    return ratio(at->tp, at->tp + at->fp);
}

static double specificity(const struct counts *at)
{
    return ratio(at->tn, at->tn + at->fp);
}

// The largest of one rate where another is at least metric->threshold.
static double best_under_constraint(const struct mst_metric *metric, const double *sums)
{
    struct walk walk = walk_of(metric, sums, 0);
    double best = 0;
    for (size_t i = metric->n_thresholds; i-- > 0;) {
        double held = 0, wanted = 0;
        step_down(&walk, i);
        switch (metric->kind) {
        case MST_METRIC_SENSITIVITY_AT_SPECIFICITY:
            held = specificity(&walk.at);
            wanted = recall(&walk.at);
            break;
        case MST_METRIC_SPECIFICITY_AT_SENSITIVITY:
            held = recall(&walk.at);
            wanted = specificity(&walk.at);
            break;
        case MST_METRIC_PRECISION_AT_RECALL:
            held = recall(&walk.at);
            wanted = precision(&walk.at);
            break;
        default:
            held = precision(&walk.at);
            wanted = recall(&walk.at);
        }
        if ((float)held >= (float)metric->threshold && wanted > best)
            best = wanted;
    }
    return best;
}

// One step of the area under precision and recall, interpolated.
// Source: Davis & Goadrich 2006, as in keras.metrics.AUC.interpolate_pr_auc
static double interpolated_step(const struct counts *low, const struct counts *high)
{
    double d_tp = low->tp - high->tp;
    double p_low = low->tp + low->fp, p_high = high->tp + high->fp;
    double slope = ratio(d_tp, fmax(p_low - p_high, 0));
    double intercept = high->tp - slope * p_high;
    double safe_ratio = p_low > 0 && p_high > 0 ? p_low / p_high : 1;
    return ratio(slope * (d_tp + intercept * log(safe_ratio)), fmax(high->tp + high->fn, 0));
}

struct point {
    double x, y;
};

static struct point point_of(const struct mst_metric *metric, const struct counts *at)
{
    if (metric->curve == MST_CURVE_ROC)
        return (struct point){ratio(at->fp, at->fp + at->tn), recall(at)};
    if (metric->curve == MST_CURVE_PR)
        return (struct point){recall(at), precision(at)};
    double scale = ratio(at->tp + at->fn, at->tn + at->fp);
    if (at->tp == 0)
        return (struct point){0, 1};
    return (struct point){fmax(1 - scale * (at->fn / at->tp), 0), 1 - scale * (at->fp / at->tp)};
}

static double area_of_label(const struct mst_metric *metric, const double *sums, size_t label)
{
    struct walk walk = walk_of(metric, sums, label);
    double area = 0;
    step_down(&walk, metric->n_thresholds - 1);
    for (size_t i = metric->n_thresholds - 1; i-- > 0;) {
        struct counts high = walk.at;
        step_down(&walk, i);
        if (metric->curve == MST_CURVE_PR && metric->summation == MST_SUMMATION_INTERPOLATION) {
            area += interpolated_step(&walk.at, &high);
            continue;
        }
        struct point a = point_of(metric, &walk.at), b = point_of(metric, &high);
        double height = (a.y + b.y) / 2;
        if (metric->summation == MST_SUMMATION_MINORING)
            height = fmin(a.y, b.y);
        else if (metric->summation == MST_SUMMATION_MAJORING)
            height = fmax(a.y, b.y);
        area += (a.x - b.x) * height;
    }
    return area;
}

static double area(const struct mst_metric *metric, const double *sums)
{
    double sum = 0;
    for (size_t label = 0; label < n_labels(metric); label++)
        sum += area_of_label(metric, sums, label);
    return sum / (double)n_labels(metric);
}

double mst_confusion_value(const struct mst_metric *metric, const double *sums)
{
    if (metric->kind == MST_METRIC_AUC)
        return area(metric, sums);
    if (metric->kind >= MST_METRIC_SENSITIVITY_AT_SPECIFICITY)
        return best_under_constraint(metric, sums);
    struct walk walk = walk_of(metric, sums, 0);
    step_down(&walk, 0);
    switch (metric->kind) {
    case MST_METRIC_TRUE_POSITIVES:
        return walk.at.tp;
    case MST_METRIC_FALSE_POSITIVES:
        return walk.at.fp;
    case MST_METRIC_TRUE_NEGATIVES:
        return walk.at.tn;
    case MST_METRIC_FALSE_NEGATIVES:
        return walk.at.fn;
    case MST_METRIC_PRECISION:
        return precision(&walk.at);
    default:
        MST_ASSERT(metric->kind == MST_METRIC_RECALL);
        return recall(&walk.at);
    }
}
