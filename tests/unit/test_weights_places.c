// Where Keras's files keep a model's weights: counted by class in an archive, over the layers with weights in a
// checkpoint.
#include "../../common/weights/places.h"

#include "model_texts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define LAYER(class, name) "{\"class_name\": \"" class "\", \"config\": {\"name\": \"" name "\"}}"

static void test_sequential(void **state)
{
    (void)state;
    char *text = model_text(MODEL_INPUT("[null, 6]") "," MODEL_DENSE("first", "5") "," LAYER("ReLU", "re_lu") "," LAYER(
        "LeakyReLU", "leaky") "," MODEL_DENSE("second", "4"));
    struct mst_model *model = model_parse_right(text);
    struct mst_places *places;
    static const char *const wanted[][3] = {{"layers/dense/vars/0", "layer_with_weights-0/kernel", "first"},
                                            {"layers/dense/vars/1", "layer_with_weights-0/bias", "first"},
                                            {"layers/dense_1/vars/0", "layer_with_weights-1/kernel", "second"},
                                            {"layers/dense_1/vars/1", "layer_with_weights-1/bias", "second"}};
    assert_int_equal(mst_places_new(model, (struct mst_bytes){text, strlen(text)}, &places, NULL), MST_OK);
    assert_int_equal(places->n, 4);
    for (size_t v = 0; v < 4; v++) {
        assert_string_equal(places->items[v].archive, wanted[v][0]);
        assert_string_equal(places->items[v].checkpoint, wanted[v][1]);
        assert_string_equal(places->items[v].layer, wanted[v][2]);
    }
    mst_places_free(places);
    mst_model_free(model);
    free(text);
}

static void test_json_of_another_model(void **state)
{
    (void)state;
    char *text = model_text(MODEL_INPUT("[null, 6]") "," MODEL_DENSE("first", "5"));
    char *other = model_text(MODEL_INPUT("[null, 6]") "," MODEL_DENSE("other", "5"));
    struct mst_model *model = model_parse_right(text);
    struct mst_places *places;
    struct mst_error err;
    assert_int_equal(mst_places_new(model, (struct mst_bytes){other, strlen(other)}, &places, &err),
                     MST_INVALID_ARGUMENT);
    assert_null(places);
    assert_string_equal(err.text, "the model's JSON has no layer for its variable 'first/kernel'");
    mst_model_free(model);
    free(other);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequential),
        cmocka_unit_test(test_json_of_another_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
