/** @file
 *  Time. Protocols never read a clock (time is a message to them); roles use these. Thread: any
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** CLOCK_MONOTONIC in nanoseconds: for durations, leases and deadlines. */
uint64_t mst_clock_monotonic_ns(void);
/** CLOCK_MONOTONIC in milliseconds. */
uint64_t mst_clock_monotonic_ms(void);
/** CLOCK_REALTIME in nanoseconds since 1970: for logs and files only. */
uint64_t mst_clock_wall_ns(void);
/** CPU time of the process so far, user and system, in nanoseconds. */
uint64_t mst_clock_cpu_ns(void);
/** Writes "2026-11-24T15:04:05.123456Z" (28 bytes with the NUL). */
void mst_clock_print_wall(uint64_t wall_ns, char *out, size_t out_bytes);
