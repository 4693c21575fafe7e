// Sums are kept for each value of the output whatever is averaged, and averaged at the end.
#include "score.h"

#include <math.h>

enum { TP, FP, FN, TARGETS, N_SCORES };
enum { SUM, SQUARES, ERRORS, WEIGHT };

#define EPSILON 1e-7 // Keras's

bool mst_score_has(enum mst_metric_kind kind)
{
    return kind == MST_METRIC_F_SCORE || kind == MST_METRIC_R2_SCORE;
}

size_t mst_score_n_sums(const struct mst_metric *metric)
{
    return N_SCORES * metric->n_values;
}

// ---- adding ----

static void add_f_score(const struct mst_metric *metric, const float *x, const float *t, double weight, double *sums)
{
    size_t n = metric->n_values;
    float largest = x[0];
    for (size_t i = 1; i < n; i++)
        largest = fmaxf(largest, x[i]);
    for (size_t i = 0; i < n; i++) {
        double *of = sums + N_SCORES * i;
        // Without a threshold the largest are positive; a row of zeros has none.
        bool is_positive =
            isnan(metric->threshold) ? x[i] >= largest && fabsf(x[i]) > 1e-9f : x[i] > (float)metric->threshold;
        double target = (double)t[i];
        of[TP] += is_positive ? weight * target : 0;
        of[FP] += is_positive ? weight * (1 - target) : 0;
        of[FN] += is_positive ? 0 : weight * target;
        of[TARGETS] += weight * target;
    }
}

static void add_r2(const struct mst_metric *metric, const float *x, const float *t, double weight, double *sums)
{
    for (size_t i = 0; i < metric->n_values; i++) {
        double *of = sums + N_SCORES * i;
        double target = (double)t[i], error = (double)x[i] - target;
        of[SUM] += weight * target;
        of[SQUARES] += weight * target * target;
        of[ERRORS] += weight * error * error;
        of[WEIGHT] += weight;
    }
}

void mst_score_add(const struct mst_metric *metric, const struct mst_confusion_rows *rows, double *sums)
{
    for (size_t r = 0; r < rows->n; r++) {
        const float *x = rows->values + r * rows->n_values;
        const float *t = rows->targets + r * rows->n_values;
        double weight = rows->weights != NULL ? (double)rows->weights[r] : 1.0;
        if (metric->kind == MST_METRIC_F_SCORE)
            add_f_score(metric, x, t, weight, sums);
        else
            add_r2(metric, x, t, weight, sums);
    }
}

// ---- what they say ----

static double f_score(const struct mst_metric *metric, const double *of)
{
    double precision = of[TP] / (of[TP] + of[FP] + EPSILON);
    double recall = of[TP] / (of[TP] + of[FN] + EPSILON);
    double square = metric->beta * metric->beta;
    return (1 + square) * (precision * recall) / (square * precision + recall + EPSILON);
}

static double f_score_value(const struct mst_metric *metric, const double *sums)
{
    double all[N_SCORES] = {0};
    double value = 0;
    for (size_t i = 0; i < metric->n_values; i++) {
        for (size_t k = 0; k < N_SCORES; k++)
            all[k] += sums[N_SCORES * i + k];
    }
    if (metric->average == MST_AVERAGE_MICRO)
        return f_score(metric, all);
    for (size_t i = 0; i < metric->n_values; i++) {
        const double *of = sums + N_SCORES * i;
        double share = metric->average == MST_AVERAGE_WEIGHTED ? of[TARGETS] / (all[TARGETS] + EPSILON)
                                                               : 1 / (double)metric->n_values;
        value += share * f_score(metric, of);
    }
    return value;
}

static double r2_value(const struct mst_metric *metric, const double *sums)
{
    double score = 0, all = 0;
    for (size_t i = 0; i < metric->n_values; i++) {
        const double *of = sums + N_SCORES * i;
        double total = of[SQUARES] - of[SUM] * (of[SUM] / of[WEIGHT]);
        double raw = 1 - of[ERRORS] / total;
        double share = metric->average == MST_AVERAGE_WEIGHTED ? total : 1;
        score += share * (isinf(raw) ? 0 : raw);
        all += share;
    }
    return score / all;
}

double mst_score_value(const struct mst_metric *metric, const double *sums)
{
    return metric->kind == MST_METRIC_F_SCORE ? f_score_value(metric, sums) : r2_value(metric, sums);
}
