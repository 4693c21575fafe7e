// A rule is a range and a sentence; the sentence says the range, so that a refusal tells what would be accepted.
#include "option.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const wanted[] = {
    [MST_OPTION_NOT_NEGATIVE] = "a number of 0 or more",
    [MST_OPTION_POSITIVE] = "a number above 0",
    [MST_OPTION_NOT_POSITIVE] = "a number of 0 or less",
    [MST_OPTION_FROM_1] = "a number of 1 or more",
    [MST_OPTION_TO_1] = "a number from 0 to 1",
    [MST_OPTION_BELOW_1] = "a number from 0 to below 1",
    [MST_OPTION_ABOVE_0_TO_1] = "a number from above 0 to 1",
    [MST_OPTION_OR_OFF] = "a number of 0 or more, or null",
    [MST_OPTION_OR_NULL] = "a number of 0 or more, or null",
};

const char *mst_option_show(const json_t *value, char out[MST_OPTION_SHOWN_BYTES])
{
    // 15 digits: what was written as 0.1 is shown as 0.1
    char *whole = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    snprintf(out, MST_OPTION_SHOWN_BYTES, "%s", whole ? whole : "?");
    free(whole);
    return out;
}

const struct mst_option *mst_option_find(const struct mst_option *options, size_t n, unsigned owner, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if ((options[i].owners & owner) && strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

// Levenshtein distance; words of 64 letters and more are far from everything.
static size_t distance(const char *a, const char *b)
{
    size_t row[64];
    size_t n_a = strlen(a);
    size_t n_b = strlen(b);
    if (n_a >= 64 || n_b >= 64)
        return 64;
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 0; i < n_a; i++) {
        size_t diagonal = row[0]++;
        for (size_t j = 1; j <= n_b; j++) {
            size_t best = diagonal + (a[i] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n_b];
}

const char *mst_option_nearest(const struct mst_option *options, size_t n, unsigned owner, const char *name)
{
    const char *nearest = options[0].name;
    size_t least = 64;
    for (size_t i = 0; i < n; i++)
        if ((options[i].owners & owner) && distance(name, options[i].name) < least) {
            least = distance(name, options[i].name);
            nearest = options[i].name;
        }
    return nearest;
}

static bool is_in_range(double number, enum mst_option_rule rule)
{
    float rounded = (float)number;
    if (rule == MST_OPTION_NOT_POSITIVE)
        return number <= 0 && isfinite(rounded);
    if (!(number >= 0) || !isfinite(rounded))
        return false;
    switch (rule) {
    case MST_OPTION_POSITIVE:
        return rounded > 0;
    case MST_OPTION_FROM_1:
        return number >= 1;
    case MST_OPTION_TO_1:
        return number <= 1;
    case MST_OPTION_BELOW_1:
        return rounded < 1; // what float32 rounds to 1 would divide by zero
    case MST_OPTION_ABOVE_0_TO_1:
        return rounded > 0 && number <= 1;
    default:
        return true;
    }
}

static bool is_off(const json_t *value, enum mst_option_rule rule)
{
    if (json_is_null(value))
        return true;
    return rule == MST_OPTION_ONLY_OFF &&
           (json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0));
}

mst_status mst_option_read(const struct mst_option *option, const json_t *value, const char *where, void *object,
                           struct mst_error *err)
{
    char text[MST_OPTION_SHOWN_BYTES];
    char *at = (char *)object + option->offset;
    enum mst_option_rule rule = option->rule;
    double number = json_number_value(value);
    if (rule == MST_OPTION_IGNORED)
        return MST_OK;
    if (rule == MST_OPTION_ONLY_OFF || rule == MST_OPTION_ONLY_NULL) {
        if (is_off(value, rule))
            return MST_OK;
        return mst_fail(err, MST_UNIMPLEMENTED, "%s is %s, but that option is not built yet; leave it out or null",
                        where, mst_option_show(value, text));
    }
    if (rule == MST_OPTION_BOOL) {
        bool is_true = json_is_true(value);
        if (!json_is_boolean(value))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it must be true or false", where,
                            mst_option_show(value, text));
        memcpy(at, &is_true, sizeof is_true);
        return MST_OK;
    }
    if (rule == MST_OPTION_OR_OFF && (json_is_null(value) || json_is_false(value)))
        number = 0;
    else if (rule == MST_OPTION_OR_NULL && json_is_null(value))
        number = NAN;
    else if (!json_is_number(value) || !is_in_range(number, rule))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it must be %s", where, mst_option_show(value, text),
                        wanted[rule]);
    memcpy(at, &number, sizeof number);
    return MST_OK;
}

static json_t *json_of(const struct mst_option *option, const void *object)
{
    const char *at = (const char *)object + option->offset;
    double number;
    bool is_true;
    if (option->rule == MST_OPTION_BOOL) {
        memcpy(&is_true, at, sizeof is_true);
        return json_boolean(is_true);
    }
    memcpy(&number, at, sizeof number);
    return isnan(number) ? json_null() : json_real(number);
}

void mst_options_print(const struct mst_option *options, size_t n, unsigned owner, const void *object, json_t *config)
{
    for (size_t i = 0; i < n; i++) {
        const struct mst_option *option = &options[i];
        if (!(option->owners & owner) || option->rule >= MST_OPTION_OTHER)
            continue;
        json_t *value = json_of(option, object);
        if (option->rule == MST_OPTION_OR_OFF && json_real_value(value) == 0)
            json_decref(value);
        else
            MST_ASSERT(json_object_set_new(config, option->name, value) == 0); // only memory can be missing
    }
}
