#include "wire/greeting.h"

#include "base/error.h"

#include <string.h>

void mst_identity_greet(const struct mst_identity *self, struct mst_msg_greeting *out)
{
    *out = (struct mst_msg_greeting){.min_version = MST_WIRE_VERSION,
                                     .max_version = MST_WIRE_VERSION,
                                     .job_name = self->job_name,
                                     .job_hash = self->job_hash,
                                     .role = self->role,
                                     .index = self->index,
                                     .address = self->address,
                                     .data_thread = MST_GREETING_CONTROL,
                                     .incarnation = self->incarnation};
}

void mst_identity_answer(const struct mst_identity *self, struct mst_msg_greeting_reply *out)
{
    *out = (struct mst_msg_greeting_reply){
        .version = MST_WIRE_VERSION, .role = self->role, .index = self->index, .incarnation = self->incarnation};
}

mst_status mst_identity_check(const struct mst_identity *self, const struct mst_msg_greeting *greeting,
                              struct mst_error *err)
{
    if (greeting->min_version > MST_WIRE_VERSION || greeting->max_version < MST_WIRE_VERSION)
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "%s-%u speaks wire versions %u to %u and %s-%u speaks %d: run the same muster everywhere",
                        mst_peer_role_name(greeting->role), greeting->index, greeting->min_version,
                        greeting->max_version, mst_peer_role_name(self->role), self->index, MST_WIRE_VERSION);
    if (strcmp(greeting->job_name, self->job_name) != 0 || greeting->job_hash != self->job_hash)
        return mst_fail(
            err, MST_FAILED_PRECONDITION,
            "%s-%u runs job '%s' (%016llx) and %s-%u runs job '%s' (%016llx): give every process the same job "
            "file, model and settings",
            mst_peer_role_name(greeting->role), greeting->index, greeting->job_name,
            (unsigned long long)greeting->job_hash, mst_peer_role_name(self->role), self->index, self->job_name,
            (unsigned long long)self->job_hash);
    if (greeting->wanted && (self->role != MST_PEER_PS || greeting->wanted - 1 != self->index))
        return mst_fail(err, MST_UNAVAILABLE,
                        "%s-%u is at this address and not ps-%u: correct TF_CONFIG, or what the name resolves to",
                        mst_peer_role_name(self->role), self->index, greeting->wanted - 1);
    return MST_OK;
}
