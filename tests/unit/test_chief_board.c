// The board: which folder each number goes to, in which order, that nothing is lost at the end, and that a disk that
// refuses is told once. tests/interop reads the files with TensorBoard's own reader.
#include "chief/board.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "data_files.h"
#include "event/loop.h"
#include "muster/status.h"
#include "tfio/disk_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct mst_scores scores = {
    .is_known = true, .n = 3, .names = {"loss", "accuracy", "mae"}, .values = {0.5, 0.75, 2}};

static char *folder;
static struct mst_loop *work;
static struct mst_board *board;

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    mst_status status = mst_loop_new("work", &work, NULL);
    MST_ASSERT(status == MST_OK);
    struct mst_board_config config = {.output_dir = folder, .work = work};
    board = mst_board_new(&config);
    return 0;
}

// Ends the loop, which never ran: what was posted is written all the same.
static void finish(void)
{
    mst_loop_free(work);
    mst_board_free(board);
    work = NULL;
    board = NULL;
}

static int tear_down(void **state)
{
    (void)state;
    finish();
    data_folder_free(folder);
    return 0;
}

// The one file of folder/tensorboard/<name>, which the caller finishes; fails the test if there is none, or another.
static struct mst_buf read_file(const char *name)
{
    struct mst_buf buf;
    char *path = mst_text("%s/tensorboard/%s", folder, name), *file = NULL;
    DIR *dir = opendir(path);
    MST_ASSERT(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        assert_null(file);
        file = mst_text("%s/%s", path, entry->d_name);
    }
    closedir(dir);
    assert_non_null(file);
    assert_int_equal(mst_disk_read(file, 1 << 16, &buf, NULL), MST_OK);
    free(file);
    free(path);
    return buf;
}

// Tags as they are in the messages: field 1, length, bytes. They must come in this order and be all there are.
static void expect_tags(const char *name, const char *const *tags, size_t n_tags)
{
    struct mst_buf buf = read_file(name);
    const uint8_t *at = buf.data, *end = buf.data + buf.len;
    for (size_t i = 0; i < n_tags; i++) {
        char *wanted = mst_text("\n%c%s", (int)strlen(tags[i]), tags[i]);
        const uint8_t *found = memmem(at, (size_t)(end - at), wanted, strlen(wanted));
        if (!found)
            print_error("%s: no %s, or not in its place\n", name, tags[i]);
        MST_ASSERT(found != NULL);
        at = found + strlen(wanted);
        free(wanted);
    }
    size_t n_scalars = 0;
    static const char plugin[] = "\n\x07scalars";
    for (at = buf.data; (at = memmem(at, (size_t)(end - at), plugin, sizeof plugin - 1)); at++)
        n_scalars++;
    assert_int_equal(n_scalars, n_tags);
    mst_buf_fini(&buf);
}

static void test_tags_in_keras_order(void **state)
{
    (void)state;
    static const char *const train[] = {"epoch_accuracy", "epoch_mae", "epoch_loss", "epoch_learning_rate",
                                        "epoch_accuracy", "epoch_mae", "epoch_loss", "epoch_learning_rate"};
    static const char *const validation[] = {"evaluation_accuracy_vs_iterations",
                                             "evaluation_mae_vs_iterations",
                                             "evaluation_loss_vs_iterations",
                                             "epoch_accuracy",
                                             "epoch_mae",
                                             "epoch_loss"};
    mst_board_epoch(board, 0, &scores, 0.125F);
    mst_board_epoch(board, 1, &scores, 0.125F);
    mst_board_evaluation(board, 1, 250, &scores);
    finish();
    expect_tags("train", train, sizeof train / sizeof *train);
    expect_tags("validation", validation, sizeof validation / sizeof *validation);
}

static void test_written_while_the_loop_runs(void **state)
{
    (void)state;
    static const char *const train[] = {"epoch_accuracy", "epoch_mae", "epoch_loss", "epoch_learning_rate"};
    mst_board_epoch(board, 0, &scores, 0.125F);
    mst_loop_poll(work);
    expect_tags("train", train, sizeof train / sizeof *train);
}

static void test_a_histogram_of_staleness(void **state)
{
    (void)state;
    struct mst_training_sums sums;
    mst_training_sums_init(&sums, 0);
    mst_board_staleness(board, 0, &sums); // no step: nothing
    sums.steps = 2;
    mst_training_sums_note_staleness(&sums, 0);
    mst_training_sums_note_staleness(&sums, 99);
    mst_board_staleness(board, 1, &sums);
    finish();
    struct mst_buf buf = read_file("train");
    static const char plugin[] = "\n\x0ahistograms";
    const uint8_t *at = memmem(buf.data, buf.len, plugin, sizeof plugin - 1);
    assert_non_null(at);
    size_t left = buf.len - (size_t)(at - buf.data);
    assert_null(memmem(at + 1, left - 1, plugin, sizeof plugin - 1));
    static const double first[] = {0, 1, 1, 1, 2, 0}, last[] = {65, 100, 1};
    assert_non_null(memmem(buf.data, buf.len, first, sizeof first));
    assert_non_null(memmem(buf.data, buf.len, last, sizeof last));
    mst_buf_fini(&buf);
}

static void test_unknown_scores_leave_no_folder(void **state)
{
    (void)state;
    const struct mst_scores unknown = {0};
    mst_board_epoch(board, 0, &unknown, 0.125F);
    mst_board_evaluation(board, 0, 1, &unknown);
    finish();
    char *path = mst_text("%s/tensorboard", folder);
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
}

static void test_refusing_disk_is_told_once(void **state)
{
    (void)state;
    char *path = mst_text("%s/tensorboard", folder), *log = mst_text("%s/log", folder);
    assert_int_equal(mst_disk_write(path, (struct mst_bytes){"x", 1}, NULL), MST_OK); // in the folder's place
    int fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_in_range(fd, 0, INT32_MAX);
    mst_log_set_fd(fd);
    mst_board_epoch(board, 0, &scores, 0.125F);
    mst_board_epoch(board, 1, &scores, 0.125F);
    mst_board_evaluation(board, 1, 250, &scores);
    mst_loop_poll(work);
    mst_log_set_fd(STDERR_FILENO);
    close(fd);
    struct mst_buf said;
    assert_int_equal(mst_disk_read(log, 1 << 16, &said, NULL), MST_OK);
    char *text = mst_text("%.*s", (int)said.len, (const char *)said.data);
    const char *line = strstr(text, "chief: curves not written reason=\"cannot ");
    assert_non_null(line);
    assert_non_null(strstr(line, path));
    assert_null(strstr(line + 1, "chief: curves not written"));
    free(text);
    mst_buf_fini(&said);
    // The disk is there again: so are the numbers from now on.
    static const char *const train[] = {"epoch_accuracy", "epoch_mae", "epoch_loss", "epoch_learning_rate"};
    assert_int_equal(unlink(path), 0);
    mst_board_epoch(board, 2, &scores, 0.125F);
    mst_loop_poll(work);
    expect_tags("train", train, sizeof train / sizeof *train);
    free(log);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tags_in_keras_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_written_while_the_loop_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_histogram_of_staleness, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_scores_leave_no_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusing_disk_is_told_once, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("chief/board", tests, NULL, NULL);
}
