// muster's protocols under a faulty network: --help says how to run it.
#include "base/clock.h"
#include "world.h"

#include <getopt.h> // NOLINT(misc-include-cleaner): getopt_long is declared in a header of its own
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLANT_SCHEDULES = 20000 }; // a planted bug that this many schedules do not find is not found

static const char help[] =
    "usage: sim [--schedules N] [--seed S] [--jobs N] [--plant NAME] [--check-plants]\n"
    "Runs seeded schedules of the greeting, push and lease protocols against a counting oracle.\n"
    "  --schedules N   how many (10000)\n"
    "  --seed S        the first seed (1); schedule i has seed S + i, and a failure prints its seed\n"
    "  --jobs N        processes side by side (1)\n"
    "  --plant NAME    leave one rule out; the run then has to fail\n"
    "  --check-plants  run every planted bug until it is found\n"
    "  --list          the planted bugs\n";

static bool run_schedules(uint64_t first, uint64_t n, uint64_t stride, enum plant plant)
{
    size_t n_delivered = 0;
    for (uint64_t i = 0; i < n; i += stride) {
        struct world *world = world_new(first + i, plant);
        const char *fault = world_run(world);
        n_delivered += world_n_delivered(world);
        if (fault) {
            printf("seed %llu: %s\n", (unsigned long long)(first + i), fault);
            world_free(world);
            return false;
        }
        world_free(world);
    }
    printf("%llu schedules from seed %llu: clean, %zu messages\n", (unsigned long long)((n + stride - 1) / stride),
           (unsigned long long)first, n_delivered);
    return true;
}

static bool run_jobs(uint64_t first, uint64_t n, uint64_t n_jobs)
{
    for (uint64_t job = 0; job < n_jobs; job++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            bool ok = run_schedules(first + job, n - job, n_jobs, PLANT_NONE);
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

static bool check_plants(uint64_t first)
{
    bool all_found = true;
    for (int plant = 1; plant < N_PLANTS; plant++) {
        printf("planted %s: ", plant_name((enum plant)plant));
        bool found = !run_schedules(first, PLANT_SCHEDULES, 1, (enum plant)plant);
        if (!found)
            printf("  planted bug NOT found\n");
        all_found = all_found && found;
    }
    return all_found;
}

static enum plant plant_of(const char *name)
{
    for (int plant = 0; plant < N_PLANTS; plant++)
        if (strcmp(plant_name((enum plant)plant), name) == 0)
            return (enum plant)plant;
    fprintf(stderr, "sim: no planted bug is called '%s'; --list names them\n", name);
    exit(2);
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
    static const struct option options[] = {
        {"schedules", 1, 0, 'n'},    {"seed", 1, 0, 's'}, {"jobs", 1, 0, 'j'}, {"plant", 1, 0, 'p'},
        {"check-plants", 0, 0, 'c'}, {"list", 0, 0, 'l'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
    uint64_t n = 10000;
    uint64_t first = 1;
    uint64_t n_jobs = 1;
    enum plant plant = PLANT_NONE;
    bool plants_only = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
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
            plant = plant_of(optarg);
            break;
        case 'c':
            plants_only = true;
            break;
        case 'l':
            for (int i = 1; i < N_PLANTS; i++)
                puts(plant_name((enum plant)i));
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
    bool ok = plants_only           ? check_plants(first)
              : plant == PLANT_NONE ? run_jobs(first, n, n_jobs ? n_jobs : 1)
                                    : run_schedules(first, n, 1, plant);
    printf("%s in %llu ms\n", ok ? "ok" : "FAILED", (unsigned long long)(mst_clock_monotonic_ms() - began_ms));
    return ok ? 0 : 1;
}
