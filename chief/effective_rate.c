#include "chief/effective_rate.h"

#include "base/alloc.h"

#include <stdlib.h>

char *mst_effective_rate_text(uint64_t batch_size, uint64_t accumulate_steps, size_t n_round_workers)
{
    unsigned long long examples = batch_size, batches = accumulate_steps;
    if (n_round_workers <= 1 && batches == 1)
        return mst_text("every batch of %llu examples is an update of its own with the whole learning rate%s", examples,
                        n_round_workers == 0 ? ", whatever the number of workers" : "");
    char *each = batches == 1 ? mst_text("a batch of %llu examples", examples)
                              : mst_text("%llu batches of %llu examples", batches, examples);
    char *whose = n_round_workers == 0
                      ? mst_text("of %s of one worker", each)
                      : mst_text("of %zu worker%s, %s each", n_round_workers, n_round_workers == 1 ? "" : "s", each);
    unsigned long long n = batches * (n_round_workers ? n_round_workers : 1);
    char *text =
        mst_text("an update is the mean gradient %s: with the same learning rate each example counts %llu times "
                 "less than where every batch is an update",
                 whose, n);
    free(whose);
    free(each);
    return text;
}
