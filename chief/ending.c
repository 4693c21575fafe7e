// The end outlives whoever knows of it. Servers and workers end when they are told, so a chief that is killed after
// that, and before it has ended itself, would be started again among servers that are gone, or that came back empty:
// they cannot tell a job that is over from one that has not begun. So a note lies beside result.json from then on until
// the process ends well. A chief that finds it has nothing to do but to tell whoever is there.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/log.h"
#include "tfio/disk_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOTE_BYTES = 32 };

static char *path_in(const struct mst_job *job, const char *name)
{
    return mst_text("%s/%s", job->output_dir, name);
}

static void print_note(const struct mst_chief *chief, char note[static NOTE_BYTES])
{
    snprintf(note, NOTE_BYTES, "%016" PRIx64 "\n", chief->config.identity->job_hash);
}

void mst_chief_end_note(const struct mst_chief *chief)
{
    const struct mst_job *job = chief->config.job;
    char note[NOTE_BYTES];
    struct mst_error err;
    char *path = path_in(job, MST_CHIEF_END_NOTE);
    print_note(chief, note);
    mst_status status = mst_disk_write(path, (struct mst_bytes){note, strlen(note)}, &err);
    if (status == MST_OK)
        status = mst_disk_sync_folder(job->output_dir, &err);
    if (status != MST_OK) // without it a chief that is killed now may know nothing of the end: no more than that
        MST_LOG(WARN, "chief", "end not noted", "reason=\"%s\"", err.text);
    free(path);
}

bool mst_chief_end_was_noted(const struct mst_chief *chief)
{
    char note[NOTE_BYTES];
    struct mst_buf found;
    char *path = path_in(chief->config.job, MST_CHIEF_END_NOTE);
    char *result = path_in(chief->config.job, MST_RESULT_FILE);
    print_note(chief, note);
    bool is_noted = mst_disk_read(path, NOTE_BYTES, &found, NULL) == MST_OK;
    is_noted = is_noted && found.len == strlen(note) && memcmp(found.data, note, found.len) == 0;
    is_noted = is_noted && access(result, F_OK) == 0;
    mst_buf_fini(&found);
    free(result);
    free(path);
    return is_noted;
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
