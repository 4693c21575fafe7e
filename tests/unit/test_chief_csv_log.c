// The file of a CSVLogger where a chief goes on for one that died, and when a line counts as written. (What lines look
// like: tests/golden/test_golden_callbacks.c.)
#include "chief/csv_log.h"

#include "base/alloc.h"
#include "event/loop.h"
#include "tfio/disk_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *path;

struct logger {
    struct mst_loop *work;
    struct mst_loop *control;
    struct mst_compile *compile;
    struct mst_csv_log *log;
    unsigned n_written;
};

static void on_written(void *arg)
{
    ++*(unsigned *)arg;
}

static void begin(struct logger *logger, bool appends, bool continues)
{
    *logger = (struct logger){.compile = mst_alloc(sizeof *logger->compile)};
    assert_int_equal(mst_loop_new("work", &logger->work, NULL), MST_OK);
    assert_int_equal(mst_loop_new("control", &logger->control, NULL), MST_OK);
    struct mst_csv_log_config config = {.path = path,
                                        .separator = ',',
                                        .appends = appends,
                                        .continues = continues,
                                        .is_validated = true,
                                        .compile = logger->compile,
                                        .work = logger->work,
                                        .on_written = on_written,
                                        .arg = &logger->n_written,
                                        .control = logger->control};
    logger->log = mst_csv_log_new(&config);
}

static void end(struct logger *logger)
{
    mst_loop_free(logger->work);
    mst_csv_log_free(logger->log);
    mst_loop_free(logger->control);
    free(logger->compile);
}

static void add(struct logger *logger, uint64_t epoch, double loss)
{
    struct mst_epoch_scores known = {.epoch = epoch, .train = {.is_known = true, .n = 1, .values = {loss}}};
    mst_csv_log_epoch(logger->log, &known, 0);
}

static void expect_file(const char *wanted)
{
    struct mst_buf got;
    assert_int_equal(mst_disk_read(path, 1 << 16, &got, NULL), MST_OK);
    char *text = mst_text("%.*s", (int)got.len, (const char *)got.data);
    assert_string_equal(text, wanted);
    free(text);
    mst_buf_fini(&got);
}

static void put(const char *text)
{
    assert_int_equal(mst_disk_write(path, (struct mst_bytes){text, strlen(text)}, NULL), MST_OK);
}

#define HEADER "epoch,loss,val_loss\r\n"

// Pending from when it is told until `control` hears that it is in the file.
static void test_a_line_is_pending_until_it_is_written(void **state)
{
    (void)state;
    struct logger logger;
    begin(&logger, false, false);
    assert_int_equal(mst_csv_log_n_pending(logger.log), 0);
    add(&logger, 0, 2);
    add(&logger, 1, 1);
    assert_int_equal(mst_csv_log_n_pending(logger.log), 2);
    mst_loop_poll(logger.work);
    expect_file(HEADER "0,2.0,NA\r\n1,1.0,NA\r\n");
    assert_int_equal(mst_csv_log_n_pending(logger.log), 2);
    mst_loop_poll(logger.control);
    assert_int_equal(mst_csv_log_n_pending(logger.log), 0);
    assert_int_equal(logger.n_written, 2);
    end(&logger);
}

// One that cannot be written is waited for no longer.
static void test_a_line_that_fails_is_not_pending(void **state)
{
    (void)state;
    struct logger logger;
    char *file = path;
    put("");
    path = mst_text("%s/log.csv", file); // in what is no folder
    begin(&logger, false, false);
    add(&logger, 0, 2);
    mst_loop_poll(logger.work);
    mst_loop_poll(logger.control);
    assert_int_equal(mst_csv_log_n_pending(logger.log), 0);
    end(&logger);
    free(path);
    path = file;
}

static void test_a_chief_that_goes_on(void **state)
{
    (void)state;
    const struct {
        const char *before;
        const char *after;
    } cases[] = {
        // Its predecessor wrote epoch 3, and died before that was known.
        {HEADER "2,5.0,NA\r\n3,4.0,NA\r\n", HEADER "2,5.0,NA\r\n3,4.0,NA\r\n4,1.0,NA\r\n3,7.0,NA\r\n"},
        // … or had not written it.
        {HEADER "2,5.0,NA\r\n", HEADER "2,5.0,NA\r\n3,9.0,NA\r\n4,1.0,NA\r\n3,7.0,NA\r\n"},
        {HEADER "33,5.0,NA\r\n", HEADER "33,5.0,NA\r\n3,9.0,NA\r\n4,1.0,NA\r\n3,7.0,NA\r\n"},
        {HEADER, HEADER "3,9.0,NA\r\n4,1.0,NA\r\n3,7.0,NA\r\n"},
        {"", HEADER "3,9.0,NA\r\n4,1.0,NA\r\n3,7.0,NA\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct logger logger;
        put(cases[i].before);
        begin(&logger, false, true);
        add(&logger, 3, 9);
        add(&logger, 4, 1);
        add(&logger, 3, 7); // only the first line can be there already
        mst_loop_poll(logger.work);
        mst_loop_poll(logger.control);
        assert_int_equal(mst_csv_log_n_pending(logger.log), 0);
        end(&logger);
        expect_file(cases[i].after);
    }
}

// Another run with `append` begins with epoch 0 again, whatever is there.
static void test_another_run_adds_all_its_lines(void **state)
{
    (void)state;
    struct logger logger;
    put(HEADER "0,5.0,NA\r\n");
    begin(&logger, true, false);
    add(&logger, 0, 4);
    end(&logger);
    expect_file(HEADER "0,5.0,NA\r\n0,4.0,NA\r\n");
}

int main(void)
{
    path = mst_text("/tmp/muster-csv-log-%d.csv", (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_is_pending_until_it_is_written),
        cmocka_unit_test(test_a_line_that_fails_is_not_pending),
        cmocka_unit_test(test_a_chief_that_goes_on),
        cmocka_unit_test(test_another_run_adds_all_its_lines),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    free(path);
    return failed;
}
