#include "base/cpus.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE_BYTES = 64 };

// The first line of a small file; false if there is none.
static bool read_line(const char *path, char line[LINE_BYTES])
{
    FILE *file = fopen(path, "re");
    bool is_there = file && fgets(line, LINE_BYTES, file);
    if (file)
        fclose(file);
    return is_there;
}

// CPUs of the quota, rounded up; 0 if there is none.
static size_t quota_of(const char *path_of_quota, const char *path_of_period)
{
    char line[LINE_BYTES];
    char *rest;
    if (!read_line(path_of_quota, line))
        return 0;
    // v2 keeps both in one file ("max 100000" when there is no limit: no number, so 0); v1 in two, -1 for no limit.
    long long quota = strtoll(line, &rest, 10);
    if (path_of_period) {
        if (!read_line(path_of_period, line))
            return 0;
        rest = line;
    }
    long long period = strtoll(rest, NULL, 10);
    if (quota <= 0 || period <= 0)
        return 0;
    return (size_t)((quota + period - 1) / period);
}

size_t mst_cpus_usable(void)
{
    cpu_set_t set;
    size_t n = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
    size_t quota = quota_of("/sys/fs/cgroup/cpu.max", NULL);
    if (quota == 0)
        quota = quota_of("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (quota > 0 && quota < n)
        n = quota;
    return n ? n : 1;
}
