// The text at the end of a job, from whole and from poor results.
#include "cli/result_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

static void check(const char *json, const char *want)
{
    json_t *result = json_loads(json, 0, NULL);
    assert_non_null(result);
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);
    mst_result_print(result, "out/result.json", "out/logs", file);
    fclose(file);
    json_decref(result);
    assert_string_equal(text, want);
    free(text);
}

static void test_whole(void **state)
{
    (void)state;
    check("{\"steps\": 4690, \"examples\": 300000, \"seconds\": 4.12, \"examples_per_second\": 72815.5, "
          "\"first_step_seconds\": 0.418, \"eval\": {\"loss\": 0.3402, \"accuracy\": 0.88125}, "
          "\"checkpoint\": \"ckpt/model-4690\", \"model\": \"out/model\", \"keras\": \"out/model.keras\"}",
          "finished: 4690 steps, 300000 examples in 4.12 s\n"
          "\n"
          "  test accuracy  0.8812\n"
          "  test loss      0.3402\n"
          "  speed          72816 examples/s, first step after 0.42 s\n"
          "  result         out/result.json\n"
          "  checkpoint     ckpt/model-4690\n"
          "  model          out/model\n"
          "  for Keras      out/model.keras\n"
          "  logs           out/logs\n");
}

static void test_without_evaluation(void **state)
{
    (void)state;
    check("{\"steps\": 10, \"examples\": 160, \"seconds\": 0, \"eval\": null, \"warning\": \"data.eval is not given\", "
          "\"checkpoint\": null, \"keras\": null, \"keras_warning\": \"no out/model.keras: why\"}",
          "finished: 10 steps, 160 examples\n"
          "\n"
          "  warning        data.eval is not given\n"
          "  warning        no out/model.keras: why\n"
          "  result         out/result.json\n"
          "  logs           out/logs\n");
}

static void test_a_score_that_is_no_number(void **state)
{
    (void)state;
    check("{\"eval\": {\"loss\": null}}", "finished: 0 steps, 0 examples\n"
                                          "\n"
                                          "  test loss      not a number\n"
                                          "  result         out/result.json\n"
                                          "  logs           out/logs\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_without_evaluation),
        cmocka_unit_test(test_a_score_that_is_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
