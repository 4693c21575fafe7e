#include "chief/epoch_scores.h"

#include "base/alloc.h"

#include <stdlib.h>

struct mst_epoch_entry {
    struct mst_epoch_scores scores;
    bool is_awaiting;
};

void mst_epoch_ledger_fini(struct mst_epoch_ledger *ledger)
{
    free(ledger->entries);
    *ledger = (struct mst_epoch_ledger){0};
}

void mst_epoch_ledger_trained(struct mst_epoch_ledger *ledger, uint64_t epoch, const struct mst_scores *train,
                              bool awaits_validation)
{
    ledger->entries = mst_realloc_array(ledger->entries, ledger->n + 1, sizeof *ledger->entries);
    ledger->entries[ledger->n++] =
        (struct mst_epoch_entry){.scores = {.epoch = epoch, .train = *train}, .is_awaiting = awaits_validation};
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
    ledger->n--;
    for (size_t i = 0; i < ledger->n; i++)
        ledger->entries[i] = ledger->entries[i + 1];
    return true;
}
