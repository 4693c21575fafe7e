#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t mst_clock_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t mst_clock_monotonic_ms(void)
{
    return mst_clock_monotonic_ns() / 1000000u;
}

uint64_t mst_clock_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t mst_clock_cpu_ns(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void mst_clock_print_wall(uint64_t wall_ns, char *out, size_t out_bytes)
{
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    char date[32];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out, out_bytes, "%s.%06uZ", date, (unsigned)(wall_ns % 1000000000u / 1000u));
}
