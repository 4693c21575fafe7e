// The lowest clock never falls, for who starts to run starts there or higher. When nobody runs any more the last one
// stands, so that who led then leads still.
#include "chief/pacing.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>

// A lease of a quarter of the limit: two held and one of stale news leave a quarter for real differences of speed.
// Below 8 that is one batch.
enum { LEASES_PER_LIMIT = 4 };

void mst_pacing_init(struct mst_pacing *pacing, uint64_t limit)
{
    *pacing = (struct mst_pacing){.limit = limit};
}

void mst_pacing_fini(struct mst_pacing *pacing)
{
    free(pacing->runners);
    *pacing = (struct mst_pacing){0};
}

static struct mst_pacing_runner *find(const struct mst_pacing *pacing, uint32_t worker, uint64_t number)
{
    for (size_t i = 0; i < pacing->n_runners; i++)
        if (pacing->runners[i].worker == worker && pacing->runners[i].number == number)
            return &pacing->runners[i];
    return NULL;
}

static struct mst_pacing_runner *find_or_add(struct mst_pacing *pacing, uint32_t worker, uint64_t number)
{
    struct mst_pacing_runner *runner = find(pacing, worker, number);
    if (runner)
        return runner;
    pacing->runners = mst_realloc_array(pacing->runners, pacing->n_runners + 1, sizeof *pacing->runners);
    runner = &pacing->runners[pacing->n_runners++];
    *runner = (struct mst_pacing_runner){.worker = worker, .number = number};
    return runner;
}

// UINT64_MAX: nobody runs.
static uint64_t note_lowest(struct mst_pacing *pacing)
{
    uint64_t lowest = UINT64_MAX;
    for (size_t i = 0; i < pacing->n_runners; i++)
        if (pacing->runners[i].is_running && pacing->runners[i].clock < lowest)
            lowest = pacing->runners[i].clock;
    if (lowest != UINT64_MAX)
        pacing->lowest = lowest;
    return lowest;
}

uint64_t mst_pacing_allows(struct mst_pacing *pacing, uint32_t worker, uint64_t number)
{
    if (pacing->limit == 0)
        return UINT64_MAX;
    struct mst_pacing_runner *runner = find_or_add(pacing, worker, number);
    uint64_t slowest = note_lowest(pacing);
    if (!runner->is_running && runner->clock < pacing->lowest)
        runner->clock = pacing->lowest;
    if (slowest > runner->clock) // nobody else runs: it leads who joins next, at its own clock
        slowest = runner->clock;
    uint64_t lead = runner->clock + runner->n_ahead - slowest;
    uint64_t room = lead < pacing->limit ? pacing->limit - lead : 0;
    runner->is_at_limit = room == 0;
    uint64_t most = pacing->limit / LEASES_PER_LIMIT ? pacing->limit / LEASES_PER_LIMIT : 1;
    return room < most ? room : most;
}

void mst_pacing_given(struct mst_pacing *pacing, uint32_t worker, uint64_t number, uint64_t n)
{
    struct mst_pacing_runner *runner = find(pacing, worker, number);
    if (!runner)
        return;
    runner->n_ahead += n;
    runner->is_running = runner->n_ahead > 0;
    (void)note_lowest(pacing); // it may have been the last that ran
}

void mst_pacing_done(struct mst_pacing *pacing, uint32_t worker, uint64_t number, uint64_t n)
{
    struct mst_pacing_runner *runner = find(pacing, worker, number);
    if (!runner)
        return;
    runner->n_ahead -= n < runner->n_ahead ? n : runner->n_ahead; // not all: given before it was known here
    runner->clock += n;
}

void mst_pacing_restore(struct mst_pacing *pacing, uint32_t worker, uint64_t number, uint64_t clock, uint64_t n_ahead)
{
    if (pacing->limit == 0)
        return;
    struct mst_pacing_runner *runner = find_or_add(pacing, worker, number);
    runner->clock = clock;
    runner->n_ahead = n_ahead;
    runner->is_running = n_ahead > 0;
}

uint64_t mst_pacing_clock(const struct mst_pacing *pacing, uint32_t worker, uint64_t number)
{
    const struct mst_pacing_runner *runner = find(pacing, worker, number);
    return runner ? runner->clock : 0;
}

static bool is_held_back(const struct mst_pacing_runner *runner)
{
    return runner->is_at_limit && !runner->is_running;
}

size_t mst_pacing_n_held_back(const struct mst_pacing *pacing)
{
    size_t n = 0;
    for (size_t i = 0; i < pacing->n_runners; i++)
        n += is_held_back(&pacing->runners[i]);
    return n;
}

void mst_pacing_awaited(const struct mst_pacing *pacing, char *out, size_t out_bytes)
{
    const struct mst_pacing_runner *slow = NULL, *fast = NULL;
    out[0] = '\0';
    for (size_t i = 0; i < pacing->n_runners; i++) {
        const struct mst_pacing_runner *runner = &pacing->runners[i];
        if (runner->is_running && (!slow || runner->clock < slow->clock))
            slow = runner;
        if (is_held_back(runner) && (!fast || runner->clock > fast->clock))
            fast = runner;
    }
    if (slow && fast && fast->clock > slow->clock)
        snprintf(out, out_bytes, "worker-%u, %llu steps behind worker-%u", slow->worker,
                 (unsigned long long)(fast->clock - slow->clock), fast->worker);
}

void mst_pacing_forget(struct mst_pacing *pacing, uint32_t worker, uint64_t number)
{
    struct mst_pacing_runner *runner = find(pacing, worker, number);
    if (runner)
        *runner = pacing->runners[--pacing->n_runners];
}
