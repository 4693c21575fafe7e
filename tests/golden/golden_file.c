// A whole dump is read into memory: the largest has a megabyte. Tensors of which it has only the formula are made
// when they are asked for, and kept.
#include "golden_file.h"

#include "base/alloc.h"
#include "muster/status.h"
#include "tests/lib/tensors_equal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
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
    float **made; // by the tensor's place in the header: NULL until asked for
    size_t n_tensors;
};

static const char *dumps = "dumps";

void golden_folder(const char *folder)
{
    dumps = folder;
}

static _Noreturn void give_up(const char *path, const char *why)
{
    fprintf(stderr, "%s: %s\n", path, why);
    exit(1);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        give_up(path, "cannot be opened");
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *len = (size_t)ftell(file);
    assert_int_equal(fseek(file, 0, SEEK_SET), 0);
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
        give_up(path, "no header");
    golden->header = json_loadb(golden->bytes, (size_t)(end - golden->bytes), JSON_REJECT_DUPLICATES, &error);
    if (!golden->header)
        give_up(path, error.text);
    golden->n_floats = (len - (size_t)(end + 1 - golden->bytes)) / sizeof(float);
    golden->floats = mst_alloc_array(golden->n_floats, sizeof(float)); // the file's are not aligned
    memcpy(golden->floats, end + 1, golden->n_floats * sizeof(float));
    golden->tensors = json_object();
    json_array_foreach(json_object_get(golden->header, "tensors"), i, tensor)
    {
        json_object_set_new(tensor, "place", json_integer((json_int_t)i));
        json_object_set(golden->tensors, json_string_value(json_object_get(tensor, "name")), tensor);
    }
    golden->n_tensors = json_array_size(json_object_get(golden->header, "tensors"));
    golden->made = mst_alloc_array(golden->n_tensors, sizeof *golden->made);
    assert_true(golden_n_cases(golden) > 0);
    free(path);
    return golden;
}

void golden_free(struct golden *golden)
{
    json_decref(golden->tensors);
    json_decref(golden->header);
    for (size_t i = 0; i < golden->n_tensors; i++)
        free(golden->made[i]);
    free(golden->made);
    free(golden->floats);
    free(golden->bytes);
    free(golden);
}

size_t golden_n_cases(struct golden *golden)
{
    return json_array_size(json_object_get(golden->header, "cases"));
}

const json_t *golden_case_value(struct golden *golden, size_t index, const char *key)
{
    const json_t *value = json_object_get(json_array_get(json_object_get(golden->header, "cases"), index), key);
    if (!value)
        fail_msg("case %zu has no \"%s\"", index, key);
    return value;
}

const char *golden_case_name(struct golden *golden, size_t index)
{
    return json_string_value(golden_case_value(golden, index, "name"));
}

// generate.py: mix
static uint32_t mix(uint64_t i, uint64_t seed)
{
    uint32_t h = (uint32_t)(i * 0x9E3779B1u + seed);
    h = (h ^ h >> 15) * 0x85EBCA6Bu;
    h = (h ^ h >> 15) * 0xC2B2AE35u;
    return h ^ h >> 16;
}

static float *make(const json_t *tensor, size_t n)
{
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(tensor, "seed"));
    double scale = json_number_value(json_object_get(tensor, "scale"));
    bool is_whole = strcmp(json_string_value(json_object_get(tensor, "kind")), "whole") == 0;
    float *values = mst_alloc_array(n, sizeof *values);
    for (size_t i = 0; i < n; i++) {
        uint32_t word = mix(i, seed);
        values[i] =
            is_whole ? (float)(word * (uint64_t)scale >> 32) : (float)(((double)(word >> 8) * 0x1p-23 - 1.0) * scale);
    }
    return values;
}

// The tensor's entry, its number of elements, and of how many one is kept.
static const json_t *find(const struct golden *golden, const char *name, size_t *n, size_t *stride)
{
    const json_t *tensor = json_object_get(golden->tensors, name);
    const json_t *axis;
    size_t i;
    if (!tensor)
        fail_msg("there is no tensor %s", name);
    *n = 1;
    json_array_foreach(json_object_get(tensor, "shape"), i, axis) *n *= (size_t)json_integer_value(axis);
    const json_t *kept = json_object_get(tensor, "stride");
    *stride = kept ? (size_t)json_integer_value(kept) : 1;
    return tensor;
}

static const float *stored(const struct golden *golden, const json_t *tensor, size_t n)
{
    size_t offset = (size_t)json_integer_value(json_object_get(tensor, "offset"));
    assert_true(offset + n <= golden->n_floats);
    return golden->floats + offset;
}

const float *golden_tensor(struct golden *golden, size_t *n, const char *format, ...)
{
    char name[NAME_BYTES];
    size_t stride;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    const json_t *tensor = find(golden, name, n, &stride);
    assert_int_equal(stride, 1);
    if (!json_object_get(tensor, "kind"))
        return stored(golden, tensor, *n);
    float **made = &golden->made[json_integer_value(json_object_get(tensor, "place"))];
    if (!*made)
        *made = make(tensor, *n);
    return *made;
}

double golden_largest(struct golden *golden, const char *format, ...)
{
    char name[NAME_BYTES];
    size_t n;
    double largest = 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    const float *values = golden_tensor(golden, &n, "%s", name);
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)values[i]));
    return largest;
}

bool golden_close(struct golden *golden, const float *got, size_t n, double tolerance, const char *format, ...)
{
    char name[NAME_BYTES];
    size_t n_whole, stride;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    const json_t *tensor = find(golden, name, &n_whole, &stride);
    if (n != n_whole)
        fail_msg("%s: %zu values instead of %zu", name, n, n_whole);
    size_t n_kept = (n + stride - 1) / stride;
    float *kept = mst_alloc_array(n_kept, sizeof *kept);
    for (size_t i = 0; i < n_kept; i++)
        kept[i] = got[i * stride];
    bool is_close = mst_test_floats_close(name, kept, stored(golden, tensor, n_kept), n_kept, tolerance);
    free(kept);
    return is_close;
}

struct mst_model *golden_model(struct golden *golden, size_t index)
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

struct mst_compile golden_compile(struct golden *golden, size_t index, const struct mst_model *model)
{
    struct mst_error err = {0};
    struct mst_compile compile;
    const json_t *json = golden_case_value(golden, index, "compile");
    if (mst_compile_parse(json, "compile", model, &compile, &err) != MST_OK)
        fail_msg("%s: %s", golden_case_name(golden, index), err.text);
    json = json_object_get(json_array_get(json_object_get(golden->header, "cases"), index), "class_weight");
    if (mst_compile_set_class_weights(&compile, json, "class_weight", &err) != MST_OK)
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
