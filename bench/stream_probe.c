// The bandwidth probe of the optimizers: one thread moves the arrays that an update moves, in the same directions, with
// an addition an element in place of the optimizer's arithmetic. What Muster's kernels are measured against.
//
//   SGD  in place       reads gradient, weights          writes weights
//   SGD  out of place   reads gradient, weights          writes other weights, past the cache
//   Adam in place       reads gradient, weights, m, v    writes weights, m, v
//   Adam out of place   reads gradient, weights, m, v    writes other weights, past the cache; m, v
//
// usage: stream_probe [FLOATS [REPEATS]]     prints {"sgd_in_place": …, …}: GB/s, 4 bytes an element and array read or
// written (3 SGD, 7 Adam), the median over REPEATS
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LANES = 16, REPEATS_MAX = 1000, KINDS = 4 };

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));

struct arrays {
    float *gradient;
    float *weights;
    float *other; // weights, out of place
    float *m;
    float *v;
};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static float *new_floats(size_t n, float value)
{
    float *floats = aligned_alloc(64, n * sizeof(float));
    if (!floats) {
        perror("stream_probe");
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        floats[i] = value;
    return floats;
}

static inline void store_past_cache(float *to, vec value)
{
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)value);
#elif defined(__x86_64__)
    __m128 quarters[4];
    memcpy(quarters, &value, sizeof value);
    for (int i = 0; i < 4; i++)
        _mm_stream_ps(to + 4 * i, quarters[i]);
#else
    *(vec *)to = value;
#endif
}

// Pointers in locals: through the struct they would be read again after every store.
static void sgd_in_place(const struct arrays *a, size_t n)
{
    const vec *gradient = (const vec *)a->gradient;
    vec *weights = (vec *)a->weights;
    for (size_t i = 0; i < n / LANES; i++)
        weights[i] += gradient[i];
}

static void sgd_out_of_place(const struct arrays *a, size_t n)
{
    const vec *gradient = (const vec *)a->gradient;
    const vec *weights = (const vec *)a->weights;
    float *other = a->other;
    for (size_t i = 0; i < n / LANES; i++)
        store_past_cache(other + i * LANES, weights[i] + gradient[i]);
}

static void adam_in_place(const struct arrays *a, size_t n)
{
    const vec *gradient = (const vec *)a->gradient;
    vec *weights = (vec *)a->weights;
    vec *m = (vec *)a->m;
    vec *v = (vec *)a->v;
    for (size_t i = 0; i < n / LANES; i++) {
        vec g = gradient[i];
        m[i] += g;
        v[i] += g;
        weights[i] += g;
    }
}

static void adam_out_of_place(const struct arrays *a, size_t n)
{
    const vec *gradient = (const vec *)a->gradient;
    const vec *weights = (const vec *)a->weights;
    float *other = a->other;
    vec *m = (vec *)a->m;
    vec *v = (vec *)a->v;
    for (size_t i = 0; i < n / LANES; i++) {
        vec g = gradient[i];
        m[i] += g;
        v[i] += g;
        store_past_cache(other + i * LANES, weights[i] + g);
    }
}

static const struct {
    const char *name;
    void (*move)(const struct arrays *a, size_t n);
    double arrays; // read or written
    int is_out_of_place;
} kinds[KINDS] = {
    {"sgd_in_place", sgd_in_place, 3, 0},
    {"sgd_out_of_place", sgd_out_of_place, 3, 1},
    {"adam_in_place", adam_in_place, 7, 0},
    {"adam_out_of_place", adam_out_of_place, 7, 1},
};

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
    if (n < LANES || n % LANES != 0 || n > 1u << 30 || repeats < 1 || repeats > REPEATS_MAX) {
        fprintf(stderr, "usage: stream_probe [FLOATS [REPEATS]]   (a multiple of %d; 1 to %d)\n", LANES, REPEATS_MAX);
        return 2;
    }
    struct arrays a = {new_floats(n, 1e-3f), new_floats(n, 0.5f), new_floats(n, 0.5f), new_floats(n, 0),
                       new_floats(n, 0)};
    static double seconds[KINDS][REPEATS_MAX];
    for (size_t k = 0; k < KINDS; k++)
        kinds[k].move(&a, n); // warm-up
    for (size_t r = 0; r < repeats; r++)
        for (size_t k = 0; k < KINDS; k++) {
            double start = now_seconds();
            kinds[k].move(&a, n);
            seconds[k][r] = now_seconds() - start;
            if (kinds[k].is_out_of_place) { // the next update reads what this one wrote
                float *read = a.weights;
                a.weights = a.other;
                a.other = read;
            }
        }
    for (size_t k = 0; k < KINDS; k++) {
        qsort(seconds[k], repeats, sizeof(double), by_value);
        double gb = kinds[k].arrays * (double)n * sizeof(float) * 1e-9;
        printf("%s\"%s\": %.3f", k ? ", " : "{", kinds[k].name, gb / seconds[k][repeats / 2]);
    }
    printf("}\n");
    return 0;
}
