#include "cli/drain_request.h"

#include "base/error.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char path_start[] = "/drain/";
static const char query_start[] = "incarnation=";

enum { PS_DIGITS_MAX = 6, INCARNATION_DIGITS = 16 };

mst_status mst_drain_task_parse(const char *text, size_t *out, struct mst_error *err)
{
    *out = 0;
    const char *digits = strncmp(text, "ps-", 3) == 0 ? text + 3 : "";
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > PS_DIGITS_MAX || digits[n] != '\0' || (digits[0] == '0' && n > 1))
        return mst_fail(err, MST_INVALID_ARGUMENT, "'%.64s' is no parameter server; they are ps-0, ps-1 and so on",
                        text);
    *out = (size_t)strtoul(digits, NULL, 10);
    return MST_OK;
}

// The 16 digits that it is printed with; 0 is nobody's.
static bool read_incarnation(const char *text, uint64_t *out)
{
    *out = 0;
    if (strspn(text, "0123456789abcdef") != INCARNATION_DIGITS || text[INCARNATION_DIGITS] != '\0')
        return false;
    *out = strtoull(text, NULL, 16);
    return *out != 0;
}

void mst_drain_request_print(const struct mst_drain_request *request, char *out, size_t out_bytes)
{
    int n = snprintf(out, out_bytes, "%sps-%zu", path_start, request->ps);
    if (request->incarnation && n > 0 && (size_t)n < out_bytes)
        snprintf(out + n, out_bytes - (size_t)n, "?%s%016" PRIx64, query_start, request->incarnation);
}

mst_status mst_drain_request_parse(const char *path, const char *query, struct mst_drain_request *out,
                                   struct mst_error *err)
{
    *out = (struct mst_drain_request){0};
    if (strncmp(path, path_start, sizeof path_start - 1) != 0)
        return mst_fail(err, MST_NOT_FOUND, "what takes a POST is /drain/ps-N");
    MST_TRY(mst_drain_task_parse(path + sizeof path_start - 1, &out->ps, err));
    if (query[0] == '\0')
        return MST_OK;
    if (strncmp(query, query_start, sizeof query_start - 1) == 0 &&
        read_incarnation(query + sizeof query_start - 1, &out->incarnation))
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT, "'%.64s' is no query of /drain; it takes incarnation=, 16 hex digits",
                    query);
}

void mst_drain_answer_print(size_t ps, const struct mst_drain_answer *answer, char *out, size_t out_bytes)
{
    char task[32];
    char incarnation[INCARNATION_DIGITS + 1];
    snprintf(task, sizeof task, "ps-%zu", ps);
    snprintf(incarnation, sizeof incarnation, "%016" PRIx64, answer->incarnation);
    json_t *json = json_pack("{s:s, s:s, s:s, s:s}", "task", task, "incarnation", incarnation, "state",
                             answer->is_drained ? "drained" : "leaves", "waits_for", answer->waits_for);
    size_t len = json ? json_dumpb(json, out, out_bytes - 1, JSON_COMPACT) : 0;
    MST_ASSERT(len > 0 && len < out_bytes); // ASCII texts of ours, and the caller's buffer has room for them
    out[len] = '\0';
    json_decref(json);
}

void mst_drain_sentence_copy(struct mst_bytes text, char *out, size_t out_bytes)
{
    size_t n = 0;
    const char *from = text.data;
    while (n < text.len && n + 1 < out_bytes && from[n] != '\n' && from[n] != '\r') {
        out[n] = from[n] >= ' ' && from[n] <= '~' ? from[n] : '?'; // it goes to a terminal
        n++;
    }
    out[n] = '\0';
}

mst_status mst_drain_answer_parse(struct mst_bytes text, struct mst_drain_answer *out, struct mst_error *err)
{
    *out = (struct mst_drain_answer){0};
    json_t *json = text.len ? json_loadb(text.data, text.len, 0, NULL) : NULL;
    const char *incarnation = json_string_value(json_object_get(json, "incarnation"));
    const char *state = json_string_value(json_object_get(json, "state"));
    const char *waits_for = json_string_value(json_object_get(json, "waits_for"));
    bool is_read = incarnation && state && read_incarnation(incarnation, &out->incarnation) &&
                   (strcmp(state, "drained") == 0 || strcmp(state, "leaves") == 0);
    if (is_read) {
        out->is_drained = state[0] == 'd';
        const struct mst_bytes sentence = {waits_for, waits_for ? strlen(waits_for) : 0};
        mst_drain_sentence_copy(sentence, out->waits_for, sizeof out->waits_for);
    }
    json_decref(json);
    if (!is_read)
        return mst_fail(err, MST_DATA_LOSS, "what answers is no chief of a Muster job that can drain");
    return MST_OK;
}
