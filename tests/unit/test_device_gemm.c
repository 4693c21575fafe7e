// Matrix products against double for every form and shape, what the epilogue does, and the same bits for any number
// of threads on every core type of OpenBLAS that this processor can run: a type is chosen when the library is
// loaded, so the program starts itself again for each.
#include "device_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cblas.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct mst_device *devices[4]; // of 1 to 4 threads
enum { N_DEVICES = sizeof devices / sizeof *devices };

static int set_up(void **state)
{
    (void)state;
    for (size_t d = 0; d < N_DEVICES; d++)
        devices[d] = device_new(d + 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t d = 0; d < N_DEVICES; d++)
        mst_device_free(devices[d]);
    return 0;
}

struct product {
    struct mst_gemm gemm;
    float *a;
    float *b;
    float *bias;
    float *c_before; // for MST_GEMM_ADD
    float *c;
    float *before;
    size_t n_c;
};

static struct product product_new(enum mst_gemm_form form, const size_t shape[3])
{
    size_t m = shape[0];
    size_t n = shape[1];
    size_t k = shape[2];
    struct product p = {.n_c = m * n};
    p.a = device_floats(m * k, 1.0f);
    p.b = device_floats(k * n, 1.0f);
    p.bias = device_floats(n, 1.0f);
    p.c_before = device_floats(p.n_c, 1.0f);
    p.c = device_floats(p.n_c, 1.0f);
    p.before = device_floats(p.n_c, 1.0f);
    p.gemm = (struct mst_gemm){.form = form, .m = m, .n = n, .k = k, .a = p.a, .b = p.b, .c = p.c};
    return p;
}

static void product_free(struct product *p)
{
    free(p->a);
    free(p->b);
    free(p->bias);
    free(p->c_before);
    free(p->c);
    free(p->before);
}

static void run(size_t device, struct product *p)
{
    // What is overwritten may hold anything.
    for (size_t i = 0; i < p->n_c; i++) {
        p->c[i] = p->gemm.write == MST_GEMM_ADD ? p->c_before[i] : NAN;
        p->before[i] = NAN;
    }
    devices[device]->ops->gemm(devices[device], &p->gemm);
}

// Σ over k in double; *size is Σ |a b|, by which an error is judged.
static double element(const struct mst_gemm *g, size_t i, size_t j, double *size)
{
    double sum = 0;
    *size = 0;
    for (size_t l = 0; l < g->k; l++) {
        float a = g->form == MST_GEMM_TN ? g->a[l * g->m + i] : g->a[i * g->k + l];
        float b = g->form == MST_GEMM_NT ? g->b[j * g->k + l] : g->b[l * g->n + j];
        sum += (double)a * (double)b;
        *size += fabs((double)a * (double)b);
    }
    return sum;
}

// Every element of small products, some of large ones.
static void check_product(const struct product *p)
{
    const struct mst_gemm *g = &p->gemm;
    size_t step = p->n_c * g->k < 1000000 ? 1 : 1 + p->n_c / 301;
    for (size_t at = 0; at < p->n_c; at += step) {
        double size;
        double want = element(g, at / g->n, at % g->n, &size);
        if (g->write == MST_GEMM_ADD)
            want += (double)p->c_before[at];
        if (g->bias != NULL)
            want += (double)g->bias[at % g->n];
        if (g->before != NULL && !(fabs((double)g->before[at] - want) <= 1e-6 * (size + 2)))
            fail_msg("before: element %zu is %.9g, want %.9g", at, (double)g->before[at], want);
        if (g->activation != NULL && g->activation->kind != MST_ACTIVATION_SOFTMAX)
            want = device_activate(g->activation, want);
        if (g->activation != NULL && g->activation->kind == MST_ACTIVATION_SOFTMAX)
            continue; // looked at with the bits, below
        if (!(fabs((double)g->c[at] - want) <= 1e-6 * (size + 2)))
            fail_msg("form %d, %zu x %zu x %zu: element %zu is %.9g, want %.9g", (int)g->form, g->m, g->n, g->k, at,
                     (double)g->c[at], want);
    }
}

static const size_t shapes[][3] = {
    {0, 3, 4},      {3, 0, 4},      {3, 4, 0},     {1, 1, 1},     {1, 10, 300},   {3, 5, 7},      {17, 1, 33},
    {64, 300, 784}, {784, 300, 64}, {64, 10, 100}, {65, 33, 129}, {257, 301, 97}, {30000, 9, 40}, {100, 257, 512},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void test_against_double(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        for (size_t form = 0; form < 3; form++) {
            struct product p = product_new((enum mst_gemm_form)form, shapes[s]);
            for (size_t d = 0; d < 3; d += 2) {
                p.gemm.write = d == 0 ? MST_GEMM_SET : MST_GEMM_ADD;
                run(d, &p);
                check_product(&p);
            }
            product_free(&p);
        }
    }
}

// Bias, activation and what it was given, in every combination.
static void test_epilogue(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {{3, 5, 7}, {2, 4, 0}, {130, 110, 300}};
    const struct mst_activation activations[] = {
        mst_activation_default(MST_ACTIVATION_LINEAR),     mst_activation_default(MST_ACTIVATION_RELU),
        mst_activation_default(MST_ACTIVATION_LEAKY_RELU), mst_activation_default(MST_ACTIVATION_GELU),
        mst_activation_default(MST_ACTIVATION_SOFTMAX),    {MST_ACTIVATION_RELU, 0.1f, 1.5f, 0.0f}};
    enum { N_ACTIVATIONS = sizeof activations / sizeof *activations };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes * 8 * (N_ACTIVATIONS + 1); i++) {
        size_t which = i / 8 % (N_ACTIVATIONS + 1);
        struct product p = product_new(MST_GEMM_NN, sizes[i / 8 / (N_ACTIVATIONS + 1)]);
        p.gemm.write = i & 1 ? MST_GEMM_ADD : MST_GEMM_SET;
        p.gemm.bias = i & 2 ? p.bias : NULL;
        p.gemm.before = i & 4 ? p.before : NULL;
        p.gemm.activation = which < N_ACTIVATIONS ? &activations[which] : NULL;
        run(i % 2, &p);
        check_product(&p);
        // The same in single steps: a product, a bias, an activation.
        struct product q = p;
        q.c = device_floats(p.n_c, 1.0f);
        q.gemm = p.gemm;
        q.gemm.c = q.c;
        q.gemm.bias = NULL;
        q.gemm.activation = NULL;
        q.gemm.before = NULL;
        run(0, &q);
        const struct mst_device_ops *ops = devices[0]->ops;
        if (p.gemm.bias != NULL)
            ops->bias_add(devices[0], p.gemm.m, p.gemm.n, p.bias, q.c, q.c);
        struct mst_activate step = {.rows = p.gemm.m, .columns = p.gemm.n, .x = q.c, .y = q.c};
        if (p.gemm.activation != NULL)
            step.activation = *p.gemm.activation;
        ops->activate(devices[0], &step);
        assert_true(device_same("epilogue", p.c, q.c, p.n_c));
        free(q.c);
        product_free(&p);
    }
}

static void test_nan_comes_through(void **state)
{
    (void)state;
    const struct mst_activation relu = mst_activation_default(MST_ACTIVATION_RELU);
    struct product p = product_new(MST_GEMM_NN, (const size_t[3]){40, 30, 20});
    p.gemm.bias = p.bias;
    p.gemm.activation = &relu;
    p.a[20 * 7 + 3] = NAN;
    p.b[5] = 0.0f;
    run(0, &p);
    for (size_t i = 0; i < p.n_c; i++) {
        bool is_nan = isnan(p.c[i]);
        bool is_of_that_row = i / 30 == 7;
        assert_true(is_nan == is_of_that_row);
    }
    product_free(&p);
}

static void check_threads(struct product *p)
{
    float *want = device_floats(p->n_c, 1.0f);
    for (size_t i = 0; i < 2; i++) {
        p->gemm.write = i == 0 ? MST_GEMM_SET : MST_GEMM_ADD;
        run(0, p);
        memcpy(want, p->c, p->n_c * sizeof *want);
        for (size_t d = 1; d < N_DEVICES; d++) {
            run(d, p);
            if (!device_same("threads", p->c, want, p->n_c))
                fail_msg("%s: form %d, %zu x %zu x %zu, %zu threads differ from one", openblas_get_corename(),
                         (int)p->gemm.form, p->gemm.m, p->gemm.n, p->gemm.k, d + 1);
        }
    }
    free(want);
}

// Borders that fall into remainders of OpenBLAS's kernels, products near its limit for small ones, more rows than it
// does at a time.
static void test_any_number_of_threads(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {
        {64, 300, 784}, {784, 300, 64}, {256, 100, 300}, {300, 100, 256}, {256, 10, 784},   {257, 301, 97},
        {100, 1, 1000}, {600, 1, 4000}, {2001, 3, 700},  {33, 1000, 130}, {140, 1000, 31},  {61, 64, 600},
        {95, 97, 1500}, {47, 700, 333}, {12288, 9, 20},  {12289, 9, 20},  {22000, 10, 100}, {40001, 8, 33}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t form = 0; form < 3; form++) {
            struct product p = product_new((enum mst_gemm_form)form, sizes[s]);
            check_threads(&p);
            product_free(&p);
        }
    }
}

// The core types whose kernels this processor has instructions for.
static size_t core_types(const char *types[8])
{
    size_t n = 0;
#if defined(__x86_64__)
    types[n++] = "Prescott";
    if (__builtin_cpu_supports("sse4.2"))
        types[n++] = "Nehalem";
    if (__builtin_cpu_supports("avx"))
        types[n++] = "Sandybridge";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        types[n++] = "Haswell";
        types[n++] = "Zen";
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        types[n++] = "SkylakeX";
#else
    (void)types;
#endif
    return n;
}

static void test_every_core_type(void **state)
{
    (void)state;
    const char *types[8];
    size_t n = core_types(types);
    char self[] = "/proc/self/exe";
    char word[] = "threads";
    char *arguments[] = {self, word, NULL};
    for (size_t i = 0; i < n; i++) {
        pid_t child;
        int status;
        assert_int_equal(setenv("OPENBLAS_CORETYPE", types[i], 1), 0);
        assert_int_equal(posix_spawn(&child, self, NULL, NULL, arguments, environ), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("core type %s: status %d", types[i], status);
    }
}

// A batch has the bits of its products one by one, for any number of threads.
static void test_batch(void **state)
{
    (void)state;
    static const size_t batches[][4] = {{0, 2, 2, 2},     {1, 1, 1, 1},       {64, 1, 1, 30},
                                        {9, 0, 3, 2},     {7, 5, 3, 0},       {5, 3, 17, 9},
                                        {6, 100, 60, 90}, {3, 300, 260, 250}, {2, 13000, 2, 3}};
    for (size_t i = 0; i < 3 * sizeof batches / sizeof *batches; i++) {
        const size_t *shape = batches[i / 3];
        size_t n = shape[0];
        size_t all[3] = {n * shape[1], n * shape[2], n * shape[3]};
        enum mst_gemm_form form = (enum mst_gemm_form)(i % 3);
        // Arrays for all products: a and b of (n m, n k) and more have room for them.
        struct product p = product_new(form, (const size_t[3]){all[0], all[1], all[2]});
        p.gemm.m = shape[1];
        p.gemm.n = shape[2];
        p.gemm.k = shape[3];
        struct mst_activation tanh = mst_activation_default(MST_ACTIVATION_TANH);
        p.gemm.bias = p.bias;
        p.gemm.activation = &tanh;
        bool shares_b = form == MST_GEMM_NN;
        struct mst_gemm_batch batch = {n, p.gemm, shape[1] * shape[3], shares_b ? 0 : shape[2] * shape[3],
                                       shape[1] * shape[2]};
        for (size_t b = 0; b < n; b++) {
            struct mst_gemm gemm = p.gemm;
            gemm.a += b * batch.a_step;
            gemm.b += b * batch.b_step;
            gemm.c = p.before + b * batch.c_step;
            devices[0]->ops->gemm(devices[0], &gemm);
        }
        for (size_t d = 0; d < N_DEVICES; d++) {
            device_fill(p.c, p.n_c, 1.0f);
            devices[d]->ops->gemm_batch(devices[d], &batch);
            assert_true(device_same("batch", p.c, p.before, n * batch.c_step));
        }
        product_free(&p);
    }
}

int main(int argc, char **argv)
{
    device_seed("test_device_gemm");
    printf("OpenBLAS core type %s\n", openblas_get_corename());
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_against_double),    cmocka_unit_test(test_epilogue),
        cmocka_unit_test(test_nan_comes_through), cmocka_unit_test(test_any_number_of_threads),
        cmocka_unit_test(test_every_core_type),   cmocka_unit_test(test_batch),
    };
    const struct CMUnitTest only[] = {cmocka_unit_test(test_any_number_of_threads), cmocka_unit_test(test_batch)};
    if (argc > 1 && strcmp(argv[1], "threads") == 0)
        return cmocka_run_group_tests(only, set_up, tear_down);
    return cmocka_run_group_tests(all, set_up, tear_down);
}
