/** @file
 *  How `muster admin drain` and the chief talk, over HTTP: POST /drain/ps-1, again and again until it is drained.
 *
 *  1. The path names the parameter server.
 *  2. The query, ?incarnation=0123456789abcdef, the process of it that is meant; without it the one that is there.
 *  3. 200 and 202 come with {"task", "incarnation", "state": "drained" or "leaves", "waits_for"}; 503 is one sentence
 *  that says what has to be before the drain begins; any other code says in one why there will be none.
 *  Thread: any.
 */
#pragma once

#include "base/bytes.h"
#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mst_drain_request {
    size_t ps;
    uint64_t incarnation; // 0: the process that is there
};

struct mst_drain_answer {
    uint64_t incarnation;
    bool is_drained;
    char waits_for[256]; // printable
};

/** Reads "ps-1". Errors: INVALID_ARGUMENT */
MST_MUST_USE mst_status mst_drain_task_parse(const char *text, size_t *out, struct mst_error *err);

/** Prints the path and query of a request. */
void mst_drain_request_print(const struct mst_drain_request *request, char *out, size_t out_bytes);
/** Reads it. Errors: NOT_FOUND another path; INVALID_ARGUMENT no parameter server, or another query */
MST_MUST_USE mst_status mst_drain_request_parse(const char *path, const char *query, struct mst_drain_request *out,
                                                struct mst_error *err);

/** Prints the JSON of an answer. */
void mst_drain_answer_print(size_t ps, const struct mst_drain_answer *answer, char *out, size_t out_bytes);
/** Reads it. Errors: DATA_LOSS it is no such answer */
MST_MUST_USE mst_status mst_drain_answer_parse(struct mst_bytes text, struct mst_drain_answer *out,
                                               struct mst_error *err);
/** Copies the first line of a text of somebody else's, printable: what is not has a '?' in its place. */
void mst_drain_sentence_copy(struct mst_bytes text, char *out, size_t out_bytes);
