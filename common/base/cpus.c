#include "base/cpus.h"

#include <sched.h>
#include <stdio.h>

// CPUs of the quota, rounded up; 0 if there is none.
static size_t quota_of(const char *path_of_quota, const char *path_of_period)
{
    long long quota = 0;
    long long period = 0;
    FILE *file = fopen(path_of_quota, "re");
    if (!file)
        return 0;
    // v2 keeps both in one file ("max 100000" when there is no limit); v1 in two, with -1 for no limit.
    int n = path_of_period ? fscanf(file, "%lld", &quota) + 1 : fscanf(file, "%lld %lld", &quota, &period);
    fclose(file);
    if (path_of_period) {
        file = fopen(path_of_period, "re");
        if (!file)
            return 0;
        n = fscanf(file, "%lld", &period) == 1 ? n : 0;
        fclose(file);
    }
    if (n != 2 || quota <= 0 || period <= 0)
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
