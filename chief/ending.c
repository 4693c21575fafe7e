// The end outlives whoever knows of it. Servers and workers end when they are told, so a chief that is killed after
// that, and before it has ended itself, would be started again among servers that are gone, or that came back empty:
// they cannot tell a job that is over from one that has not begun. So a note lies beside result.json from then on until
// the process ends well. A chief of the same run that finds it has nothing to do but to tell whoever is there; another
// run of the job, which somebody wanted, begins anew.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "tfio/disk_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOTE_BYTES = 64 };

static char *path_in(const struct mst_job *job, const char *name)
{
    return mst_text("%s/%s", job->output_dir, name);
}

static uint64_t wall_ms(void)
{
    return mst_clock_wall_ns() / 1000000;
}

void mst_chief_end_note(const struct mst_chief *chief)
{
    const struct mst_job *job = chief->config.job;
    char note[NOTE_BYTES];
    struct mst_error err;
    char *path = path_in(job, MST_CHIEF_END_NOTE);
    snprintf(note, sizeof note, "%016" PRIx64 " %" PRIu64 "\n", chief->config.identity->job_hash, wall_ms());
    mst_status status = mst_disk_write(path, (struct mst_bytes){note, strlen(note)}, &err);
    if (status == MST_OK)
        status = mst_disk_sync_folder(job->output_dir, &err);
    if (status != MST_OK) // without it a chief that is killed now may know nothing of the end: no more than that
        MST_LOG(WARN, "chief", "end not noted", "reason=\"%s\"", err.text);
    free(path);
}

// When this very job was noted to be over, in ms of the time of the day; false: it was not.
static bool read_note(const struct mst_chief *chief, uint64_t *noted_ms_out)
{
    char note[NOTE_BYTES] = {0};
    struct mst_buf found;
    char *path = path_in(chief->config.job, MST_CHIEF_END_NOTE);
    char *result = path_in(chief->config.job, MST_RESULT_FILE);
    char *end = note;
    *noted_ms_out = 0;
    bool is_noted = mst_disk_read(path, sizeof note - 1, &found, NULL) == MST_OK;
    if (is_noted && found.len > 0)
        memcpy(note, found.data, found.len);
    is_noted = is_noted && strtoull(note, &end, 16) == chief->config.identity->job_hash && *end == ' ';
    *noted_ms_out = is_noted ? strtoull(end, NULL, 10) : 0;
    is_noted = is_noted && access(result, F_OK) == 0;
    mst_buf_fini(&found);
    free(result);
    free(path);
    return is_noted;
}

// Whose end it was. Where somebody says since when there is this run, it is known; else one that is started soon after
// is taken for one of the same run, while others of it may still wait for their chief.
static bool is_of_this_run(const struct mst_chief *chief, uint64_t noted_ms)
{
    uint64_t now_ms = wall_ms();
    uint64_t age_ms = now_ms > noted_ms ? now_ms - noted_ms : 0;
    uint64_t since_ns = chief->config.run_since_ns;
    if (since_ns)
        return age_ms <= (mst_clock_monotonic_ns() - since_ns) / 1000000;
    return age_ms < chief->config.job->absence_ms;
}

bool mst_chief_end_was_noted(const struct mst_chief *chief)
{
    uint64_t noted_ms;
    if (!read_note(chief, &noted_ms))
        return false;
    bool is_ours = is_of_this_run(chief, noted_ms);
    if (is_ours)
        MST_LOG(
            WARN, "chief", "was finished",
            "says=\"this very job was finished by a chief that was killed before it ended, and %s/%s is its result: "
            "this one tells whoever is there and ends; to train anew, start all of it once more\"",
            chief->config.job->output_dir, MST_RESULT_FILE);
    else
        MST_LOG(WARN, "chief", "begins anew",
                "says=\"%s/%s is the result of an earlier run, whose chief was killed before it ended: it will be "
                "replaced\"",
                chief->config.job->output_dir, MST_RESULT_FILE);
    return is_ours;
}

void mst_chief_end_look(struct mst_chief *chief, uint64_t now_ms)
{
    if (!chief->was_finished || chief->phase > CHIEF_RECALLING)
        return;
    if (chief->end_looked_ms == 0)
        chief->end_looked_ms = now_ms;
    if (now_ms - chief->end_looked_ms >= chief->config.job->lease_ms / 2)
        mst_chief_tell(chief, MST_OK, MST_CHIEF_WAS_FINISHED);
}

void mst_chief_end_forget(const struct mst_job *job)
{
    char *path = path_in(job, MST_CHIEF_END_NOTE);
    struct mst_error err;
    if (mst_disk_remove(path, &err) != MST_OK)
        MST_LOG(WARN, "chief", "end not noted", "reason=\"%s\"", err.text);
    free(path);
}
