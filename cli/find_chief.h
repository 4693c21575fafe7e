/** @file
 *  Who coordinates, when TF_CONFIG does not say: worker 0 of a dynamic job sees itself and the parameter servers. There
 *  may be a chief that it does not see, and then it must not coordinate; there may be none, and then it must. The
 *  servers know.
 *
 *      MST_TRY(mst_find_chief(&config, &found, err));
 *      if (found.address) …join it…  else …coordinate…
 *
 *  Thread: that of the loop, which it runs.
 */
#pragma once

#include "wire/greeting.h"

#include <stdbool.h>
#include <stddef.h>

struct mst_loop;
struct mst_resolver;

/** Borrowed for the call. */
struct mst_find_chief_config {
    const struct mst_identity *identity;
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    const char *const *ps_addresses; // by index, NULL where there is none
    size_t n_ps;
    uint64_t wait_ms;           // for a chief to greet, from when the first parameter server is there
    bool (*is_over)(void *arg); // asked often; true ends the search
    void *arg;
};

struct mst_found_chief {
    char *address;    // the caller's; NULL: none is known
    bool is_finished; // the job is
};

/** Asks the parameter servers until one knows the chief, or none has heard of one for wait_ms.
 *  Errors: INVALID_ARGUMENT an address; what a server refuses us with, for good: another job, another version */
MST_MUST_USE mst_status mst_find_chief(const struct mst_find_chief_config *config, struct mst_found_chief *out,
                                       struct mst_error *err);
