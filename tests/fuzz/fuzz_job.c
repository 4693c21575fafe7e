// The job file: any text up to a NUL; what follows are --set arguments, each up to a NUL. What is accepted must be read
// again as the same job.
#include "base/error.h"
#include "muster/status.h"
#include "spec/job.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_SETS = 8 };

static void check_again(const struct mst_job *job)
{
    char *text = json_dumps(job->resolved, JSON_COMPACT);
    struct mst_job_request request = {.path = "job.json", .current_dir = "/"};
    struct mst_job *again;
    struct mst_error err = {""};
    MST_ASSERT(text && mst_job_parse(&request, text, strlen(text), &again, &err) == MST_OK);
    MST_ASSERT(json_equal(job->resolved, again->resolved));
    uint64_t hash, hash_again;
    MST_ASSERT(mst_job_hash(job, "{}", 2, &hash, &err) == MST_OK);
    MST_ASSERT(mst_job_hash(again, "{}", 2, &hash_again, &err) == MST_OK && hash == hash_again);
    mst_job_free(again);
    free(text);
}

// The same text as the words of `muster predict --data`.
static void check_data(const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    struct mst_job_data data;
    struct mst_error err = {""};
    mst_status status = json ? mst_job_data_parse(json, "--data", &data, &err) : MST_OK;
    MST_ASSERT((status == MST_OK) == (err.text[0] == '\0'));
    if (json)
        mst_job_data_fini(&data);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    size_t len = strlen(text);
    const char *sets[MAX_SETS];
    struct mst_job_request request = {.path = "some/job.json", .sets = sets, .current_dir = "/here"};
    for (size_t at = len + 1; at <= size && request.n_sets < MAX_SETS; at += strlen(text + at) + 1)
        sets[request.n_sets++] = text + at;
    struct mst_job *job;
    struct mst_error err = {""};
    mst_status status = mst_job_parse(&request, text, len, &job, &err);
    MST_ASSERT((status == MST_OK) == (job != NULL));
    MST_ASSERT((status == MST_OK) == (err.text[0] == '\0'));
    if (status == MST_OK)
        check_again(job);
    mst_job_free(job);
    check_data(text);
    free(text);
    return 0;
}
