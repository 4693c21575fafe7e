#include "chief/epoch_scores.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>

struct mst_epoch_entry {
    struct mst_epoch_record record;
    struct mst_epoch_scores scores;
    bool is_awaiting;
};

void mst_epoch_ledger_fini(struct mst_epoch_ledger *ledger)
{
    for (size_t i = 0; i < ledger->n; i++)
        mst_training_sums_fini(&ledger->entries[i].record.sums);
    free(ledger->entries);
    *ledger = (struct mst_epoch_ledger){0};
}

void mst_epoch_ledger_trained(struct mst_epoch_ledger *ledger, const struct mst_epoch_record *record,
                              const struct mst_scores *train, bool awaits_validation)
{
    ledger->entries = mst_realloc_array(ledger->entries, ledger->n + 1, sizeof *ledger->entries);
    struct mst_epoch_entry *entry = &ledger->entries[ledger->n++];
    *entry = (struct mst_epoch_entry){.record = {.epoch = record->epoch, .n_steps = record->n_steps},
                                      .scores = {.epoch = record->epoch, .train = *train},
                                      .is_awaiting = awaits_validation};
    mst_training_sums_init(&entry->record.sums, record->sums.n_values);
    mst_training_sums_copy(&entry->record.sums, &record->sums);
}

const struct mst_epoch_record *mst_epoch_ledger_at(const struct mst_epoch_ledger *ledger, size_t at)
{
    MST_ASSERT(at < ledger->n);
    return &ledger->entries[at].record;
}

void mst_epoch_ledger_validated(struct mst_epoch_ledger *ledger, uint64_t epoch, const struct mst_scores *validation)
{
    for (size_t i = 0; i < ledger->n; i++) {
        struct mst_epoch_entry *entry = &ledger->entries[i];
        if (entry->scores.epoch != epoch || !entry->is_awaiting)
            continue;
        entry->is_awaiting = false;
        if (validation)
            entry->scores.validation = *validation;
    }
}

void mst_epoch_ledger_give_up(struct mst_epoch_ledger *ledger)
{
    for (size_t i = 0; i < ledger->n; i++)
        ledger->entries[i].is_awaiting = false;
}

bool mst_epoch_ledger_take(struct mst_epoch_ledger *ledger, struct mst_epoch_scores *out)
{
    if (ledger->n == 0 || ledger->entries[0].is_awaiting)
        return false;
    *out = ledger->entries[0].scores;
    mst_training_sums_fini(&ledger->entries[0].record.sums);
    ledger->n--;
    for (size_t i = 0; i < ledger->n; i++)
        ledger->entries[i] = ledger->entries[i + 1];
    return true;
}
