/** @file
 *  Who a process is, and whether a greeter may talk to it: the first message on every connection. Pure.
 *
 *      mst_identity_greet(&identity, &greeting);                     // fills everything but thread, number and term
 *      MST_TRY(mst_identity_check(&identity, greeting, err));        // another wire version or job: both named
 *
 *  Thread: any.
 */
#pragma once

#include "wire/messages.h"

#define MST_WIRE_VERSION 2 // messages; the frame has a version of its own

/** A process of a job. Texts borrowed. */
struct mst_identity {
    const char *job_name;
    uint64_t job_hash; // of the resolved job and its model
    enum mst_peer_role role;
    uint32_t index;
    const char *address; // as in TF_CONFIG; "" where there is none
    uint64_t incarnation;
};

/** Fills a control connection's greeting. Owner: texts are the identity's */
void mst_identity_greet(const struct mst_identity *self, struct mst_msg_greeting *out);
/** Fills the answer to an accepted greeting; the caller adds what it knows of the chief. */
void mst_identity_answer(const struct mst_identity *self, struct mst_msg_greeting_reply *out);
/** Whether the greeter runs the same job in a version we speak.
 *  Errors: FAILED_PRECONDITION names both versions, or both jobs, and the remedy */
MST_MUST_USE mst_status mst_identity_check(const struct mst_identity *self, const struct mst_msg_greeting *greeting,
                                           struct mst_error *err);
