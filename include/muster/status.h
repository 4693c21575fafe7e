/** @file
 *  The one error convention: every function that can fail returns an mst_status, MST_OK (0) or one of the 16 canonical
 *  gRPC errors. One table gives each its name, its text, its HTTP status, whether a caller may retry, and the exit code
 *  of a process that ends with it, so no layer translates.
 *
 *      mst_status status = mst_loaded_model_open("run/model", NULL, &model, &err);
 *      if (status != MST_OK) { fprintf(stderr, "%s\n", err.text); exit(mst_status_exit_code(status)); }
 *
 *  Source: google.rpc.Code (numbers and meanings); exit codes: 1–127 permanent, >= 128 worth a retry (Kubeflow
 *          ExitCode).
 */
#pragma once

#include <stdbool.h>

#define MST_MUST_USE                        __attribute__((warn_unused_result))
#define MST_PUBLIC                          __attribute__((visibility("default")))
#define MST_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))

// X(name, gRPC number, text, HTTP status, retryable, exit code)
#define MST_STATUS_MAP(X)                                                                                              \
    X(OK, 0, "ok", 200, false, 0)                                                                                      \
    X(CANCELLED, 1, "cancelled", 499, false, 143)                                                                      \
    X(UNKNOWN, 2, "unknown error", 500, false, 1)                                                                      \
    X(INVALID_ARGUMENT, 3, "invalid argument", 400, false, 2)                                                          \
    X(DEADLINE_EXCEEDED, 4, "deadline exceeded", 504, true, 138)                                                       \
    X(NOT_FOUND, 5, "not found", 404, false, 1)                                                                        \
    X(ALREADY_EXISTS, 6, "already exists", 409, false, 138)                                                            \
    X(PERMISSION_DENIED, 7, "permission denied", 403, false, 2)                                                        \
    X(RESOURCE_EXHAUSTED, 8, "resource exhausted", 429, true, 138)                                                     \
    X(FAILED_PRECONDITION, 9, "failed precondition", 400, false, 2)                                                    \
    X(ABORTED, 10, "aborted", 409, true, 138)                                                                          \
    X(OUT_OF_RANGE, 11, "out of range", 400, false, 1)                                                                 \
    X(UNIMPLEMENTED, 12, "unimplemented", 501, false, 2)                                                               \
    X(INTERNAL, 13, "internal error", 500, false, 1)                                                                   \
    X(UNAVAILABLE, 14, "unavailable", 503, true, 138)                                                                  \
    X(DATA_LOSS, 15, "data loss", 500, false, 1)                                                                       \
    X(UNAUTHENTICATED, 16, "unauthenticated", 401, false, 2)

typedef enum {
#define X(name, number, text, http, retryable, exit_code) MST_##name = number,
    MST_STATUS_MAP(X)
#undef X
} mst_status;

/** Human detail of a failure, written once where it arises; the caller's, and any function that takes one accepts NULL.
 */
struct mst_error {
    char text[1024]; // a cluster spec is quoted whole in TensorFlow's texts, so more than a line
};

/** The canonical name, "INVALID_ARGUMENT"; "UNKNOWN" for a number outside the table. Thread: any */
MST_PUBLIC const char *mst_status_name(mst_status status);
/** A lower-case text, "invalid argument". Thread: any */
MST_PUBLIC const char *mst_status_text(mst_status status);
/** The HTTP status of gRPC's mapping. Thread: any */
MST_PUBLIC int mst_status_http(mst_status status);
/** True if the same call may succeed later. Thread: any */
MST_PUBLIC bool mst_status_is_retryable(mst_status status);
/** The exit code of a process that ends with this status: 0, 1–127 permanent, 128 and more: may be started again.
 *  Thread: any */
MST_PUBLIC int mst_status_exit_code(mst_status status);
