// muster's protocols under a faulty network: --help says how to run it.
#include "base/clock.h"
#include "replicas.h"
#include "rounds.h"
#include "world.h"

#include <getopt.h> // NOLINT(misc-include-cleaner): getopt_long is declared in a header of its own
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLANT_SCHEDULES = 60000 }; // a planted bug that this many schedules do not find is not found

static const char help[] =
    "usage: sim [--world NAME] [--schedules N] [--seed S] [--jobs N] [--plant NAME] [--check-plants]\n"
    "Runs seeded schedules of the greeting, push and lease protocols, of synchronous rounds, and of replicas, with\n"
    "deaths of workers, chiefs and parameter servers, each against a counting oracle.\n"
    "  --world NAME    only one of leases, rounds, replicas\n"
    "  --schedules N   how many of each (10000)\n"
    "  --seed S        the first seed (1); schedule i has seed S + i, and a failure prints its seed\n"
    "  --jobs N        processes side by side (1)\n"
    "  --plant NAME    leave one rule out; the run then has to fail\n"
    "  --check-plants  run every planted bug until it is found\n"
    "  --list          the planted bugs\n";

enum { FAULT_BYTES = 256 };

// A protocol that is simulated.
struct kind {
    const char *name;
    int n_plants; // 0 is none
    const char *(*plant_name)(int plant);
    const char *(*run)(uint64_t seed, int plant, size_t *n_delivered, char *text);
};

struct schedules {
    uint64_t first;
    uint64_t n;
    uint64_t stride;
};

static const char *run_async(uint64_t seed, int plant, size_t *n_delivered, char *text)
{
    struct world *world = world_new(seed, (enum plant)plant);
    const char *fault = world_run(world);
    text[0] = '\0';
    if (fault)
        snprintf(text, FAULT_BYTES, "%s", fault);
    *n_delivered += world_n_delivered(world);
    world_free(world);
    return text[0] ? text : NULL;
}

static const char *async_plant_name(int plant)
{
    return plant_name((enum plant)plant);
}

static const struct kind kinds[] = {
    {"leases", N_PLANTS, async_plant_name, run_async},
    {"rounds", N_ROUNDS_PLANTS, rounds_plant_name, rounds_run},
    {"replicas", N_REPLICAS_PLANTS, replicas_plant_name, replicas_run},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

// Plant 0: none.
static bool run_schedules(const struct kind *kind, struct schedules schedules, int plant)
{
    size_t n_delivered = 0;
    char text[FAULT_BYTES];
    for (uint64_t i = 0; i < schedules.n; i += schedules.stride)
        if (kind->run(schedules.first + i, plant, &n_delivered, text)) {
            printf("%s, seed %llu: %s\n", kind->name, (unsigned long long)(schedules.first + i), text);
            return false;
        }
    printf("%s, %llu schedules from seed %llu: clean, %zu messages\n", kind->name,
           (unsigned long long)((schedules.n + schedules.stride - 1) / schedules.stride),
           (unsigned long long)schedules.first, n_delivered);
    return true;
}

// kind NULL: all.
static bool run_jobs(const struct kind *kind, uint64_t first, uint64_t n, uint64_t n_jobs)
{
    for (uint64_t job = 0; job < n_jobs; job++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            bool ok = true;
            for (int k = 0; k < N_KINDS; k++)
                if (!kind || kind == &kinds[k])
                    ok = run_schedules(&kinds[k], (struct schedules){first + job, n - job, n_jobs}, 0) && ok;
            fflush(stdout);
            _exit(ok ? 0 : 1);
        }
        if (child < 0) {
            perror("fork");
            exit(1);
        }
    }
    bool all_ok = true;
    for (int state; wait(&state) > 0;)
        all_ok = all_ok && WIFEXITED(state) && WEXITSTATUS(state) == 0;
    return all_ok;
}

static bool check_plants(const struct kind *kind, uint64_t first)
{
    bool all_found = true;
    for (int k = 0; k < N_KINDS; k++)
        for (int plant = 1; plant < kinds[k].n_plants && (!kind || kind == &kinds[k]); plant++) {
            printf("planted %s: ", kinds[k].plant_name(plant));
            bool found = !run_schedules(&kinds[k], (struct schedules){first, PLANT_SCHEDULES, 1}, plant);
            if (!found)
                printf("  planted bug NOT found\n");
            all_found = all_found && found;
        }
    return all_found;
}

static bool run_planted(uint64_t first, uint64_t n, const char *name)
{
    for (int k = 0; k < N_KINDS; k++)
        for (int plant = 1; plant < kinds[k].n_plants; plant++)
            if (strcmp(kinds[k].plant_name(plant), name) == 0)
                return run_schedules(&kinds[k], (struct schedules){first, n, 1}, plant);
    fprintf(stderr, "sim: no planted bug is called '%s'; --list names them\n", name);
    exit(2);
}

static const struct kind *kind_of(const char *name)
{
    for (int k = 0; k < N_KINDS; k++)
        if (strcmp(kinds[k].name, name) == 0)
            return &kinds[k];
    fprintf(stderr, "sim: no world is called '%s'; --help names them\n", name);
    exit(2);
}

static void list_plants(void)
{
    for (int k = 0; k < N_KINDS; k++)
        for (int plant = 1; plant < kinds[k].n_plants; plant++)
            printf("%-18s %s\n", kinds[k].plant_name(plant), kinds[k].name);
}

static uint64_t number_of(const char *text)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "sim: '%s' is not a number\n", text);
        exit(2);
    }
    return number;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"world", 1, 0, 'w'}, {"schedules", 1, 0, 'n'}, {"seed", 1, 0, 's'},
                                            {"jobs", 1, 0, 'j'},  {"plant", 1, 0, 'p'},     {"check-plants", 0, 0, 'c'},
                                            {"list", 0, 0, 'l'},  {"help", 0, 0, 'h'},      {0, 0, 0, 0}};
    uint64_t n = 10000;
    uint64_t first = 1;
    uint64_t n_jobs = 1;
    const char *plant = NULL;
    const struct kind *kind = NULL;
    bool plants_only = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'w':
            kind = kind_of(optarg);
            break;
        case 'n':
            n = number_of(optarg);
            break;
        case 's':
            first = number_of(optarg);
            break;
        case 'j':
            n_jobs = number_of(optarg);
            break;
        case 'p':
            plant = optarg;
            break;
        case 'c':
            plants_only = true;
            break;
        case 'l':
            list_plants();
            return 0;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            fputs(help, stderr);
            return 2;
        }
    }
    uint64_t began_ms = mst_clock_monotonic_ms();
    bool ok = plants_only ? check_plants(kind, first)
              : plant     ? run_planted(first, n, plant)
                          : run_jobs(kind, first, n, n_jobs ? n_jobs : 1);
    printf("%s in %llu ms\n", ok ? "ok" : "FAILED", (unsigned long long)(mst_clock_monotonic_ms() - began_ms));
    return ok ? 0 : 1;
}
