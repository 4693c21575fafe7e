// What the chief's lines mean, and the line of text made of them at every width.
#include "cli/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

enum { N_TASKS = 5 };

static const char figures[] =
    "{\"event\": \"progress\", \"epoch\": 3, \"epochs\": 5, \"step\": 2345, \"steps\": 4690, \"examples_per_second\": "
    "71300.4, "
    "\"eta_seconds\": 2.4, \"workers\": 2, \"loss\": 0.31234, \"metrics\": {\"accuracy\": 0.88714}}";

static void take(struct mst_progress *progress, const char *text)
{
    json_t *event = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(event);
    mst_progress_take(progress, event);
    json_decref(event);
}

static void fill_tasks(struct mst_supervised *tasks, enum mst_task_state state)
{
    static const enum mst_task_role roles[N_TASKS] = {MST_TASK_CHIEF, MST_TASK_PS, MST_TASK_PS, MST_TASK_WORKER,
                                                      MST_TASK_WORKER};
    for (size_t i = 0; i < N_TASKS; i++)
        tasks[i] = (struct mst_supervised){.role = roles[i], .state = state};
}

static void check_line(const struct mst_progress *progress, struct mst_progress_style style, size_t columns,
                       const char *want)
{
    char line[MST_PROGRESS_LINE_BYTES];
    style.columns = columns;
    size_t used = mst_progress_line(progress, &style, line, sizeof line);
    assert_string_equal(line, want);
    assert_true(used <= columns);
}

static void test_evaluations(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    struct mst_progress_style style = {0};
    take(&progress, figures);
    take(&progress, "{\"event\": \"evaluation\", \"epoch\": 2, \"step\": 1876, \"final\": false, "
                    "\"scores\": {\"loss\": 0.36123, \"accuracy\": 0.86954, \"auc\": null}}");
    check_line(&progress, style, SIZE_MAX,
               "epoch 3/5  step 2345/4690  71300 examples/s  loss 0.3123  accuracy 0.8871  val_loss 0.3612  "
               "val_accuracy 0.8695  ETA 3 s");
    check_line(&progress, style, 100,
               "epoch 3/5  step 2345/4690  71300 examples/s  loss 0.3123  accuracy 0.8871  val_acc 0.870  ETA 3 s");
    take(&progress, "{\"event\": \"evaluation\", \"scores\": {\"loss\": 0.3}}");
    check_line(&progress, style, SIZE_MAX,
               "epoch 3/5  step 2345/4690  71300 examples/s  loss 0.3123  accuracy 0.8871  val_loss 0.3000  ETA 3 s");
    take(&progress, "{\"event\": \"evaluation\", \"scores\": null}"); // changes nothing
    assert_int_equal(progress.n_scores, 1);
}

static void test_figures_at_every_width(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    struct mst_supervised tasks[N_TASKS];
    fill_tasks(tasks, MST_TASK_UP);
    struct mst_progress_style style = {.has_utf8 = true, .has_marks = true, .tasks = tasks, .n_tasks = N_TASKS};
    take(&progress, figures);
    check_line(
        &progress, style, SIZE_MAX,
        "epoch 3/5  step 2345/4690  71300 examples/s  loss 0.3123  accuracy 0.8871  ETA 3 s  chief ✓ ps ✓✓ worker ✓✓");
    check_line(&progress, style, 79, "epoch 3/5  2345/4690  71.3k/s  loss 0.3123  accuracy 0.8871  ETA 3s  c✓ p✓✓ w✓✓");
    check_line(&progress, style, 60, "2345/4690 71.3k/s loss 0.312 acc 0.887 ETA 3s c✓ p✓✓ w✓✓");
    check_line(&progress, style, 24, "2345/4690 c✓ p✓✓ w✓✓");
    char line[MST_PROGRESS_LINE_BYTES];
    for (style.columns = 0; style.columns < 150; style.columns++)
        assert_true(mst_progress_line(&progress, &style, line, sizeof line) <= style.columns);
}

static void test_ascii_and_every_state(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    struct mst_supervised tasks[N_TASKS];
    fill_tasks(tasks, MST_TASK_UP);
    tasks[1].state = MST_TASK_LOST;
    tasks[2].state = MST_TASK_LEFT;
    tasks[3].state = MST_TASK_WAITING;
    tasks[4].state = MST_TASK_STARTING;
    struct mst_progress_style style = {.has_marks = true, .tasks = tasks, .n_tasks = N_TASKS};
    check_line(&progress, style, 79, "starting  chief + ps x- worker r.");
    style.has_utf8 = true;
    style.seconds = 12.3;
    check_line(&progress, style, 79, "starting, 12 s  chief ✓ ps ✗- worker ↻·");
    style.has_marks = false;
    check_line(&progress, style, 79, "starting, 12 s");
}

static void test_many_processes_are_counted(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    struct mst_supervised tasks[17] = {{.role = MST_TASK_CHIEF, .state = MST_TASK_UP}};
    for (size_t i = 1; i < 17; i++)
        tasks[i] = (struct mst_supervised){.role = i < 8 ? MST_TASK_PS : MST_TASK_WORKER,
                                           .state = i < 15 ? MST_TASK_UP : MST_TASK_STARTING};
    struct mst_progress_style style = {.has_marks = true, .tasks = tasks, .n_tasks = 17};
    check_line(&progress, style, 79, "starting  chief + ps +++++++ worker 7/9");
}

static void test_waiting(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    struct mst_supervised tasks[N_TASKS];
    fill_tasks(tasks, MST_TASK_STARTING);
    struct mst_progress_style style = {.has_marks = true, .tasks = tasks, .n_tasks = N_TASKS};
    take(&progress,
         "{\"event\": \"waiting\", \"text\": \"ps-1 (connection refused, 12 s), ps-2 (DNS not found, 12 s)\"}");
    check_line(&progress, style, 100,
               "waiting for ps-1 (connection refused, 12 s), ps-2 (DNS not found, 12 s)  chief . ps .. worker ..");
    check_line(&progress, style, 60, "waiting for ps-1 (connection refused, 12 s), ps-2 c. p.. w..");
    take(&progress, figures);
    check_line(&progress, style, 24, "2345/4690 c. p.. w..");
}

static void test_ends_of_training(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    struct mst_progress_style style = {0};
    take(&progress, figures);
    take(&progress, "{\"event\": \"progress\", \"step\": 4690, \"epoch\": 5}");
    check_line(&progress, style, SIZE_MAX,
               "epoch 5/5  step 4690/4690  71300 examples/s  loss 0.3123  accuracy 0.8871  saving and evaluating");
    take(&progress, "{\"event\": \"finished\", \"result\": {}}");
    check_line(&progress, style, SIZE_MAX,
               "epoch 5/5  step 4690/4690  71300 examples/s  loss 0.3123  accuracy 0.8871  done");
}

static void check_figure(const char *event, const char *want)
{
    struct mst_progress progress = {0};
    struct mst_progress_style style = {.columns = 60};
    char line[MST_PROGRESS_LINE_BYTES];
    take(&progress, figures);
    take(&progress, event);
    mst_progress_line(&progress, &style, line, sizeof line);
    if (!strstr(line, want))
        fail_msg("'%s' is not in '%s'", want, line);
}

static void test_figures_of_every_size(void **state)
{
    (void)state;
    check_figure("{\"event\": \"progress\", \"eta_seconds\": 65}", "ETA 1:05");
    check_figure("{\"event\": \"progress\", \"eta_seconds\": 7384.5}", "ETA 2:03:05");
    check_figure("{\"event\": \"progress\", \"eta_seconds\": 1e300}", "ETA 277777:46:39");
    check_figure("{\"event\": \"progress\", \"loss\": 0.0000123}", "loss 1.23e-05");
    check_figure("{\"event\": \"progress\", \"loss\": 0}", "loss 0.000");
    check_figure("{\"event\": \"progress\", \"loss\": -123456789.0}", "loss -1.23e+08");
    check_figure("{\"event\": \"progress\", \"examples_per_second\": 812}", "812/s");
    check_figure("{\"event\": \"progress\", \"examples_per_second\": 2345678}", "2.3M/s");
    check_figure("{\"event\": \"progress\", \"loss\": null}", "loss 0.312"); // the last one that was a number
    check_figure("{\"event\": \"progress\", \"step\": 0, \"examples_per_second\": 0}", "0/4690  loss"); // no ETA
}

static void test_nonsense_changes_nothing(void **state)
{
    (void)state;
    static const char *const nonsense[] = {
        "{}",
        "[]",
        "{\"event\": 3}",
        "{\"event\": \"party\"}",
        "{\"event\": \"progress\", \"epoch\": \"x\", \"step\": -1, \"loss\": {}, \"metrics\": 3, \"workers\": 1.5}",
        "{\"event\": \"waiting\", \"text\": null}",
        "{\"event\": \"checkpoint\"}",
        "{\"event\": \"checkpoint_failure\"}",
    };
    struct mst_progress progress = {0};
    take(&progress, figures);
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        struct mst_progress before = progress;
        take(&progress, nonsense[i]);
        assert_memory_equal(&progress, &before, sizeof before);
    }
}

static void test_what_else_the_chief_says(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    take(&progress, "{\"event\": \"started\", \"learning_rate\": \"as it is\"}");
    assert_true(progress.has_started);
    assert_string_equal(progress.learning_rate, "as it is");
    take(&progress, "{\"event\": \"epoch\", \"epoch\": 2, \"epochs\": 5, \"train\": null}");
    assert_int_equal(progress.n_epochs_done, 2);
}

static void test_checkpoints_that_failed(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    struct mst_progress_style style = {.columns = 200};
    char line[MST_PROGRESS_LINE_BYTES];
    take(&progress, figures);
    take(&progress, "{\"event\": \"checkpoint_failed\", \"reason\": \"disk full\", \"last\": null}");
    mst_progress_line(&progress, &style, line, sizeof line);
    assert_non_null(strstr(line, "  1 checkpoint failed"));
    take(&progress, "{\"event\": \"checkpoint_failed\", \"reason\": 3}");
    assert_string_equal(progress.checkpoint_failure, "disk full");
    mst_progress_line(&progress, &style, line, sizeof line);
    assert_non_null(strstr(line, "  2 checkpoints failed"));
    style.columns = 40;
    mst_progress_line(&progress, &style, line, sizeof line);
    assert_non_null(strstr(line, " 2 failed")); // the last to be left out
    take(&progress, "{\"event\": \"checkpoint\", \"prefix\": \"ckpt/model-8\"}");
    mst_progress_line(&progress, &style, line, sizeof line);
    assert_null(strstr(line, "failed"));
}

static void test_too_many_metrics(void **state)
{
    (void)state;
    struct mst_progress progress = {0};
    take(&progress,
         "{\"event\": \"progress\", \"metrics\": {\"a\": 1, \"b\": 2, \"c\": 3, \"d\": 4, \"e\": 5, \"f\": 6}}");
    assert_int_equal(progress.n_metrics, MST_PROGRESS_METRICS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluations),
        cmocka_unit_test(test_ascii_and_every_state),
        cmocka_unit_test(test_figures_at_every_width),
        cmocka_unit_test(test_ascii_and_every_state),
        cmocka_unit_test(test_many_processes_are_counted),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_ends_of_training),
        cmocka_unit_test(test_figures_of_every_size),
        cmocka_unit_test(test_nonsense_changes_nothing),
        cmocka_unit_test(test_what_else_the_chief_says),
        cmocka_unit_test(test_checkpoints_that_failed),
        cmocka_unit_test(test_too_many_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
