#include "model_texts.h"

#include "base/bytes.h"
#include "model/model.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *model_text(const char *layers)
{
    char *text = NULL;
    if (asprintf(&text, "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": [%s]}}", layers) <
        0)
        abort();
    return text;
}

struct mst_model *model_parse_right(const char *text)
{
    struct mst_error err = {""};
    struct mst_model *model = NULL;
    if (mst_model_parse((struct mst_bytes){text, strlen(text)}, "model.json", &model, &err) != MST_OK)
        fail_msg("%s", err.text);
    return model;
}

// Equal, or with "…" at the end of wanted, its beginning.
static bool says(const char *sentence, const char *wanted)
{
    static const char more[] = "…";
    size_t len = strlen(wanted);
    if (len < sizeof more - 1 || strcmp(wanted + len - (sizeof more - 1), more) != 0)
        return strcmp(sentence, wanted) == 0;
    return strncmp(sentence, wanted, len - (sizeof more - 1)) == 0;
}

void model_check_refused(const char *text, mst_status status, const char *wanted)
{
    struct mst_error err = {""};
    struct mst_model *model = NULL;
    mst_status got = mst_model_parse((struct mst_bytes){text, strlen(text)}, "model.json", &model, &err);
    bool has_prefix = strncmp(err.text, "model.json:", 11) == 0;
    const char *sentence = has_prefix ? err.text + 11 + (err.text[11] == ' ') : err.text;
    if (got != status || !has_prefix || !says(sentence, wanted))
        fail_msg("wanted %s (%s)\n      got    %s (%s)", wanted, mst_status_name(status), err.text,
                 mst_status_name(got));
    assert_null(model);
    assert_int_equal(mst_model_parse((struct mst_bytes){text, strlen(text)}, "model.json", &model, NULL), status);
}

char *model_layer_canonical(const struct mst_model *model, size_t layer)
{
    char *text = mst_model_canonical_json(model);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    free(text);
    text = json_dumps(json_array_get(json_object_get(json, "layers"), layer), JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(json);
    return text;
}
