// What `muster top` reads from an address that may be anybody's: an answer of HTTP, and in it a page of metrics. What
// it shows holds nothing that a terminal would obey.
#include "base/error.h"
#include "cli/http_get.h"
#include "cli/top_view.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mst_http_get get = {.why = "no answer"};
    get.code = mst_http_answer_parse((struct mst_bytes){data, size}, &get.body);
    MST_ASSERT(get.body.len <= size);
    struct mst_top_snapshot before = {.at_seconds = 1};
    struct mst_top_snapshot now = {.at_seconds = 2};
    mst_top_snapshot_add(&before, "", "a:1", &get, &get);
    mst_top_snapshot_add(&now, "", "a:1", &get, &get);
    mst_top_snapshot_sort(&now);
    struct mst_top_style style = {.columns = 80, .rows = 24};
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    MST_ASSERT(file);
    mst_top_print(&before, &now, &style, file);
    fclose(file);
    for (size_t i = 0; i < len; i++)
        MST_ASSERT((uint8_t)text[i] >= ' ' || text[i] == '\n');
    free(text);
    json_decref(mst_top_json(&before, &now));
    mst_top_snapshot_fini(&before);
    mst_top_snapshot_fini(&now);
    return 0;
}
