// What tests may do with the server, and roles need not.
#pragma once

#include "http/http.h"

// Other limits than MST_HTTP_IDLE_SECONDS and MST_HTTP_LIFE_MS, for connections from now on.
void mst_http_set_limits(struct mst_http *http, uint64_t idle_ms, uint64_t life_ms);
