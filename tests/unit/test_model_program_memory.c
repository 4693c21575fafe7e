// A step allocates nothing, whatever the size of its batch: every allocation of ours goes through malloc and its kin,
// which the linker hands to the counters here (--wrap).
#include "program_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_size_t n_calls;

// The linker's names for the functions that are wrapped and for what takes their calls.
void *real_malloc(size_t bytes) __asm__("__real_malloc");
void *real_calloc(size_t n, size_t bytes) __asm__("__real_calloc");
void *real_realloc(void *old, size_t bytes) __asm__("__real_realloc");
void *real_aligned_alloc(size_t alignment, size_t bytes) __asm__("__real_aligned_alloc");
int real_posix_memalign(void **out, size_t alignment, size_t bytes) __asm__("__real_posix_memalign");
void *count_malloc(size_t bytes) __asm__("__wrap_malloc");
void *count_calloc(size_t n, size_t bytes) __asm__("__wrap_calloc");
void *count_realloc(void *old, size_t bytes) __asm__("__wrap_realloc");
void *count_aligned_alloc(size_t alignment, size_t bytes) __asm__("__wrap_aligned_alloc");
int count_posix_memalign(void **out, size_t alignment, size_t bytes) __asm__("__wrap_posix_memalign");

__attribute__((used)) void *count_malloc(size_t bytes)
{
    n_calls++;
    return real_malloc(bytes);
}

__attribute__((used)) void *count_calloc(size_t n, size_t bytes)
{
    n_calls++;
    return real_calloc(n, bytes);
}

__attribute__((used)) void *count_realloc(void *old, size_t bytes)
{
    n_calls++;
    return real_realloc(old, bytes);
}

__attribute__((used)) void *count_aligned_alloc(size_t alignment, size_t bytes)
{
    n_calls++;
    return real_aligned_alloc(alignment, bytes);
}

__attribute__((used)) int count_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    n_calls++;
    return real_posix_memalign(out, alignment, bytes);
}

static struct mst_device *device;
static uint8_t features[64 * 100];
static int32_t labels[64];

static void check_steps(enum mst_program_mode mode, const char *layers, const char *compile)
{
    const enum mst_dtype bytes = MST_DTYPE_U8;
    const struct mst_program_options options = {.mode = mode, .max_batch = 64, .input_dtypes = &bytes, .seed = 1};
    static const size_t sizes[] = {64, 1, 63, 17, 64};
    struct program_case c;
    size_t before = n_calls;
    program_case_init(&c, device, "[10,10]", layers, compile, &options);
    assert_true(n_calls > before + 5); // the counters count
    struct mst_program_step step = program_case_step(&c, features, labels, 64);
    program_case_run(&c, &step); // the first of a size may
    before = n_calls;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        step.n_examples = sizes[i];
        step.batch = i;
        program_case_run(&c, &step);
    }
    assert_int_equal(n_calls, before);
    program_case_fini(&c);
}

#define STACK                                                                                                          \
    LAYER("Rescaling", "scale", ",\"scale\":0.01,\"offset\":0.0")                                                      \
    "," DENSE("on_an_axis", 9, "gelu") "," LAYER("Flatten", "flat", "") "," DROPOUT("drop", 0.5) "," DENSE(            \
        "wide", 300, "relu") "," LAYER("Softmax", "soft", "") "," DENSE("last", 10, "softmax")

#define NORMS                                                                                                          \
    LAYER("Permute", "turn", ",\"dims\":[2,1]")                                                                        \
    "," LAYER("BatchNormalization", "batch", "") "," DENSE("a", 9, "tanh") "," LAYER(                                  \
        "LayerNormalization", "rows",                                                                                  \
        "") "," LAYER("PReLU", "prelu",                                                                                \
                      ",\"alpha_regularizer\":\"l2\"") "," LAYER("Softmax", "soft",                                    \
                                                                 ",\"axis\":1") "," LAYER("Flatten", "flat",           \
                                                                                          ",\"activity_regularizer\":" \
                                                                                          "\"l1\"") "," DENSE("last",  \
                                                                                                              10,      \
                                                                                                              "softma" \
                                                                                                              "x")

static void test_no_allocation(void **state)
{
    (void)state;
    static const char *const compiles[] = {
        "{\"loss\":\"sparse_categorical_crossentropy\",\"metrics\":[\"accuracy\"]}",
        "{\"loss\":\"categorical_crossentropy\",\"metrics\":[\"accuracy\"]}",
        "{\"loss\":\"categorical_crossentropy\",\"metrics\":[\"AUC\",\"Recall\",\"RootMeanSquaredError\","
        "{\"class_name\":\"F1Score\",\"config\":{\"average\":\"macro\"}}]}",
    };
    for (size_t i = 0; i < sizeof compiles / sizeof *compiles; i++) {
        check_steps(MST_PROGRAM_TRAIN, STACK, compiles[i]);
        check_steps(MST_PROGRAM_EVAL, STACK, compiles[i]);
        check_steps(MST_PROGRAM_TRAIN, NORMS, compiles[i]);
        check_steps(MST_PROGRAM_EVAL, NORMS, compiles[i]);
    }
    check_steps(MST_PROGRAM_PREDICT, STACK, NULL);
    check_steps(MST_PROGRAM_TRAIN, STACK "," DENSE("one", 1, "linear"),
                "{\"loss\":\"mse\",\"metrics\":[\"accuracy\"]}");
}

int main(void)
{
    struct mst_error err = {0};
    program_random_seed("test_model_program_memory");
    for (size_t i = 0; i < sizeof features; i++)
        features[i] = (uint8_t)program_random_word();
    for (size_t i = 0; i < 64; i++)
        labels[i] = (int32_t)(program_random_word() % 10);
    if (mst_device_cpu_new(2, &device, &err) != MST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_allocation)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
