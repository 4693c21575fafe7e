/** @file
 *  How many CPUs this process may use: its affinity mask and its cgroup's quota, whichever is less. Thread: any
 *  Source: sched_getaffinity(2); cgroup v2 cpu.max, v1 cpu.cfs_quota_us
 */
#pragma once

#include <stddef.h>

/** At least 1; a quota of 1.5 CPUs counts as 2. */
size_t mst_cpus_usable(void);
