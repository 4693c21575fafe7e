// Keras's serialisation to struct mst_schedule and back, by one table of options. Keras itself has no defaults for the
// keys that a schedule cannot do without, so each kind names them.
#include "schedule.h"

#include "base/alloc.h"
#include "base/error.h"
#include "option.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    OF_EXPONENTIAL = 1 << MST_SCHEDULE_EXPONENTIAL,
    OF_INVERSE_TIME = 1 << MST_SCHEDULE_INVERSE_TIME,
    OF_POLYNOMIAL = 1 << MST_SCHEDULE_POLYNOMIAL,
    OF_COSINE = 1 << MST_SCHEDULE_COSINE,
    OF_RESTARTS = 1 << MST_SCHEDULE_COSINE_RESTARTS,
    OF_PIECEWISE = 1 << MST_SCHEDULE_PIECEWISE,
    OF_DECAYS = OF_EXPONENTIAL | OF_INVERSE_TIME,
    OF_COSINES = OF_COSINE | OF_RESTARTS,
    OF_FORMULAS = OF_DECAYS | OF_POLYNOMIAL | OF_COSINES
};

#define AT(member) offsetof(struct mst_schedule, member)

static const struct mst_option options[] = {
    {"initial_learning_rate", OF_FORMULAS, MST_OPTION_NOT_NEGATIVE, AT(initial)},
    {"decay_steps", OF_FORMULAS & ~(unsigned)OF_RESTARTS, MST_OPTION_POSITIVE, AT(decay_steps)},
    {"first_decay_steps", OF_RESTARTS, MST_OPTION_POSITIVE, AT(decay_steps)},
    {"decay_rate", OF_DECAYS, MST_OPTION_NOT_NEGATIVE, AT(decay_rate)},
    {"staircase", OF_DECAYS, MST_OPTION_BOOL, AT(staircase)},
    {"end_learning_rate", OF_POLYNOMIAL, MST_OPTION_NOT_NEGATIVE, AT(end)},
    {"power", OF_POLYNOMIAL, MST_OPTION_NOT_NEGATIVE, AT(power)},
    {"cycle", OF_POLYNOMIAL, MST_OPTION_BOOL, AT(cycle)},
    {"alpha", OF_COSINES, MST_OPTION_NOT_NEGATIVE, AT(alpha)},
    {"warmup_target", OF_COSINE, MST_OPTION_OR_NULL, AT(warmup_target)},
    {"warmup_steps", OF_COSINE, MST_OPTION_NOT_NEGATIVE, AT(warmup_steps)},
    {"t_mul", OF_RESTARTS, MST_OPTION_FROM_1, AT(t_mul)},
    {"m_mul", OF_RESTARTS, MST_OPTION_NOT_NEGATIVE, AT(m_mul)},
    {"boundaries", OF_PIECEWISE, MST_OPTION_OTHER, 0},
    {"values", OF_PIECEWISE, MST_OPTION_OTHER, 0},
    {"name", OF_FORMULAS | OF_PIECEWISE, MST_OPTION_IGNORED, 0},
};

enum { N_OPTIONS = sizeof options / sizeof *options };

static const struct kind {
    const char *name;
    const char *needs[3];
} kinds[MST_N_SCHEDULES] = {
    [MST_SCHEDULE_EXPONENTIAL] = {"ExponentialDecay", {"initial_learning_rate", "decay_steps", "decay_rate"}},
    [MST_SCHEDULE_INVERSE_TIME] = {"InverseTimeDecay", {"initial_learning_rate", "decay_steps", "decay_rate"}},
    [MST_SCHEDULE_POLYNOMIAL] = {"PolynomialDecay", {"initial_learning_rate", "decay_steps"}},
    [MST_SCHEDULE_COSINE] = {"CosineDecay", {"initial_learning_rate", "decay_steps"}},
    [MST_SCHEDULE_COSINE_RESTARTS] = {"CosineDecayRestarts", {"initial_learning_rate", "first_decay_steps"}},
    [MST_SCHEDULE_PIECEWISE] = {"PiecewiseConstantDecay", {"boundaries", "values"}},
};

const struct mst_option *mst_schedule_options(size_t *n_out)
{
    *n_out = N_OPTIONS;
    return options;
}

const char *mst_schedule_kind_name(enum mst_schedule_kind kind)
{
    MST_ASSERT((unsigned)kind < MST_N_SCHEDULES);
    return kinds[kind].name;
}

static mst_status read_list(const json_t *list, const char *where, double **out, struct mst_error *err)
{
    char text[MST_OPTION_SHOWN_BYTES];
    size_t n = json_array_size(list);
    if (n == 0 || n > MST_SCHEDULE_MAX_BOUNDARIES)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it must be a list of 1 to %d numbers", where,
                        mst_option_show(list, text), MST_SCHEDULE_MAX_BOUNDARIES);
    double *numbers = mst_alloc_array(n, sizeof *numbers);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        numbers[i] = json_number_value(value);
        if (json_is_number(value) && numbers[i] >= 0 && isfinite((float)numbers[i]))
            continue;
        free(numbers);
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s[%zu] is %s; it must be a number of 0 or more", where, i,
                        mst_option_show(value, text));
    }
    free(*out);
    *out = numbers;
    return MST_OK;
}

static mst_status read_piecewise(const json_t *config, const char *path, struct mst_schedule *schedule,
                                 struct mst_error *err)
{
    const json_t *boundaries = json_object_get(config, "boundaries");
    const json_t *values = json_object_get(config, "values");
    char *where = mst_text("%s.config.boundaries", path);
    mst_status status = read_list(boundaries, where, &schedule->boundaries, err);
    free(where);
    MST_TRY(status);
    where = mst_text("%s.config.values", path);
    status = read_list(values, where, &schedule->values, err);
    free(where);
    MST_TRY(status);
    schedule->n_boundaries = json_array_size(boundaries);
    if (json_array_size(values) != schedule->n_boundaries + 1)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s.config has %zu values and %zu boundaries; there must be one value "
                        "more",
                        path, json_array_size(values), schedule->n_boundaries);
    for (size_t i = 1; i < schedule->n_boundaries; i++)
        if (schedule->boundaries[i] <= schedule->boundaries[i - 1])
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.boundaries[%zu] is not above the one before it", path,
                            i);
    return MST_OK;
}

static mst_status read_option(const char *name, const json_t *value, const char *path, struct mst_schedule *schedule,
                              struct mst_error *err)
{
    unsigned owner = 1u << schedule->kind;
    const struct mst_option *option = mst_option_find(options, N_OPTIONS, owner, name);
    if (!option)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.%.64s is not an option of %s; the nearest is \"%s\"",
                        path, name, kinds[schedule->kind].name, mst_option_nearest(options, N_OPTIONS, owner, name));
    if (option->rule == MST_OPTION_OTHER)
        return MST_OK; // read_piecewise reads them together
    char *where = mst_text("%s.config.%s", path, name);
    mst_status status = mst_option_read(option, value, where, schedule, err);
    free(where);
    return status;
}

static mst_status read_config(const json_t *config, const char *path, struct mst_schedule *schedule,
                              struct mst_error *err)
{
    const struct kind *kind = &kinds[schedule->kind];
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)config, name, value) MST_TRY(read_option(name, value, path, schedule, err));
    for (size_t i = 0; i < 3 && kind->needs[i]; i++)
        if (!json_object_get(config, kind->needs[i]))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: %s needs \"%s\" in its config", path, kind->name,
                            kind->needs[i]);
    return schedule->kind == MST_SCHEDULE_PIECEWISE ? read_piecewise(config, path, schedule, err) : MST_OK;
}

static mst_status read_class(const json_t *json, const char *path, struct mst_schedule *schedule, struct mst_error *err)
{
    const char *name = json_string_value(json_object_get(json, "class_name"));
    *schedule = (struct mst_schedule){
        .end = 0.0001, .power = 1.0, .t_mul = 2.0, .m_mul = 1.0, .warmup_target = NAN}; // Keras's defaults
    for (unsigned k = 0; name && k < MST_N_SCHEDULES; k++)
        if (strcmp(name, kinds[k].name) == 0) {
            schedule->kind = (enum mst_schedule_kind)k;
            return MST_OK;
        }
    if (!name)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has no \"class_name\" text; it must be a number or a schedule",
                        path);
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s: %.64s is no schedule; there are ExponentialDecay, InverseTimeDecay, PolynomialDecay, "
                    "CosineDecay, CosineDecayRestarts, PiecewiseConstantDecay",
                    path, name);
}

mst_status mst_schedule_parse(const json_t *json, const char *path, struct mst_schedule **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_schedule *schedule = mst_alloc(sizeof *schedule);
    char text[MST_OPTION_SHOWN_BYTES];
    mst_status status = read_class(json, path, schedule, err);
    const json_t *config = json_object_get(json, "config");
    if (status == MST_OK && !json_is_object(config))
        status = mst_fail(err, MST_INVALID_ARGUMENT, "%s.config is %s; it must be an object", path,
                          config ? mst_option_show(config, text) : "missing");
    if (status == MST_OK)
        status = read_config(config, path, schedule, err);
    if (status == MST_OK)
        *out = schedule;
    else
        mst_schedule_free(schedule);
    return status;
}

static json_t *json_of_list(const double *numbers, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        MST_ASSERT(json_array_append_new(list, json_real(numbers[i])) == 0);
    return list;
}

json_t *mst_schedule_to_json(const struct mst_schedule *schedule)
{
    json_t *config = json_object();
    mst_options_print(options, N_OPTIONS, 1u << schedule->kind, schedule, config);
    if (schedule->kind == MST_SCHEDULE_PIECEWISE) {
        json_object_set_new(config, "boundaries", json_of_list(schedule->boundaries, schedule->n_boundaries));
        json_object_set_new(config, "values", json_of_list(schedule->values, schedule->n_boundaries + 1));
    }
    json_t *json = json_pack("{s:s, s:o}", "class_name", kinds[schedule->kind].name, "config", config);
    MST_ASSERT(json); // only memory can be missing
    return json;
}
