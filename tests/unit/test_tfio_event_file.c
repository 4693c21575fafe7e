// Event files against the bytes that TensorFlow's own messages and record writer give for the same events; and a disk
// that is full, played by the limit on the size of files.
#include "tfio/event_file.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "data_files.h"
#include "muster/status.h"
#include "tfio/disk_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const uint64_t second_ns = 1000000000;
static const uint64_t start_ns = 1700000000 * second_ns;

static const char version_record[] = "\x22\x00\x00\x00\x00\x00\x00\x00\x78\x11\x3d\xfd\x09\x00\x00\x00\x40\xfc\x54\xd9"
                                     "\x41\x1a\x0d\x62\x72\x61\x69\x6e\x2e\x45\x76\x65\x6e\x74\x3a\x32\x52\x08\x0a\x06"
                                     "\x6d\x75\x73\x74\x65\x72\xde\x05\x99\x89";
// epoch_loss 0.25, step 0, half a second later
static const char loss_record[] = "\x32\x00\x00\x00\x00\x00\x00\x00\x24\x19\x56\xec\x09\x00\x00\x20\x40\xfc\x54\xd9"
                                  "\x41\x2a\x27\x0a\x25\x0a\x0a\x65\x70\x6f\x63\x68\x5f\x6c\x6f\x73\x73\x42\x0a\x08"
                                  "\x01\x12\x00\x22\x04\x00\x00\x80\x3e\x4a\x0b\x0a\x09\x0a\x07\x73\x63\x61\x6c\x61"
                                  "\x72\x73\x58\xa0\x8b\x34";
// epoch_accuracy -1.5, step 300, a second later
static const char accuracy_record[] = "\x39\x00\x00\x00\x00\x00\x00\x00\x8b\x07\x37\xf1\x09\x00\x00\x60\x40\xfc\x54\xd9"
                                      "\x41\x10\xac\x02\x2a\x2b\x0a\x29\x0a\x0e\x65\x70\x6f\x63\x68\x5f\x61\x63\x63\x75"
                                      "\x72\x61\x63\x79\x42\x0a\x08\x01\x12\x00\x22\x04\x00\x00\xc0\xbf\x4a\x0b\x0a\x09"
                                      "\x0a\x07\x73\x63\x61\x6c\x61\x72\x73\x5b\x9c\x43\x60";

// staleness, two bins, step 4, two seconds later
static const char histogram_record[] =
    "\x6a\x00\x00\x00\x00\x00\x00\x00\xaf\x81\xed\x67\x09\x00\x00\x80\x40\xfc\x54\xd9"
    "\x41\x10\x04\x2a\x5d\x0a\x5b\x0a\x09\x73\x74\x61\x6c\x65\x6e\x65\x73\x73\x42\x3e"
    "\x08\x02\x12\x08\x12\x02\x08\x02\x12\x02\x08\x03\x22\x30\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x1c\x40\x00\x00"
    "\x00\x00\x00\x00\x08\x40\x00\x00\x00\x00\x00\x00\x14\x40\x00\x00\x00\x00\x00\x00"
    "\x00\x40\x4a\x0e\x0a\x0c\x0a\x0a\x68\x69\x73\x74\x6f\x67\x72\x61\x6d\x73\xd7\xcd"
    "\xbc\x72";

static const struct mst_event_scalar loss = {"epoch_loss", 0.25F};
static const struct mst_event_scalar accuracy = {"epoch_accuracy", -1.5F};

static char *root;
static char *folder; // below root, not made yet

static int set_up(void **state)
{
    (void)state;
    root = data_folder_new();
    folder = mst_text("%s/tensorboard/train", root);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(folder);
    data_folder_free(root);
    return 0;
}

static struct mst_event_file *new_file(void)
{
    struct mst_event_file *file;
    assert_int_equal(mst_event_file_new(folder, start_ns, &file, NULL), MST_OK);
    return file;
}

static void expect_content(const char *path, const struct mst_bytes *parts, size_t n_parts)
{
    struct mst_buf buf;
    size_t at = 0;
    assert_int_equal(mst_disk_read(path, 4096, &buf, NULL), MST_OK);
    for (size_t i = 0; i < n_parts; i++) {
        assert_in_range(parts[i].len, 0, buf.len - at);
        assert_memory_equal(buf.data + at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    assert_int_equal(at, buf.len);
    mst_buf_fini(&buf);
}

#define RECORD(text) {text, sizeof(text) - 1}

static void test_as_tensorflow_writes_them(void **state)
{
    (void)state;
    const struct mst_bytes want[] = {RECORD(version_record), RECORD(loss_record), RECORD(accuracy_record)};
    struct mst_event_file *file = new_file();
    expect_content(mst_event_file_path(file), want, 1); // a reader need not wait for the first number
    assert_int_equal(mst_event_file_append(file, &loss, 1, 0, start_ns + second_ns / 2, NULL), MST_OK);
    expect_content(mst_event_file_path(file), want, 2);
    assert_int_equal(mst_event_file_append(file, &accuracy, 1, 300, start_ns + 3 * second_ns / 2, NULL), MST_OK);
    expect_content(mst_event_file_path(file), want, 3);
    mst_event_file_free(file);
}

static void test_a_histogram_as_tensorflow_writes_it(void **state)
{
    (void)state;
    const struct mst_bytes want[] = {RECORD(version_record), RECORD(histogram_record), RECORD(histogram_record)};
    const struct mst_event_bin bins[] = {{0, 1, 7}, {3, 5, 2}};
    const struct mst_event_histogram staleness = {"staleness", bins, 2};
    struct mst_event_file *file = new_file();
    for (int i = 0; i < 2; i++)
        assert_int_equal(mst_event_file_append_histogram(file, &staleness, 4, start_ns + 2 * second_ns, NULL), MST_OK);
    expect_content(mst_event_file_path(file), want, 3);
    mst_event_file_free(file);
}

static void test_histograms_of_any_size_or_refused(void **state)
{
    (void)state;
    char tag[MST_EVENT_TAG_MAX + 2];
    struct mst_event_bin bins[MST_EVENT_BINS_MAX + 1] = {{0, 0, 0}};
    struct mst_event_histogram histogram = {tag, bins, MST_EVENT_BINS_MAX};
    struct mst_event_file *file = new_file();
    struct mst_error err = {0};
    memset(tag, 'a', sizeof tag);
    tag[sizeof tag - 1] = '\0';
    assert_int_equal(mst_event_file_append_histogram(file, &histogram, 0, start_ns, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "a tag of 1025 bytes exceeds 1024");
    tag[MST_EVENT_TAG_MAX] = '\0';
    assert_int_equal(mst_event_file_append_histogram(file, &histogram, UINT64_MAX, UINT64_MAX, NULL), MST_OK);
    histogram.n_bins++;
    assert_int_equal(mst_event_file_append_histogram(file, &histogram, 0, start_ns, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "a histogram of 65 bins exceeds 64");
    mst_event_file_free(file);
}

static void test_several_in_one_append(void **state)
{
    (void)state;
    const struct mst_event_scalar scalars[] = {loss, loss, loss};
    const struct mst_bytes want[] = {RECORD(version_record), RECORD(loss_record), RECORD(loss_record),
                                     RECORD(loss_record)};
    struct mst_event_file *file = new_file();
    assert_int_equal(mst_event_file_append(file, scalars, 3, 0, start_ns + second_ns / 2, NULL), MST_OK);
    expect_content(mst_event_file_path(file), want, 4);
    mst_event_file_free(file);
}

static void test_a_name_of_its_own(void **state)
{
    (void)state;
    char host[256] = "";
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    struct mst_event_file *first = new_file(), *second = new_file();
    char *want_first = mst_text("%s/events.out.tfevents.1700000000.%s.%ld.0.v2", folder, host, (long)getpid());
    char *want_second = mst_text("%s/events.out.tfevents.1700000000.%s.%ld.1.v2", folder, host, (long)getpid());
    assert_string_equal(mst_event_file_path(first), want_first);
    assert_string_equal(mst_event_file_path(second), want_second);
    free(want_first);
    free(want_second);
    mst_event_file_free(first);
    mst_event_file_free(second);
}

static void test_tag_too_long(void **state)
{
    (void)state;
    char tag[MST_EVENT_TAG_MAX + 2];
    const struct mst_bytes want[] = {RECORD(version_record)};
    struct mst_event_file *file = new_file();
    struct mst_error err = {0};
    memset(tag, 'a', sizeof tag);
    tag[sizeof tag - 1] = '\0';
    const struct mst_event_scalar scalars[] = {loss, {tag, 0}};
    assert_int_equal(mst_event_file_append(file, scalars, 2, 0, start_ns, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "a tag of 1025 bytes exceeds 1024");
    expect_content(mst_event_file_path(file), want, 1);
    tag[MST_EVENT_TAG_MAX] = '\0';
    assert_int_equal(mst_event_file_append(file, &scalars[1], 1, UINT64_MAX, UINT64_MAX, NULL), MST_OK);
    mst_event_file_free(file);
}

// Sets the size that files may have; returns the limit that was there.
static struct rlimit limit_files(rlim_t bytes)
{
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    return before;
}

static void test_full_disk_leaves_whole_records(void **state)
{
    (void)state;
    const struct mst_bytes want[] = {RECORD(version_record), RECORD(loss_record), RECORD(loss_record)};
    const struct mst_event_scalar both[] = {accuracy, accuracy};
    struct mst_event_file *file = new_file();
    struct mst_error err = {0};
    assert_int_equal(mst_event_file_append(file, &loss, 1, 0, start_ns + second_ns / 2, NULL), MST_OK);
    // Room for one of two, and a piece of the second.
    size_t room = want[0].len + want[1].len + sizeof accuracy_record - 1 + 7;
    struct rlimit before = limit_files(room);
    mst_status status = mst_event_file_append(file, both, 2, 300, start_ns, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, MST_RESOURCE_EXHAUSTED);
    char *text = mst_text("cannot write %s: File too large", mst_event_file_path(file));
    assert_string_equal(err.text, text);
    free(text);
    expect_content(mst_event_file_path(file), want, 2);
    assert_int_equal(mst_event_file_append(file, &loss, 1, 0, start_ns + second_ns / 2, NULL), MST_OK);
    expect_content(mst_event_file_path(file), want, 3);
    mst_event_file_free(file);
}

static void test_no_file_without_its_first_record(void **state)
{
    (void)state;
    struct mst_event_file *file;
    struct mst_error err = {0};
    struct rlimit before = limit_files(10);
    mst_status status = mst_event_file_new(folder, start_ns, &file, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, MST_RESOURCE_EXHAUSTED);
    assert_null(file);
    assert_int_equal(rmdir(folder), 0); // empty
    // A file is where the folder should be.
    assert_int_equal(mst_disk_write(folder, (struct mst_bytes){"x", 1}, NULL), MST_OK);
    assert_int_not_equal(mst_event_file_new(folder, start_ns, &file, &err), MST_OK);
    assert_null(file);
    assert_non_null(strstr(err.text, folder));
}

int main(void)
{
    (void)signal(SIGXFSZ, SIG_IGN); // the limit then shows as an error of write
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_as_tensorflow_writes_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_histogram_as_tensorflow_writes_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_histograms_of_any_size_or_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_several_in_one_append, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_name_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tag_too_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk_leaves_whole_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_file_without_its_first_record, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("tfio/event_file", tests, NULL, NULL);
}
