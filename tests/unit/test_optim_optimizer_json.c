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

#define BUILT "SGD, Adam, AdamW, Adagrad, RMSprop, Lion, Adamax, Adadelta, Ftrl, Nadam"

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
    } options[] = {{"use_ema", "true"}, {"loss_scale_factor", "1024.0"}, {"gradient_accumulation_steps", "4"}};
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

// Weight decay and clipping by value: printed where they are on, and always for AdamW.
static void test_decay_and_clipping(void **state)
{
    (void)state;
    static const char *const off[] = {"{\"weight_decay\":null,\"clipvalue\":null}",
                                      "{\"weight_decay\":0.0,\"clipvalue\":0}", "{\"weight_decay\":false}"};
    char text[256];
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        snprintf(text, sizeof text, "{\"class_name\":\"SGD\",\"config\":%s}", off[i]);
        check_read(text, SGD_DEFAULT);
    }
    check_read("{\"class_name\":\"SGD\",\"config\":{\"weight_decay\":0.01,\"clipvalue\":2}}",
               "{\"class_name\":\"SGD\",\"config\":{\"clipvalue\":2.0,\"learning_rate\":0.01,\"momentum\":0.0,"
               "\"nesterov\":false,\"weight_decay\":0.01}}");
    check_read(
        "{\"class_name\":\"AdamW\",\"config\":{\"weight_decay\":0}}",
        "{\"class_name\":\"AdamW\",\"config\":{\"amsgrad\":false,\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-7,"
        "\"learning_rate\":0.001,\"weight_decay\":0.0}}");
    check_refused("{\"class_name\":\"AdamW\",\"config\":{\"weight_decay\":null}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.weight_decay is null; it must be a number of 0 or more");
    check_refused("{\"class_name\":\"Adam\",\"config\":{\"weight_decay\":-0.5}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.weight_decay is -0.5; it must be a number of 0 or more, or null");
    check_refused("{\"class_name\":\"Lion\",\"config\":{\"clipvalue\":\"1\"}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.clipvalue is \"1\"; it must be a number of 0 or more, or null");
    check_refused("{\"class_name\":\"AdamW\",\"config\":{\"exclude_from_weight_decay\":[\"bias\"]}}",
                  MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.exclude_from_weight_decay is not an option of AdamW; the nearest is "
                  "\"weight_decay\"");
}

// By norm: where whole variables are, so it is only read here. One of the three at most, as Keras demands.
static void test_clipping_by_norm(void **state)
{
    (void)state;
    check_read("{\"class_name\":\"SGD\",\"config\":{\"clipnorm\":1.5,\"global_clipnorm\":null}}",
               "{\"class_name\":\"SGD\",\"config\":{\"clipnorm\":1.5,\"learning_rate\":0.01,\"momentum\":0.0,"
               "\"nesterov\":false}}");
    check_read("{\"class_name\":\"SGD\",\"config\":{\"clipnorm\":0.0}}", SGD_DEFAULT);
    check_read("{\"class_name\":\"SGD\",\"config\":{\"global_clipnorm\":5}}",
               "{\"class_name\":\"SGD\",\"config\":{\"global_clipnorm\":5.0,\"learning_rate\":0.01,\"momentum\":0.0,"
               "\"nesterov\":false}}");
    check_refused(
        "{\"class_name\":\"Adam\",\"config\":{\"clipnorm\":1,\"clipvalue\":0.5}}", MST_INVALID_ARGUMENT,
        "compile.optimizer.config sets both clipnorm and clipvalue; only one of clipnorm, global_clipnorm and "
        "clipvalue can be set");
    check_refused("{\"class_name\":\"Adam\",\"config\":{\"global_clipnorm\":0,\"clipnorm\":1}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config sets both clipnorm and global_clipnorm; only one of clipnorm, "
                  "global_clipnorm and clipvalue can be set");
    check_refused("{\"class_name\":\"Adam\",\"config\":{\"clipnorm\":-1}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.clipnorm is -1; it must be a number of 0 or more, or null");
}

#define TF_KERAS                                                                                                       \
    "\"weight_decay\": null, \"clipnorm\": null, \"global_clipnorm\": null, \"clipvalue\": null, \"use_ema\": false, " \
    "\"ema_momentum\": 0.99, \"ema_overwrite_frequency\": null, \"jit_compile\": false, "                              \
    "\"is_legacy_optimizer\": false, "

// What tf_keras 2.19's optimizers.serialize prints; "Custom>" is its older format.
static void test_serialised_by_tf_keras(void **state)
{
    (void)state;
    check_read(
        "{\"module\": \"keras.optimizers\", \"class_name\": \"Adam\", \"config\": {\"name\": \"Adam\", " TF_KERAS
        "\"learning_rate\": 0.0010000000474974513, \"beta_1\": 0.9, \"beta_2\": 0.999, \"epsilon\": 1e-07, "
        "\"amsgrad\": false}, \"registered_name\": null}",
        "{\"class_name\":\"Adam\",\"config\":{\"amsgrad\":false,\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-7,"
        "\"learning_rate\":0.00100000005}}");
    check_read(
        "{\"module\": \"keras.optimizers\", \"class_name\": \"RMSprop\", \"config\": {\"name\": \"RMSprop\", "
        "\"weight_decay\": null, \"clipnorm\": null, \"global_clipnorm\": null, \"clipvalue\": null, "
        "\"use_ema\": false, \"ema_momentum\": 0.99, \"ema_overwrite_frequency\": 100, \"jit_compile\": false, "
        "\"is_legacy_optimizer\": false, \"learning_rate\": 0.0010000000474974513, \"rho\": 0.9, "
        "\"momentum\": 0.0, \"epsilon\": 1e-07, \"centered\": false}, \"registered_name\": null}",
        "{\"class_name\":\"RMSprop\",\"config\":{\"centered\":false,\"epsilon\":1e-7,\"learning_rate\":0.00100000005,"
        "\"momentum\":0.0,\"rho\":0.9}}");
    check_read("{\"module\": \"keras.optimizers\", \"class_name\": \"Lion\", \"config\": {\"name\": \"Lion\", " TF_KERAS
               "\"learning_rate\": 9.999999747378752e-05, \"beta_1\": 0.9, \"beta_2\": 0.99}, "
               "\"registered_name\": null}",
               "{\"class_name\":\"Lion\",\"config\":{\"beta_1\":0.9,\"beta_2\":0.99,\"learning_rate\":9.99999975e-5}}");
    check_read(
        "{\"module\": \"keras.optimizers\", \"class_name\": \"Nadam\", \"config\": {\"name\": \"Nadam\", " TF_KERAS
        "\"learning_rate\": 0.0010000000474974513, \"beta_1\": 0.9, \"beta_2\": 0.999, \"epsilon\": 1e-07}, "
        "\"registered_name\": null}",
        "{\"class_name\":\"Nadam\",\"config\":{\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-7,"
        "\"learning_rate\":0.00100000005}}");
    check_read(
        "{\"class_name\": \"Custom>Adam\", \"config\": {\"name\": \"Adam\", \"weight_decay\": 0.01, \"clipnorm\": 1.0, "
        "\"global_clipnorm\": null, \"clipvalue\": null, \"use_ema\": false, \"ema_momentum\": 0.99, "
        "\"ema_overwrite_frequency\": null, \"jit_compile\": false, \"is_legacy_optimizer\": false, "
        "\"learning_rate\": {\"module\": \"keras.optimizers.schedules\", \"class_name\": \"ExponentialDecay\", "
        "\"config\": {\"initial_learning_rate\": 0.1, \"decay_steps\": 30, \"decay_rate\": 0.9, \"staircase\": true, "
        "\"name\": null}, \"registered_name\": null}, \"beta_1\": 0.9, \"beta_2\": 0.999, \"epsilon\": 1e-07, "
        "\"amsgrad\": false}}",
        "{\"class_name\":\"Adam\",\"config\":{\"amsgrad\":false,\"beta_1\":0.9,\"beta_2\":0.999,\"clipnorm\":1.0,"
        "\"epsilon\":1e-7,\"learning_rate\":{\"class_name\":\"ExponentialDecay\",\"config\":{\"decay_rate\":0.9,"
        "\"decay_steps\":30.0,\"initial_learning_rate\":0.1,\"staircase\":true}},\"weight_decay\":0.01}}");
}

// keras.optimizers.legacy, with its decay; those that compute something else are refused, under each of their marks.
static void test_legacy_optimizers(void **state)
{
    (void)state;
    check_read("{\"module\": \"keras.optimizers.legacy\", \"class_name\": \"SGD\", \"config\": {\"name\": \"SGD\", "
               "\"learning_rate\": 0.1, \"decay\": 0.001, \"momentum\": 0.9, \"nesterov\": false}, "
               "\"registered_name\": null}",
               "{\"class_name\":\"SGD\",\"config\":{\"decay\":0.001,\"learning_rate\":0.1,\"momentum\":0.9,"
               "\"nesterov\":false}}");
    check_read("{\"class_name\": \"Adam\", \"config\": {\"name\": \"Adam\", \"learning_rate\": 0.001, \"decay\": 0.0, "
               "\"beta_1\": 0.9, \"beta_2\": 0.999, \"epsilon\": 1e-07, \"amsgrad\": false}}",
               ADAM_DEFAULT);
    check_read("{\"module\": \"keras.optimizers.legacy\", \"class_name\": \"RMSprop\", \"config\": {\"name\": "
               "\"RMSprop\", \"learning_rate\": 0.001, \"decay\": 0.0, \"rho\": 0.9, \"momentum\": 0.5, "
               "\"epsilon\": 1e-07, \"centered\": false}, \"registered_name\": null}",
               "{\"class_name\":\"RMSprop\",\"config\":{\"centered\":false,\"epsilon\":1e-7,\"learning_rate\":0.001,"
               "\"momentum\":0.5,\"rho\":0.9}}");
    static const char *const marks[] = {"{\"module\":\"keras.optimizers.legacy\",\"class_name\":\"%s\",\"config\":{}}",
                                        "{\"class_name\":\"%s\",\"config\":{\"decay\":0.0}}",
                                        "{\"class_name\":\"%s\",\"config\":{\"is_legacy_optimizer\":true}}"};
    static const char *const others[][2] = {
        {"RMSprop", "adds epsilon to the square root and not below it"},
        {"Adagrad", "adds epsilon to the square root and not below it"},
        {"Nadam", "has another schedule of momenta, which its decay belongs to"},
    };
    char text[128], sentence[300];
    for (size_t i = 0; i < 9; i++) {
        snprintf(text, sizeof text, marks[i % 3], others[i / 3][0]);
        snprintf(sentence, sizeof sentence,
                 "compile.optimizer: Keras 2's legacy %s %s, and is not built; leave out \"decay\", "
                 "\"is_legacy_optimizer\" and \"module\" to take that of today",
                 others[i / 3][0], others[i / 3][1]);
        check_refused(text, MST_UNIMPLEMENTED, sentence);
    }
    check_refused("{\"class_name\":\"SGD\",\"config\":{\"is_legacy_optimizer\":1}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.is_legacy_optimizer is 1; it must be true or false");
}

// The defaults of the others are Keras's.
static void test_other_optimizers(void **state)
{
    (void)state;
    check_read("\"adamw\"", "{\"class_name\":\"AdamW\",\"config\":{\"amsgrad\":false,\"beta_1\":0.9,\"beta_2\":0.999,"
                            "\"epsilon\":1e-7,\"learning_rate\":0.001,\"weight_decay\":0.004}}");
    check_read("\"adagrad\"", "{\"class_name\":\"Adagrad\",\"config\":{\"epsilon\":1e-7,"
                              "\"initial_accumulator_value\":0.1,\"learning_rate\":0.001}}");
    check_read("\"RMSprop\"", "{\"class_name\":\"RMSprop\",\"config\":{\"centered\":false,\"epsilon\":1e-7,"
                              "\"learning_rate\":0.001,\"momentum\":0.0,\"rho\":0.9}}");
    check_read("\"lion\"",
               "{\"class_name\":\"Lion\",\"config\":{\"beta_1\":0.9,\"beta_2\":0.99,\"learning_rate\":0.001}}");
    check_read("\"adamax\"", "{\"class_name\":\"Adamax\",\"config\":{\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-7,"
                             "\"learning_rate\":0.001}}");
    check_read("{\"class_name\":\"Ftrl\",\"config\":{\"learning_rate_power\":-0.5,\"beta\":1}}",
               "{\"class_name\":\"Ftrl\",\"config\":{\"beta\":1.0,\"initial_accumulator_value\":0.1,"
               "\"l1_regularization_strength\":0.0,\"l2_regularization_strength\":0.0,"
               "\"l2_shrinkage_regularization_strength\":0.0,\"learning_rate\":0.001,\"learning_rate_power\":-0.5}}");
    check_read("\"nadam\"", "{\"class_name\":\"Nadam\",\"config\":{\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-7,"
                            "\"learning_rate\":0.001}}");
    check_refused("{\"class_name\":\"Ftrl\",\"config\":{\"learning_rate_power\":0.25}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.learning_rate_power is 0.25; it must be a number of 0 or less");
    check_refused("{\"class_name\":\"Lion\",\"config\":{\"beta_1\":0}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.beta_1 is 0; it must be a number from above 0 to 1");
    check_refused("{\"class_name\":\"RMSprop\",\"config\":{\"rho\":1.5}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.rho is 1.5; it must be a number from 0 to 1");
    check_refused("{\"class_name\":\"Adagrad\",\"config\":{\"beta_1\":0.5}}", MST_INVALID_ARGUMENT,
                  "compile.optimizer.config.beta_1 is not an option of Adagrad; the nearest is \"decay\"");
}

static void test_optimizers_not_built(void **state)
{
    (void)state;
    static const char *const others[][2] = {
        {"Adafactor", "it keeps means over whole rows and columns"},
        {"Lamb", "its rate follows the norms of whole variables"},
        {"Muon", "it works on whole matrices"},
        {"ScheduleFreeAdamW", "it evaluates other weights than it trains"},
        {"MultiOptimizer", "one optimizer updates all variables"},
        {"LossScaleOptimizer", "losses are float32 and need no scale"},
    };
    char text[128], sentence[256];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(text, sizeof text, "{\"class_name\":\"%s\",\"config\":{\"anything\":1}}", others[i][0]);
        snprintf(sentence, sizeof sentence, "compile.optimizer: the optimizer %s is not built: %s; there are " BUILT,
                 others[i][0], others[i][1]);
        check_refused(text, MST_UNIMPLEMENTED, sentence);
    }
    check_refused("\"lamb\"", MST_UNIMPLEMENTED,
                  "compile.optimizer: the optimizer Lamb is not built: its rate follows the norms of whole variables; "
                  "there are " BUILT);
    check_refused("\"adm\"", MST_INVALID_ARGUMENT, "compile.optimizer: \"adm\" is no optimizer; there are " BUILT);
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
        {"{\"config\":{}}", "compile.optimizer has no \"class_name\" text; there are " BUILT},
        {"{\"class_name\":7}", "compile.optimizer has no \"class_name\" text; there are " BUILT},
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
        cmocka_unit_test(test_decay_and_clipping),
        cmocka_unit_test(test_clipping_by_norm),
        cmocka_unit_test(test_serialised_by_tf_keras),
        cmocka_unit_test(test_legacy_optimizers),
        cmocka_unit_test(test_other_optimizers),
        cmocka_unit_test(test_optimizers_not_built),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_long_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
