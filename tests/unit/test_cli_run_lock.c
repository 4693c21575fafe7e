// One `muster local` a directory: the lock, what it tells, and what a killed holder leaves.
#include "cli/run_lock.h"

#include "base/alloc.h"
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/muster-lock-XXXXXX";
static char *path;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    path = mst_text("%s/local.json", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    free(path);
    return rmdir(folder);
}

static void tell(struct mst_run_lock *lock, long long pid)
{
    json_t *told = json_pack("{s:I, s:[]}", "pid", (json_int_t)pid, "roles");
    mst_run_lock_tell(lock, told);
    json_decref(told);
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    struct mst_run_lock *lock;
    struct mst_run_lock *second;
    struct mst_error err;
    assert_null(mst_run_lock_read(folder));
    assert_int_equal(mst_run_lock_take(folder, &lock, &err), MST_OK);
    assert_int_equal(mst_run_lock_take(folder, &second, &err), MST_UNAVAILABLE);
    assert_null(second);
    tell(lock, 4242);
    assert_int_equal(mst_run_lock_take(folder, &second, &err), MST_UNAVAILABLE);
    assert_non_null(strstr(err.text, "(pid 4242)"));
    assert_non_null(strstr(err.text, folder));
    assert_non_null(strstr(err.text, "--set output.dir="));
    json_t *told = mst_run_lock_read(folder);
    assert_int_equal(json_integer_value(json_object_get(told, "pid")), 4242);
    json_decref(told);
    mst_run_lock_free(lock);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(mst_run_lock_take(folder, &lock, &err), MST_OK);
    mst_run_lock_free(lock);
    mst_run_lock_free(NULL);
}

static void test_a_killed_holder(void **state)
{
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct mst_run_lock *lock;
        struct mst_error err;
        if (mst_run_lock_take(folder, &lock, &err) != MST_OK)
            _exit(1);
        tell(lock, getpid());
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    struct mst_run_lock *lock;
    struct mst_error err;
    assert_int_equal(mst_run_lock_take(folder, &lock, &err), MST_UNAVAILABLE);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(access(path, F_OK), 0); // it is left, and nobody holds it
    assert_null(mst_run_lock_read(folder));
    assert_int_equal(mst_run_lock_take(folder, &lock, &err), MST_OK);
    mst_run_lock_free(lock);
}

static void test_what_cannot_be(void **state)
{
    (void)state;
    struct mst_run_lock *lock;
    struct mst_error err;
    assert_int_not_equal(mst_run_lock_take("/nowhere/at/all", &lock, &err), MST_OK);
    assert_non_null(strstr(err.text, "/nowhere/at/all/local.json"));
    FILE *file = fopen(path, "w");
    MST_ASSERT(file != NULL);
    fputs("{half", file);
    fclose(file);
    assert_null(mst_run_lock_read(folder));
    assert_int_equal(mst_run_lock_take(folder, &lock, &err), MST_OK);
    mst_run_lock_free(lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_a_killed_holder),
        cmocka_unit_test(test_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
