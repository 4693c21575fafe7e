// A whole dump is read into memory: the largest has a megabyte.
#include "golden_file.h"

#include "base/alloc.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 256 };

struct golden {
    json_t *header;
    json_t *tensors; // by name
    char *bytes;     // the file
    float *floats;
    size_t n_floats;
};

static const char *dumps = "dumps";

void golden_folder(const char *folder)
{
    dumps = folder;
}

static char *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *len = (size_t)ftell(file);
    rewind(file);
    char *bytes = mst_alloc(*len + 1);
    assert_int_equal(fread(bytes, 1, *len, file), *len);
    fclose(file);
    return bytes;
}

struct golden *golden_open(const char *name)
{
    struct golden *golden = mst_alloc(sizeof *golden);
    json_error_t error;
    json_t *tensor;
    size_t i, len;
    char *path = mst_text("%s/%s.golden", dumps, name);
    golden->bytes = read_file(path, &len);
    char *end = memchr(golden->bytes, '\n', len);
    if (!end)
        fail_msg("%s has no header", path);
    golden->header = json_loadb(golden->bytes, (size_t)(end - golden->bytes), JSON_REJECT_DUPLICATES, &error);
    if (!golden->header)
        fail_msg("%s: %s", path, error.text);
    golden->n_floats = (len - (size_t)(end + 1 - golden->bytes)) / sizeof(float);
    golden->floats = mst_alloc_array(golden->n_floats, sizeof(float)); // the file's are not aligned
    memcpy(golden->floats, end + 1, golden->n_floats * sizeof(float));
    golden->tensors = json_object();
    json_array_foreach(json_object_get(golden->header, "tensors"), i, tensor)
        json_object_set(golden->tensors, json_string_value(json_object_get(tensor, "name")), tensor);
    assert_true(golden_n_cases(golden) > 0);
    free(path);
    return golden;
}

void golden_free(struct golden *golden)
{
    json_decref(golden->tensors);
    json_decref(golden->header);
    free(golden->floats);
    free(golden->bytes);
    free(golden);
}

size_t golden_n_cases(const struct golden *golden)
{
    return json_array_size(json_object_get(golden->header, "cases"));
}

const json_t *golden_case_value(const struct golden *golden, size_t index, const char *key)
{
    const json_t *value = json_object_get(json_array_get(json_object_get(golden->header, "cases"), index), key);
    if (!value)
        fail_msg("case %zu has no \"%s\"", index, key);
    return value;
}

const char *golden_case_name(const struct golden *golden, size_t index)
{
    return json_string_value(golden_case_value(golden, index, "name"));
}

const float *golden_tensor(const struct golden *golden, size_t *n, const char *format, ...)
{
    char name[NAME_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    const json_t *tensor = json_object_get(golden->tensors, name);
    const json_t *axis;
    size_t i;
    if (!tensor)
        fail_msg("there is no tensor %s", name);
    size_t offset = (size_t)json_integer_value(json_object_get(tensor, "offset"));
    *n = 1;
    json_array_foreach(json_object_get(tensor, "shape"), i, axis)
        *n *= (size_t)json_integer_value(axis);
    assert_true(offset + *n <= golden->n_floats);
    return golden->floats + offset;
}

bool golden_has_tensor(const struct golden *golden, const char *format, ...)
{
    char name[NAME_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    return json_object_get(golden->tensors, name) != NULL;
}

struct mst_model *golden_model(const struct golden *golden, size_t index)
{
    struct mst_error err = {0};
    struct mst_model *model;
    char *text = json_dumps(golden_case_value(golden, index, "model"), JSON_COMPACT);
    assert_non_null(text);
    struct mst_bytes bytes = {text, strlen(text)};
    if (mst_model_parse(bytes, golden_case_name(golden, index), &model, &err) != MST_OK)
        fail_msg("%s", err.text);
    free(text);
    return model;
}

struct mst_compile golden_compile(const struct golden *golden, size_t index, const struct mst_model *model)
{
    struct mst_error err = {0};
    struct mst_compile compile;
    const json_t *json = golden_case_value(golden, index, "compile");
    if (mst_compile_parse(json, "compile", model, &compile, &err) != MST_OK)
        fail_msg("%s: %s", golden_case_name(golden, index), err.text);
    return compile;
}

int32_t *golden_to_int32(const float *values, size_t n)
{
    int32_t *out = mst_alloc_array(n, sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i] = (int32_t)values[i];
    return out;
}

uint8_t *golden_to_uint8(const float *values, size_t n)
{
    uint8_t *out = mst_alloc_array(n, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        if (!(values[i] >= 0 && values[i] <= 255) || values[i] != (float)(uint8_t)values[i]) {
            free(out);
            return NULL;
        }
        out[i] = (uint8_t)values[i];
    }
    return out;
}
