// Sums become Keras's numbers. All of them are counts or sums over examples, so that workers' sums are added up first
// and divided once.
#include "model/compile.h"
#include "score.h"

#include <math.h>

size_t mst_compile_n_measures(const struct mst_compile *compile)
{
    return 1 + compile->n_output_losses + compile->n_metrics;
}

size_t mst_compile_n_sums(const struct mst_compile *compile)
{
    return compile->n_sums;
}

const char *mst_measure_name(const struct mst_compile *compile, size_t measure)
{
    if (measure == 0)
        return "loss";
    if (measure <= compile->n_output_losses)
        return compile->output_losses[measure - 1].name;
    return compile->metrics[measure - 1 - compile->n_output_losses].name;
}

// Keras's divide_no_nan.
static double ratio(double sum, double weight)
{
    return weight != 0 ? sum / weight : 0;
}

double mst_measure_value(const struct mst_compile *compile, size_t measure, const double *sums)
{
    if (measure <= compile->n_output_losses)
        return ratio(sums[2 * measure], sums[2 * measure + 1]);
    const struct mst_metric *metric = &compile->metrics[measure - 1 - compile->n_output_losses];
    sums += metric->first_sum;
    if (mst_confusion_has(metric->kind))
        return mst_confusion_value(metric, sums);
    if (mst_score_has(metric->kind))
        return mst_score_value(metric, sums);
    double mean = ratio(sums[0], sums[1]);
    return metric->kind == MST_METRIC_ROOT_MEAN_SQUARED_ERROR ? sqrt(mean) : mean;
}
