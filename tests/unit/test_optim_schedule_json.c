// Schedules as Keras prints them, printed again, and what is refused: by the key's name.
#include "muster/status.h"
#include "optim/schedule.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE "compile.optimizer.config.learning_rate"

static mst_status parse(const char *text, struct mst_schedule **out, struct mst_error *err)
{
    json_error_t where;
    json_t *json = json_loads(text, JSON_DECODE_ANY, &where);
    if (!json)
        fail_msg("%s: %s", text, where.text);
    mst_status status = mst_schedule_parse(json, RATE, out, err);
    json_decref(json);
    return status;
}

static void check_read(const char *text, const char *printed)
{
    struct mst_error err = {0};
    struct mst_schedule *schedule;
    if (parse(text, &schedule, &err) != MST_OK)
        fail_msg("%s: %s", text, err.text);
    json_t *json = mst_schedule_to_json(schedule);
    char *got = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    assert_string_equal(got, printed);
    free(got);
    json_decref(json);
    mst_schedule_free(schedule);
}

#define SCHEDULE(name, config)                                                                                         \
    "{\"module\":\"keras.optimizers.schedules\",\"class_name\":\"" name "\",\"config\":{" config                       \
    "},\"registered_name\":null}"
#define PRINTED(name, config) "{\"class_name\":\"" name "\",\"config\":{" config "}}"

static void test_serialised_by_keras(void **state)
{
    (void)state;
    check_read(SCHEDULE("ExponentialDecay", "\"initial_learning_rate\":0.1,\"decay_steps\":30,\"decay_rate\":0.9,"
                                            "\"staircase\":true,\"name\":\"ExponentialDecay\""),
               PRINTED("ExponentialDecay", "\"decay_rate\":0.9,\"decay_steps\":30.0,\"initial_learning_rate\":0.1,"
                                           "\"staircase\":true"));
    check_read(SCHEDULE("InverseTimeDecay", "\"initial_learning_rate\":0.1,\"decay_steps\":30,\"decay_rate\":2"),
               PRINTED("InverseTimeDecay", "\"decay_rate\":2.0,\"decay_steps\":30.0,\"initial_learning_rate\":0.1,"
                                           "\"staircase\":false"));
    check_read(SCHEDULE("PolynomialDecay", "\"initial_learning_rate\":1,\"decay_steps\":30"),
               PRINTED("PolynomialDecay", "\"cycle\":false,\"decay_steps\":30.0,\"end_learning_rate\":0.0001,"
                                          "\"initial_learning_rate\":1.0,\"power\":1.0"));
    check_read(SCHEDULE("CosineDecay", "\"initial_learning_rate\":0.0,\"decay_steps\":150,\"alpha\":0.0,"
                                       "\"name\":\"CosineDecay\",\"warmup_target\":0.5,\"warmup_steps\":20"),
               PRINTED("CosineDecay", "\"alpha\":0.0,\"decay_steps\":150.0,\"initial_learning_rate\":0.0,"
                                      "\"warmup_steps\":20.0,\"warmup_target\":0.5"));
    check_read(SCHEDULE("CosineDecay", "\"initial_learning_rate\":0.5,\"decay_steps\":150,\"warmup_target\":null"),
               PRINTED("CosineDecay", "\"alpha\":0.0,\"decay_steps\":150.0,\"initial_learning_rate\":0.5,"
                                      "\"warmup_steps\":0.0,\"warmup_target\":null"));
    check_read(SCHEDULE("CosineDecayRestarts", "\"initial_learning_rate\":0.5,\"first_decay_steps\":10"),
               PRINTED("CosineDecayRestarts", "\"alpha\":0.0,\"first_decay_steps\":10.0,"
                                              "\"initial_learning_rate\":0.5,\"m_mul\":1.0,\"t_mul\":2.0"));
    check_read(SCHEDULE("PiecewiseConstantDecay", "\"boundaries\":[10,25],\"values\":[0.5,0.25,1],"
                                                  "\"name\":\"PiecewiseConstant\""),
               PRINTED("PiecewiseConstantDecay", "\"boundaries\":[10.0,25.0],\"values\":[0.5,0.25,1.0]"));
}

#define PIECES(boundaries, values)                                                                                     \
    SCHEDULE("PiecewiseConstantDecay", "\"boundaries\":" boundaries ",\"values\":" values)
#define EXPONENTIAL(config) SCHEDULE("ExponentialDecay", config)

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *sentence;
    } cases[] = {
        {SCHEDULE("Warmup", ""), RATE ": Warmup is no schedule; there are ExponentialDecay, InverseTimeDecay, "
                                      "PolynomialDecay, CosineDecay, CosineDecayRestarts, PiecewiseConstantDecay"},
        {"{\"config\":{}}", RATE " has no \"class_name\" text; it must be a number or a schedule"},
        {"{\"class_name\":\"CosineDecay\"}", RATE ".config is missing; it must be an object"},
        {"{\"class_name\":\"CosineDecay\",\"config\":3}", RATE ".config is 3; it must be an object"},
        {EXPONENTIAL("\"initial_learning_rate\":0.1,\"decay_steps\":5"),
         RATE ": ExponentialDecay needs \"decay_rate\" in its config"},
        {EXPONENTIAL("\"decay_steps\":0"), RATE ".config.decay_steps is 0; it must be a number above 0"},
        {EXPONENTIAL("\"decay_steps\":1e-60"), RATE ".config.decay_steps is 1e-60; it must be a number above 0"},
        {EXPONENTIAL("\"initial_learning_rate\":-1"),
         RATE ".config.initial_learning_rate is -1; it must be a number of 0 or more"},
        {EXPONENTIAL("\"decay_rate\":\"x\""), RATE ".config.decay_rate is \"x\"; it must be a number of 0 or more"},
        {EXPONENTIAL("\"staircase\":0"), RATE ".config.staircase is 0; it must be true or false"},
        {EXPONENTIAL("\"decay_step\":5"),
         RATE ".config.decay_step is not an option of ExponentialDecay; the nearest is \"decay_steps\""},
        {SCHEDULE("CosineDecay", "\"warmup_target\":true"),
         RATE ".config.warmup_target is true; it must be a number of 0 or more, or null"},
        {SCHEDULE("CosineDecayRestarts", "\"t_mul\":0.5"),
         RATE ".config.t_mul is 0.5; it must be a number of 1 or more"},
        {PIECES("[]", "[1]"), RATE ".config.boundaries is []; it must be a list of 1 to 10000 numbers"},
        {PIECES("7", "[1]"), RATE ".config.boundaries is 7; it must be a list of 1 to 10000 numbers"},
        {PIECES("[1,null]", "[1]"), RATE ".config.boundaries[1] is null; it must be a number of 0 or more"},
        {PIECES("[1]", "[1,-2]"), RATE ".config.values[1] is -2; it must be a number of 0 or more"},
        {PIECES("[1]", "[1]"), RATE ".config has 1 values and 1 boundaries; there must be one value more"},
        {PIECES("[1,1]", "[1,2,3]"), RATE ".config.boundaries[1] is not above the one before it"},
        {SCHEDULE("PiecewiseConstantDecay", "\"values\":[1]"),
         RATE ": PiecewiseConstantDecay needs \"boundaries\" in its config"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mst_error err = {0};
        struct mst_schedule *schedule = (struct mst_schedule *)&err;
        mst_status status = parse(cases[i].text, &schedule, &err);
        if (status != MST_INVALID_ARGUMENT || strcmp(err.text, cases[i].sentence) != 0)
            fail_msg("%s\n got %s: %s\nwant %s", cases[i].text, mst_status_name(status), err.text, cases[i].sentence);
        assert_null(schedule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_serialised_by_keras), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
