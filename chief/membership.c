#include "chief/membership.h"

#include "base/alloc.h"
#include "base/error.h"
#include "wire/worker_numbers.h"

#include <stdlib.h>
#include <string.h>

void mst_membership_init(struct mst_membership *m, size_t n_ps, uint64_t lease_ms, uint64_t grace_ms)
{
    *m = (struct mst_membership){.n_ps = n_ps, .lease_ms = lease_ms, .grace_ms = grace_ms};
}

void mst_membership_fini(struct mst_membership *m)
{
    for (size_t i = 0; i < m->n_members; i++) {
        free(m->members[i].answered);
        free(m->members[i].marks);
    }
    free(m->members);
    *m = (struct mst_membership){0};
}

static struct mst_member *member_of(struct mst_membership *m, uint32_t worker)
{
    if (worker >= m->n_members) {
        size_t n = (size_t)worker + 1;
        m->members = mst_realloc_array(m->members, n, sizeof *m->members);
        memset(m->members + m->n_members, 0, (n - m->n_members) * sizeof *m->members);
        m->n_members = n;
    }
    return &m->members[worker];
}

// The member if this incarnation number is the one that is live or being fenced, else NULL.
static struct mst_member *current(struct mst_membership *m, uint32_t worker, uint64_t number)
{
    if (worker >= m->n_members || m->members[worker].number != number)
        return NULL;
    struct mst_member *member = &m->members[worker];
    return member->state == MST_MEMBER_LIVE || member->state == MST_MEMBER_FENCING ? member : NULL;
}

static void expect_until(struct mst_member *member, uint64_t silent_at_ms, const char *ending, uint64_t now_ms)
{
    member->silent_at_ms = silent_at_ms;
    member->ending = ending;
    member->set_at_ms = now_ms;
}

static const char silence[] = "nothing was heard of it for cluster.lease_ms";
static const char fenced_before[] = "an earlier chief had fenced it";

static void expect_within_lease(const struct mst_membership *m, struct mst_member *member, uint64_t now_ms)
{
    expect_until(member, now_ms + m->lease_ms, silence, now_ms);
    member->is_spared = false;
}

void mst_membership_had(struct mst_membership *m, uint32_t worker, uint64_t number)
{
    struct mst_member *member = member_of(m, worker);
    bool is_free = member->state != MST_MEMBER_LIVE && member->state != MST_MEMBER_FENCING;
    if (!is_free || member->number >= number || number > MST_NUMBER_MAX / 2) // no chief gave more
        return;
    if (member->number == 0) // in this life it was not in yet
        member->state = MST_MEMBER_AWAITED;
    member->number = number;
}

enum mst_greet_verdict mst_membership_greet(struct mst_membership *m, uint32_t worker, uint64_t incarnation,
                                            uint64_t now_ms, uint64_t *number_out)
{
    *number_out = 0;
    struct mst_member *member = member_of(m, worker);
    bool is_same = member->incarnation == incarnation;
    if (member->state == MST_MEMBER_FENCING || (member->state == MST_MEMBER_LIVE && !is_same))
        return MST_GREET_BUSY;
    if (member->state != MST_MEMBER_LIVE) {
        member->state = MST_MEMBER_LIVE;
        member->incarnation = incarnation;
        member->number++;
    }
    expect_within_lease(m, member, now_ms);
    *number_out = member->number;
    return MST_GREET_ADMITTED;
}

bool mst_membership_is_busy(const struct mst_membership *m, uint32_t worker, uint64_t incarnation)
{
    if (worker >= m->n_members)
        return false;
    const struct mst_member *member = &m->members[worker];
    return member->state == MST_MEMBER_FENCING ||
           (member->state == MST_MEMBER_LIVE && member->incarnation != incarnation);
}

bool mst_membership_heard(struct mst_membership *m, uint32_t worker, uint64_t number, uint64_t now_ms)
{
    struct mst_member *member = current(m, worker, number);
    if (!member || member->state != MST_MEMBER_LIVE)
        return false;
    expect_within_lease(m, member, now_ms);
    return true;
}

bool mst_membership_is_acting(const struct mst_membership *m, uint32_t worker, uint64_t number)
{
    return worker < m->n_members && m->members[worker].number == number && m->members[worker].state == MST_MEMBER_LIVE;
}

void mst_membership_lost(struct mst_membership *m, uint32_t worker, uint64_t number, uint64_t now_ms)
{
    struct mst_member *member = current(m, worker, number);
    if (member && member->state == MST_MEMBER_LIVE && member->silent_at_ms > now_ms + m->grace_ms)
        expect_until(member, now_ms + m->grace_ms, "its connection closed, and it made no other one", now_ms);
}

void mst_membership_leave(struct mst_membership *m, uint32_t worker, uint64_t number, const char *why, uint64_t now_ms)
{
    if (mst_membership_is_acting(m, worker, number))
        expect_until(&m->members[worker], now_ms, why, now_ms);
}

const char *mst_membership_why_out(const struct mst_membership *m, uint32_t worker, uint64_t number)
{
    const struct mst_member *member = worker < m->n_members ? &m->members[worker] : NULL;
    if (!member || number > member->number)
        return "this chief does not know that number";
    if (number > 0 && number == member->fenced)
        return member->fenced_why;
    if (member->state == MST_MEMBER_AWAITED)
        return "the job went on from a checkpoint, and all numbers from before are out";
    return number < member->number ? "a later number of this worker has been given" : fenced_before;
}

// What was heard on waking, before this call, was heard just now; the rest before the sleep: half of it tells which.
void mst_membership_slept(struct mst_membership *m, uint64_t slept_ms, uint64_t now_ms)
{
    for (size_t i = 0; i < m->n_members; i++) {
        struct mst_member *member = &m->members[i];
        if (member->state != MST_MEMBER_LIVE || member->is_spared || now_ms - member->set_at_ms < slept_ms / 2)
            continue;
        uint64_t latest_ms = now_ms + m->lease_ms;
        member->silent_at_ms += slept_ms;
        if (member->silent_at_ms > latest_ms)
            member->silent_at_ms = latest_ms;
        member->is_spared = true;
    }
}

static void begin_fence(const struct mst_membership *m, struct mst_member *member)
{
    member->state = MST_MEMBER_FENCING;
    member->fenced = member->number;
    member->fenced_why = member->ending;
    free(member->answered);
    free(member->marks);
    member->answered = mst_alloc(m->n_ps);
    member->n_answered = 0;
    member->marks = NULL;
    member->n_marks = 0;
}

void mst_membership_restore(struct mst_membership *m, uint32_t worker, enum mst_member_state state,
                            uint64_t incarnation, uint64_t number, uint64_t silent_at_ms)
{
    struct mst_member *member = member_of(m, worker);
    member->state = state;
    member->incarnation = state == MST_MEMBER_LIVE || state == MST_MEMBER_FENCING ? incarnation : 0;
    member->number = number;
    expect_until(member, silent_at_ms, state == MST_MEMBER_FENCING ? fenced_before : silence, 0);
    if (state == MST_MEMBER_FENCING)
        begin_fence(m, member);
}

void mst_membership_begin_again(struct mst_membership *m, size_t n_members, uint64_t first_number)
{
    if (n_members > 0)
        member_of(m, (uint32_t)n_members - 1);
    for (size_t i = 0; i < m->n_members; i++) {
        uint64_t number = m->members[i].number;
        if (first_number > number + 1)
            number = first_number - 1;
        enum mst_member_state state = number ? MST_MEMBER_AWAITED : MST_MEMBER_ABSENT;
        mst_membership_restore(m, (uint32_t)i, state, 0, number, 0);
    }
}

size_t mst_membership_tick(struct mst_membership *m, uint64_t now_ms)
{
    size_t n_begun = 0;
    for (size_t i = 0; i < m->n_members; i++) {
        struct mst_member *member = &m->members[i];
        if (member->state != MST_MEMBER_LIVE || now_ms < member->silent_at_ms)
            continue;
        begin_fence(m, member);
        n_begun++;
    }
    return n_begun;
}

bool mst_membership_next_fence(const struct mst_membership *m, size_t *cursor, struct mst_fence *out)
{
    for (; *cursor < m->n_members * m->n_ps; ++*cursor) {
        size_t worker = *cursor / m->n_ps;
        size_t ps = *cursor % m->n_ps;
        const struct mst_member *member = &m->members[worker];
        if (member->state == MST_MEMBER_FENCING && !member->answered[ps]) {
            *out = (struct mst_fence){ps, (uint32_t)worker, member->number};
            ++*cursor;
            return true;
        }
    }
    return false;
}

bool mst_membership_fence_answered(struct mst_membership *m, size_t ps, uint32_t worker, uint64_t number,
                                   const struct mst_lease_mark *marks, size_t n_marks)
{
    struct mst_member *member = current(m, worker, number);
    if (!member || member->state != MST_MEMBER_FENCING || ps >= m->n_ps || member->answered[ps])
        return false;
    member->answered[ps] = 1;
    member->n_answered++;
    member->marks = mst_realloc_array(member->marks, member->n_marks + n_marks, sizeof *marks);
    if (n_marks)
        memcpy(member->marks + member->n_marks, marks, n_marks * sizeof *marks);
    member->n_marks += n_marks;
    return member->n_answered == m->n_ps;
}

uint64_t mst_membership_take_fenced(struct mst_membership *m, uint32_t worker, const struct mst_lease_mark **marks,
                                    size_t *n_marks)
{
    struct mst_member *member = member_of(m, worker);
    MST_ASSERT(member->state == MST_MEMBER_FENCING && member->n_answered == m->n_ps);
    member->state = MST_MEMBER_ABSENT;
    member->incarnation = 0;
    *marks = member->marks;
    *n_marks = member->n_marks;
    return member->number;
}

size_t mst_membership_n_live(const struct mst_membership *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_members; i++)
        n += m->members[i].state == MST_MEMBER_LIVE;
    return n;
}

uint64_t mst_membership_refused(const struct mst_membership *m, uint32_t worker)
{
    if (worker >= m->n_members)
        return 0;
    return m->members[worker].number - (m->members[worker].state == MST_MEMBER_LIVE);
}

uint64_t mst_membership_n_numbers(const struct mst_membership *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n_members; i++)
        n += m->members[i].number;
    return n;
}

size_t mst_membership_n_ever(const struct mst_membership *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_members; i++)
        n += m->members[i].number > 0 && m->members[i].state != MST_MEMBER_AWAITED;
    return n;
}
