#include "base/log_rate.h"

bool mst_log_rate_allows(struct mst_log_rate *rate, uint64_t now_ms, size_t *n_unlogged_out)
{
    uint64_t *oldest = &rate->logged_ms[rate->next];
    *n_unlogged_out = rate->n_unlogged;
    if (*oldest && now_ms + 1 - *oldest < MST_LOG_RATE_MS) {
        rate->n_unlogged++;
        return false;
    }
    *oldest = now_ms + 1;
    rate->next = (rate->next + 1) % MST_LOG_RATE_LINES;
    rate->n_unlogged = 0;
    return true;
}
