/** @file
 *  The job file: one JSON for all roles, checked against one table, every default filled in, paths absolute.
 *
 *      struct mst_job_request request = {.path = "job.json", .sets = sets, .n_sets = n_sets};
 *      MST_TRY(mst_job_load(&request, &job, err));
 *      … job->batch_size, job->train.inputs …
 *      mst_job_free(job);
 *
 *  Paths are relative to the file; those that --set gives are relative to the current directory. A key whose feature is
 * not built yet is refused by name. The room knows no layer, loss or optimizer: `compile` is kept as JSON for model and
 * optim. Immutable after loading. Thread: any.
 */
#pragma once

#include "spec/callback.h"
#include "spec/partitioner.h"
#include "spec/schema.h"

/** One input or output of a data set. */
struct mst_job_part {
    char *name; // NULL: the only one, whatever the model calls it
    char *path; // idx: absolute path
    char **columns;
    size_t n_columns; // csv; 0, of an input: all that nobody else names
};

/** One data set; `format` is "idx" or "csv". */
struct mst_job_data {
    char *format;
    char *file; // csv: absolute path
    struct mst_job_part *inputs;
    size_t n_inputs;
    struct mst_job_part *outputs;
    size_t n_outputs;
    char *weights;      // idx: absolute path; csv: a column; NULL: none
    char separator;     // csv
    bool is_headless;   // csv: the first line is an example too
    bool fills_missing; // csv: an empty field means `missing`
    float missing;
    struct mst_job_part *categories; // csv: of the column `name` the texts `columns`, in their numbers' order
    size_t n_categories;
    bool shuffle;
};

/** How workers wait for each other: consistency.staleness. */
enum mst_consistency {
    MST_CONSISTENCY_ASYNC,       // nobody waits
    MST_CONSISTENCY_BOUNDED,     // a worker leads by at most `staleness` steps
    MST_CONSISTENCY_SYNCHRONOUS, // rounds
};

/** A job, resolved. */
struct mst_job {
    char *file; // as given, for messages
    char *name;
    char *model_path;     // absolute
    char *init_from;      // absolute; NULL: initial values
    json_t *compile;      // optimizer, loss, metrics as Keras serialises them; optimizer and loss are there
    json_t *class_weight; // an object by class, or null

    struct mst_job_data train;
    struct mst_job_data eval; // format NULL: no evaluation
    uint64_t batch_size;      // of one worker
    uint64_t epochs;          // 0: steps decides
    uint64_t steps;           // 0: epochs decides
    uint64_t seed;

    enum mst_consistency consistency;
    uint64_t staleness;        // BOUNDED: steps that a worker may lead by
    uint64_t backup_workers;   // SYNCHRONOUS: how many a round does not wait for
    uint64_t round_workers;    // SYNCHRONOUS: workers of a round; 0: those of TF_CONFIG
    uint64_t accumulate_steps; // batches of one push

    struct mst_partitioner partitioner;
    uint64_t replicas; // copies of each group of shards beside the first

    char *checkpoint_dir;            // absolute
    char *checkpoint_chief_dir;      // where the chief writes: the same, or with local a folder below it
    uint64_t checkpoint_every_steps; // 0: not by steps
    double checkpoint_every_seconds; // 0: not by time
    uint64_t checkpoint_keep;
    bool checkpoint_resume;
    bool checkpoint_local;
    uint64_t checkpoint_max_bytes_per_second; // 0: no limit
    bool eval_every_epoch;
    uint64_t eval_every_steps; // 0: not by steps
    double eval_final_timeout_seconds;

    uint64_t heartbeat_ms;
    uint64_t lease_ms;
    uint64_t absence_ms; // how long the others wait for a chief or a parameter server that is gone
    bool adds_checksums; // to all bodies, between processes
    char *output_dir;    // absolute
    bool output_keras;

    struct mst_job_callback *callbacks; // in the order of the file
    size_t n_callbacks;

    json_t *resolved; // the whole job with every default, paths absolute; what `muster config` prints
};

/** Where a job comes from. All borrowed. */
struct mst_job_request {
    const char *path;
    const char *const *sets; // --set arguments, "a.b=c", in order
    size_t n_sets;
    const char *current_dir; // what the paths of sets are relative to; NULL: getcwd()
};

/** New job in *out from a file. steps given by --set replaces epochs of the file, and the other way round.
 *  Errors: INVALID_ARGUMENT one sentence with file and line, or file and key path (*out NULL) */
MST_MUST_USE mst_status mst_job_load(const struct mst_job_request *request, struct mst_job **out,
                                     struct mst_error *err);

/** As mst_job_load, from text in memory; request->path names it in errors and says what its paths are relative to. */
MST_MUST_USE mst_status mst_job_parse(const struct mst_job_request *request, const char *text, size_t len,
                                      struct mst_job **out, struct mst_error *err);

/** Looks at how many parameter servers there are.
 *  Errors: INVALID_ARGUMENT the job wants more copies of its variables than they can hold */
MST_MUST_USE mst_status mst_job_check_ps(const struct mst_job *job, size_t n_ps, struct mst_error *err);

/** Releases it; NULL is fine. */
void mst_job_free(struct mst_job *job);

/** A data set's struct from a resolved job's data.train or data.eval; zeros for null. Owner: the caller, until
 *  mst_job_data_fini */
struct mst_job_data mst_job_data_of(const json_t *data);
/** A data set's struct from an object with the keys of data.train that say how a CSV file is read; those that say where
 *  files are do not belong to it, and no label is needed. source: for errors.
 *  Owner:  *out is the caller's, until mst_job_data_fini; zeros after a failure
 *  Errors: INVALID_ARGUMENT one sentence with source and key */
MST_MUST_USE mst_status mst_job_data_parse(const json_t *json, const char *source, struct mst_job_data *out,
                                           struct mst_error *err);
/** Releases it. */
void mst_job_data_fini(struct mst_job_data *data);

/** The 64 bits by which processes know that they run the same job: of the resolved job without paths, checkpoint and
 *  output, and of the model. Layout and order of keys in either file do not matter.
 *  Errors: INVALID_ARGUMENT the model's text is not JSON (*out 0) */
MST_MUST_USE mst_status mst_job_hash(const struct mst_job *job, const char *model_text, size_t model_len, uint64_t *out,
                                     struct mst_error *err);

/** The table of the job file's keys. */
const struct mst_schema *mst_job_schema(void);
/** The table of a partitioner's `config`, by class; NULL for NONE. */
const struct mst_schema *mst_partitioner_schema(enum mst_partitioner_kind kind);
