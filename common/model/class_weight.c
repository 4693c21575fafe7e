// Keras's class_weight: a weight for each example by its class, which is then used as any sample weight is.
#include "base/error.h"
#include "config.h"
#include "model/compile.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static int compare_classes(const void *a, const void *b)
{
    int32_t x = ((const struct mst_class_weight *)a)->class, y = ((const struct mst_class_weight *)b)->class;
    return (x > y) - (x < y);
}

static mst_status read_one(struct mst_compile *compile, const char *key, const json_t *value, const char *path,
                           struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    char *end;
    errno = 0;
    long class = strtol(key, &end, 10);
    if (end == key || *end != '\0' || errno != 0 || class < INT32_MIN || class > INT32_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: '%.64s' is no class; classes are whole numbers", path, key);
    double weight = json_number_value(value);
    if (!json_is_number(value) || !isfinite((float)weight))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.%s is %s; it should be a number", path, key,
                        mst_config_show(value, shown));
    compile->class_weights[compile->n_class_weights++] = (struct mst_class_weight){(int32_t)class, (float)weight};
    return MST_OK;
}

mst_status mst_compile_set_class_weights(struct mst_compile *compile, const json_t *json, const char *path,
                                         struct mst_error *err)
{
    const char *key;
    json_t *value;
    compile->n_class_weights = 0;
    if (json == NULL || json_is_null(json))
        return MST_OK;
    if (!json_is_object(json))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s should be an object of weights by class", path);
    if (compile->n_outputs > 1)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s is for models of one output, as in Keras; this one has %zu: use sample weights", path,
                        compile->n_outputs);
    if (json_object_size(json) > MST_COMPILE_MAX_CLASS_WEIGHTS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has %zu classes; the limit is %d: use sample weights", path,
                        json_object_size(json), MST_COMPILE_MAX_CLASS_WEIGHTS);
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        MST_TRY(read_one(compile, key, value, path, err));
    }
    qsort(compile->class_weights, compile->n_class_weights, sizeof *compile->class_weights, compare_classes);
    return MST_OK;
}

float mst_compile_class_weight(const struct mst_compile *compile, int32_t class)
{
    size_t low = 0, end = compile->n_class_weights;
    while (low < end) {
        size_t middle = low + (end - low) / 2;
        if (compile->class_weights[middle].class < class)
            low = middle + 1;
        else
            end = middle;
    }
    bool is_found = low < compile->n_class_weights && compile->class_weights[low].class == class;
    return is_found ? compile->class_weights[low].weight : 1.0f;
}
