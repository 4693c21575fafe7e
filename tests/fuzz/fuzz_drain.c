// What a stranger posts to a role, and what answers `muster admin` from an address that may be anybody's. The input is
// a path, a line end, a query, a line end, and an answer.
#include "base/alloc.h"
#include "base/error.h"
#include "cli/drain_request.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const char *path, const char *query)
{
    struct mst_drain_request request, again;
    char text[128];
    if (mst_drain_request_parse(path, query, &request, NULL) != MST_OK)
        return;
    mst_drain_request_print(&request, text, sizeof text);
    char *rest = strchr(text, '?');
    if (rest)
        *rest++ = '\0';
    MST_ASSERT(mst_drain_request_parse(text, rest ? rest : "", &again, NULL) == MST_OK);
    MST_ASSERT(again.ps == request.ps && again.incarnation == request.incarnation);
}

static void check_answer(struct mst_bytes bytes)
{
    struct mst_drain_answer answer, again;
    char text[1024];
    if (mst_drain_answer_parse(bytes, &answer, NULL) != MST_OK)
        return;
    for (const char *at = answer.waits_for; *at; at++)
        MST_ASSERT(*at >= ' ' && *at <= '~');
    mst_drain_answer_print(1, &answer, text, sizeof text);
    MST_ASSERT(mst_drain_answer_parse((struct mst_bytes){text, strlen(text)}, &again, NULL) == MST_OK);
    MST_ASSERT(again.incarnation == answer.incarnation && strcmp(again.waits_for, answer.waits_for) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *path = mst_alloc(size + 1); // zeroed
    memcpy(path, data, size);
    char *query = memchr(path, '\n', size);
    char *answer = query ? memchr(query + 1, '\n', size - (size_t)(query + 1 - path)) : NULL;
    if (query)
        *query++ = '\0';
    if (answer)
        *answer++ = '\0';
    check_request(path, query ? query : "");
    if (answer)
        check_answer((struct mst_bytes){answer, size - (size_t)(answer - path)});
    free(path);
    return 0;
}
