/** @file
 *  One line per event: time, level, role/index, component, message, keys.
 *
 *      MST_LOG(INFO, "rpc", "connection lost", "peer=%s reason=\"%s\"", peer, err.text);
 *      2026-11-24T15:04:05.123456Z info worker/1 rpc: connection lost peer=ps-0 reason="…"
 *
 *  The message is constant and the values are keys, so grep works. Arguments are evaluated only if the line is enabled.
 *  In JSON (--log=json) each line is an object (base/log_json.h).
 *  A filter string "all=info,rpc=debug,-ckpt" (MUSTER_LOG, --log-level) sets levels by component.
 *  Thread: any for MST_LOG; init only for the rest.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>

enum mst_log_level { MST_LOG_ERROR, MST_LOG_WARN, MST_LOG_INFO, MST_LOG_DEBUG };

/** Sets levels from a filter string.
 *  Errors: INVALID_ARGUMENT names the word that is neither a component=level nor -component */
MST_MUST_USE mst_status mst_log_set_filter(const char *filter, struct mst_error *err);

/** The "worker/1" of each line; copied. Before it is set, lines carry "muster". */
void mst_log_set_role(const char *role);

/** Where lines go from now on: an open descriptor, 2 (stderr) at start. */
void mst_log_set_fd(int fd);

/** The form of lines by its name: "text", as at start, or "json".
 *  Errors: INVALID_ARGUMENT another name */
MST_MUST_USE mst_status mst_log_set_format(const char *name, struct mst_error *err);

/** True after mst_log_set_format("json"). Thread: any */
bool mst_log_is_json(void);

/** True if a line of this level and component would be printed. */
bool mst_log_enabled(enum mst_log_level level, const char *component);

/** Use MST_LOG. */
void mst_log_write(enum mst_log_level level, const char *component, const char *message, const char *keys, ...)
    MST_PRINTF(4, 5);

#define MST_LOG(level, component, message, ...)                                                                        \
    (mst_log_enabled(MST_LOG_##level, component) ? mst_log_write(MST_LOG_##level, component, message, __VA_ARGS__)     \
                                                 : (void)0)
