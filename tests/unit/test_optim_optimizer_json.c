// Optimizers as Keras 3 prints them, as people write them, and what is refused: by the key's name, never passed over.
#include "muster/status.h"
#include "optim/optimizer.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mst_status parse(const char *text, struct mst_optimizer **out, struct mst_error *err)
{
    json_error_t where;
    json_t *json = json_loads(text, JSON_DECODE_ANY, &where);
    if (!json)
        fail_msg("%s: %s", text, where.text);
    mst_status status = mst_optimizer_parse(json, "compile.optimizer", out, err);
    json_decref(json);
    return status;
}

static void check_refused(const char *text, mst_status status, const char *sentence)
{
    struct mst_error err = {0};
    struct mst_optimizer *optimizer = (struct mst_optimizer *)&err;
    mst_status got = parse(text, &optimizer, &err);
    if (got != status || strcmp(err.text, sentence) != 0)
        fail_msg("%s\n got %s: %s\nwant %s: %s", text, mst_status_name(got), err.text, mst_status_name(status),
                 sentence);
    assert_null(optimizer);
}

// What is understood, printed again.
static void check_read(const char *text, const char *printed)
{
    struct mst_error err = {0};
    struct mst_optimizer *optimizer;
    if (parse(text, &optimizer, &err) != MST_OK)
        fail_msg("%s: %s", text, err.text);
    json_t *json = mst_optimizer_to_json(optimizer);
    char *got = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    assert_string_equal(got, printed);
    free(got);
    json_decref(json);
    mst_optimizer_free(optimizer);
}

#define SGD_DEFAULT "{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":0.01,\"momentum\":0.0,\"nesterov\":false}}"
#define ADAM_DEFAULT                                                                                                   \
    "{\"class_name\":\"Adam\",\"config\":{\"amsgrad\":false,\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-7,"         \
    "\"learning_rate\":0.001}}"

static void test_names(void **state)
{
    (void)state;
    check_read("\"sgd\"", SGD_DEFAULT);
    check_read("\"SGD\"", SGD_DEFAULT);
    check_read("\"adam\"", ADAM_DEFAULT);
    check_read("\"Adam\"", ADAM_DEFAULT);
    check_read("{\"class_name\":\"SGD\"}", SGD_DEFAULT);
    check_read("{\"class_name\":\"Adam\",\"config\":null}", ADAM_DEFAULT);
    check_read("{\"class_name\":\"Adam\",\"config\":{}}", ADAM_DEFAULT);
    check_read("{\"class_name\":\"Custom>Adam\",\"config\":{}}", ADAM_DEFAULT);
}

// Exactly what keras.saving.serialize_keras_object prints in 3.15, and what Keras 2.15 printed.
static void test_serialised_by_keras(void **state)
{
    (void)state;
    check_read("{\"module\":\"keras.optimizers\",\"class_name\":\"SGD\",\"config\":{\"name\":\"sgd_2\","
               "\"learning_rate\":0.05000000074505806,\"weight_decay\":null,\"clipnorm\":null,"
               "\"global_clipnorm\":null,\"clipvalue\":null,\"use_ema\":false,\"ema_momentum\":0.99,"
               "\"ema_overwrite_frequency\":null,\"loss_scale_factor\":null,\"gradient_accumulation_steps\":null,"
               "\"momentum\":0.9,\"nesterov\":true},\"registered_name\":null}",
               "{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":0.0500000007,\"momentum\":0.9,"
               "\"nesterov\":true}}");
    check_read("{\"module\":\"keras.optimizers\",\"class_name\":\"Adam\",\"config\":{\"name\":\"adam\","
               "\"learning_rate\":0.0020000000949949026,\"weight_decay\":null,\"clipnorm\":null,"
               "\"global_clipnorm\":null,\"clipvalue\":null,\"use_ema\":false,\"ema_momentum\":0.99,"
               "\"ema_overwrite_frequency\":null,\"loss_scale_factor\":null,\"gradient_accumulation_steps\":null,"
               "\"beta_1\":0.8,\"beta_2\":0.99,\"epsilon\":1e-05,\"amsgrad\":true},\"registered_name\":null}",
               "{\"class_name\":\"Adam\",\"config\":{\"amsgrad\":true,\"beta_1\":0.8,\"beta_2\":0.99,"
               "\"epsilon\":1e-5,\"learning_rate\":0.00200000009}}");
    check_read("{\"module\":\"keras.optimizers\",\"class_name\":\"SGD\",\"config\":{\"name\":\"SGD\","
               "\"weight_decay\":null,\"clipnorm\":null,\"global_clipnorm\":null,\"clipvalue\":null,"
               "\"use_ema\":false,\"ema_momentum\":0.99,\"ema_overwrite_frequency\":null,\"jit_compile\":false,"
               "\"is_legacy_optimizer\":false,\"learning_rate\":0.01,\"momentum\":0.0,\"nesterov\":false},"
               "\"registered_name\":null}",
               SGD_DEFAULT);
    check_read("{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":1,\"momentum\":0,\"weight_decay\":0.0,"
               "\"use_ema\":null}}",
               "{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":1.0,\"momentum\":0.0,\"nesterov\":false}}");
}

// Options whose feature is not built: at its default a key is read, with any other value it is refused by name.
static void test_options_not_built(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        const char *value;
    } options[] = {{"weight_decay", "0.01"},
                   {"clipnorm", "1.0"},
                   {"clipnorm", "0.0"}, // Keras clips everything to nothing then
                   {"global_clipnorm", "5"},
                   {"clipvalue", "0.5"},
                   {"use_ema", "true"},
                   {"loss_scale_factor", "1024.0"},
                   {"gradient_accumulation_steps", "4"},
                   {"decay", "0.0001"}};
    static const char *const classes[] = {"SGD", "Adam"};
    char text[256], sentence[256];
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        for (size_t c = 0; c < 2; c++) {
            snprintf(text, sizeof text, "{\"class_name\":\"%s\",\"config\":{\"%s\":%s}}", classes[c], options[i].key,
                     options[i].value);
            snprintf(sentence, sizeof sentence,
                     "compile.optimizer.config.%s is %s, but that option is not built yet; leave it out or null",
                     options[i].key, options[i].value);
            check_refused(text, MST_UNIMPLEMENTED, sentence);
            snprintf(text, sizeof text, "{\"class_name\":\"%s\",\"config\":{\"%s\":null}}", classes[c], options[i].key);
            check_read(text, c == 0 ? SGD_DEFAULT : ADAM_DEFAULT);
        }
}

static void test_schedules_not_built(void **state)
{
    (void)state;
    static const char *const schedules[] = {"ExponentialDecay", "PiecewiseConstantDecay",
                                            "PolynomialDecay",  "InverseTimeDecay",
                                            "CosineDecay",      "CosineDecayRestarts"};
    char text[512], sentence[256];
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
        snprintf(text, sizeof text,
                 "{\"class_name\":\"Adam\",\"config\":{\"learning_rate\":{\"module\":\"keras.optimizers.schedules\","
                 "\"class_name\":\"%s\",\"config\":{\"name\":null},\"registered_name\":null}}}",
                 schedules[i]);
        snprintf(sentence, sizeof sentence,
                 "compile.optimizer.config.learning_rate: the schedule %s is not built yet; give a number",
                 schedules[i]);
        check_refused(text, MST_UNIMPLEMENTED, sentence);
    }
}

static void test_optimizers_not_built(void **state)
{
    (void)state;
    static const char *const others[] = {"RMSprop",
                                         "AdamW",
                                         "Adadelta",
                                         "Adagrad",
                                         "Adamax",
                                         "Nadam",
                                         "Ftrl",
                                         "Adafactor",
                                         "Lion",
                                         "Lamb",
                                         "Muon",
                                         "LossScaleOptimizer",
                                         "ScheduleFreeAdamW",
                                         "MultiOptimizer"};
    char text[128], sentence[256];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(text, sizeof text, "{\"class_name\":\"%s\",\"config\":{\"anything\":1}}", others[i]);
        snprintf(sentence, sizeof sentence, "compile.optimizer: the optimizer %s is not built yet; there are SGD, Adam",
                 others[i]);
        check_refused(text, MST_UNIMPLEMENTED, sentence);
    }
    check_refused("\"rmsprop\"", MST_UNIMPLEMENTED,
                  "compile.optimizer: the optimizer RMSprop is not built yet; there are SGD, Adam");
    check_refused("\"adm\"", MST_INVALID_ARGUMENT, "compile.optimizer: \"adm\" is no optimizer; there are SGD, Adam");
}

#define CONFIG(key_value) "{\"class_name\":\"Adam\",\"config\":{" key_value "}}"
#define AT(key)           "compile.optimizer.config." key

static void test_bad_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *sentence;
    } cases[] = {
        {CONFIG("\"learning_rate\":-0.1"), AT("learning_rate is -0.1; it must be a number of 0 or more")},
        {CONFIG("\"learning_rate\":\"0.1\""), AT("learning_rate is \"0.1\"; it must be a number of 0 or more")},
        {CONFIG("\"learning_rate\":1e39"), AT("learning_rate is 1e39; it must be a number of 0 or more")},
        {CONFIG("\"learning_rate\":null"), AT("learning_rate is null; it must be a number of 0 or more")},
        {CONFIG("\"learning_rate\":true"), AT("learning_rate is true; it must be a number of 0 or more")},
        {CONFIG("\"beta_1\":1"), AT("beta_1 is 1; it must be a number from 0 to below 1")},
        {CONFIG("\"beta_2\":0.99999999"), AT("beta_2 is 0.99999999; it must be a number from 0 to below 1")},
        {CONFIG("\"beta_2\":-0.5"), AT("beta_2 is -0.5; it must be a number from 0 to below 1")},
        {CONFIG("\"epsilon\":-1"), AT("epsilon is -1; it must be a number of 0 or more")},
        {CONFIG("\"epsilon\":[]"), AT("epsilon is []; it must be a number of 0 or more")},
        {CONFIG("\"amsgrad\":1"), AT("amsgrad is 1; it must be true or false")},
        {CONFIG("\"learnign_rate\":0.1"),
         AT("learnign_rate is not an option of Adam; the nearest is \"learning_rate\"")},
        {CONFIG("\"momentum\":0.1"), AT("momentum is not an option of Adam; the nearest is \"ema_momentum\"")},
        {"{\"class_name\":\"SGD\",\"config\":{\"momentum\":1.5}}",
         AT("momentum is 1.5; it must be a number from 0 to 1")},
        {"{\"class_name\":\"SGD\",\"config\":{\"momentum\":\"0.9\"}}",
         AT("momentum is \"0.9\"; it must be a number from 0 to 1")},
        {"{\"class_name\":\"SGD\",\"config\":{\"nesterov\":null}}", AT("nesterov is null; it must be true or false")},
        {"{\"class_name\":\"SGD\",\"config\":{\"beta_1\":0.9}}",
         AT("beta_1 is not an option of SGD; the nearest is \"decay\"")},
        {"{\"class_name\":\"SGD\",\"learning_rate\":0.1}",
         "compile.optimizer.learning_rate is no key of a serialised optimizer; options belong into \"config\""},
        {"{\"class_name\":\"SGD\",\"config\":[0.1]}", "compile.optimizer.config is [0.1]; it must be an object"},
        {"{\"config\":{}}", "compile.optimizer has no \"class_name\" text; there are SGD, Adam"},
        {"{\"class_name\":7}", "compile.optimizer has no \"class_name\" text; there are SGD, Adam"},
        {"7", "compile.optimizer is 7; it must be an optimizer's name or {\"class_name\", \"config\"}"},
        {"null", "compile.optimizer is null; it must be an optimizer's name or {\"class_name\", \"config\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(cases[i].text, MST_INVALID_ARGUMENT, cases[i].sentence);
    struct mst_error err = {0};
    struct mst_optimizer *optimizer;
    assert_int_equal(mst_optimizer_parse(NULL, "compile.optimizer", &optimizer, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text,
                        "compile.optimizer is missing; it must be an optimizer's name or {\"class_name\", \"config\"}");
    mst_optimizer_free(NULL);
}

// Long values and names are cut, not copied past an end.
static void test_long_values(void **state)
{
    (void)state;
    struct mst_error err = {0};
    struct mst_optimizer *optimizer;
    char text[4096], word[3000];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    static const char *const forms[] = {
        "{\"class_name\":\"%s\"}", "{\"class_name\":\"SGD\",\"config\":{\"%s\":1}}",
        "{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":\"%s\"}}",
        "{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":{\"class_name\":\"%s\"}}}",
        "{\"class_name\":\"SGD\",\"%s\":1}"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        snprintf(text, sizeof text, forms[i], word);
        assert_int_not_equal(parse(text, &optimizer, &err), MST_OK);
        assert_true(strlen(err.text) < 300);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_serialised_by_keras),
        cmocka_unit_test(test_options_not_built),
        cmocka_unit_test(test_schedules_not_built),
        cmocka_unit_test(test_optimizers_not_built),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_long_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
