// Muster's optimizers by themselves: mst_optimizer_apply on arrays as a bucket has them, one thread, in place and out
// of place. The counterpart of stream_probe.c, which moves the same arrays; the output is the same.
//
// usage: apply_bench [FLOATS [REPEATS]]     prints {"sgd_in_place": …, …}: GB/s, 4 bytes an element and array read or
// written (3 SGD, 7 Adam), the median over REPEATS
#include "base/alloc.h"
#include "base/clock.h"
#include "optim/optimizer.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPEATS_MAX = 1000, KINDS = 4 };

static const struct kind {
    const char *name;
    const char *optimizer;
    double arrays; // read or written
    bool is_out_of_place;
} kinds[KINDS] = {
    {"sgd_in_place", "SGD", 3, false},
    {"sgd_out_of_place", "SGD", 3, true},
    {"adam_in_place", "Adam", 7, false},
    {"adam_out_of_place", "Adam", 7, true},
};

struct arrays {
    float *gradient;
    float *weights;
    float *other; // weights, out of place
    float *slots[MST_OPTIMIZER_MAX_SLOTS];
};

static float *new_floats(size_t n, float value)
{
    float *floats = mst_alloc_aligned(n * sizeof(float)); // as a bucket's
    for (size_t i = 0; i < n; i++)
        floats[i] = value;
    return floats;
}

static struct mst_optimizer *parse(const char *name)
{
    json_t *json = json_string(name);
    struct mst_optimizer *optimizer;
    struct mst_error err;
    if (mst_optimizer_parse(json, "optimizer", &optimizer, &err) != MST_OK) {
        fprintf(stderr, "apply_bench: %s\n", err.text);
        exit(1);
    }
    json_decref(json);
    return optimizer;
}

static double seconds_of(const struct kind *kind, const struct mst_optimizer *optimizer, uint64_t iteration, size_t n,
                         struct arrays *a)
{
    float *to = kind->is_out_of_place ? a->other : a->weights;
    uint64_t start = mst_clock_monotonic_ns();
    bool is_finite = mst_optimizer_apply(optimizer, iteration, n, a->gradient, a->weights, to, a->slots);
    double seconds = (double)(mst_clock_monotonic_ns() - start) * 1e-9;
    if (!is_finite) {
        fprintf(stderr, "apply_bench: %s made NaN or Inf\n", kind->name);
        exit(1);
    }
    if (kind->is_out_of_place) { // the next update reads what this one wrote
        a->other = a->weights;
        a->weights = to;
    }
    return seconds;
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return a < b ? -1 : a > b;
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 16u << 20;
    size_t repeats = argc > 2 ? strtoul(argv[2], NULL, 10) : 15;
    if (n < 1 || n > 1u << 30 || repeats < 1 || repeats > REPEATS_MAX) {
        fprintf(stderr, "usage: apply_bench [FLOATS [REPEATS]]   (1 to %d)\n", REPEATS_MAX);
        return 2;
    }
    struct arrays a = {
        new_floats(n, 1e-3f), new_floats(n, 0.5f), new_floats(n, 0.5f), {new_floats(n, 0), new_floats(n, 0), NULL}};
    static double seconds[KINDS][REPEATS_MAX];
    struct mst_optimizer *optimizers[KINDS];
    for (size_t k = 0; k < KINDS; k++) {
        optimizers[k] = parse(kinds[k].optimizer);
        seconds_of(&kinds[k], optimizers[k], 0, n, &a); // warm-up
    }
    for (size_t r = 0; r < repeats; r++)
        for (size_t k = 0; k < KINDS; k++)
            seconds[k][r] = seconds_of(&kinds[k], optimizers[k], r + 1, n, &a);
    for (size_t k = 0; k < KINDS; k++) {
        qsort(seconds[k], repeats, sizeof(double), by_value);
        double gb = kinds[k].arrays * (double)n * sizeof(float) * 1e-9;
        printf("%s\"%s\": %.3f", k ? ", " : "{", kinds[k].name, gb / seconds[k][repeats / 2]);
        mst_optimizer_free(optimizers[k]);
    }
    printf("}\n");
    return 0;
}
