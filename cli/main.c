// The `muster` command: one table of sub-commands, each with its table of options; the work is done by a file of each
// (run.c, local.c, …). Errors are printed here, once, and become the exit code here.
#include "base/error.h"
#include "base/log.h"
#include "cli/admin.h"
#include "cli/ckpt.h"
#include "cli/command_table.h"
#include "cli/completion.h"
#include "cli/config.h"
#include "cli/eval.h"
#include "cli/job_context.h"
#include "cli/local.h"
#include "cli/man_page.h"
#include "cli/options.h"
#include "cli/predict.h"
#include "cli/run.h"
#include "cli/top.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

enum { THREADS_MAX = 1024, TASKS_MAX = 1024 };

static const char sets_help[] =
    "override a key of the job, for example --set epochs=1 --set output.dir=/tmp/run; the value "
    "is JSON if it parses, else a text; its paths are relative to the current directory";
static const char threads_help[] = "compute threads (default: the CPUs this process may use)";
static const char log_level_help[] =
    "which log lines to print, for example all=info,rpc=debug,-ckpt (default: MUSTER_LOG, else all=info)";
static const char http_base_port_help[] =
    "serve /metrics, /healthz and /readyz on these ports of 127.0.0.1: the chief on PORT, workers, parameter servers "
    "and "
    "the evaluator on those that follow (default: free ones, which muster top finds)";
static const char log_format_help[] = "the form of log lines: json is one object a line (default: text)";

#define LOG_OPTIONS(log)                                                                                               \
    MST_OPTION_TEXT("log", "text|json", &(log)->format, log_format_help),                                              \
        MST_OPTION_TEXT("log-level", "FILTER", &(log)->level, log_level_help)

// What the options of logging say; NULL: not given.
struct log_options {
    const char *level;
    const char *format;
    const char *file;
};

static mst_status set_log(const struct log_options *log, struct mst_error *err)
{
    if (log->format && mst_log_set_format(log->format, err) != MST_OK)
        return mst_fail_prefix(err, MST_INVALID_ARGUMENT, "--log");
    const char *from_environment = getenv("MUSTER_LOG");
    if (!log->level && from_environment && mst_log_set_filter(from_environment, err) != MST_OK)
        return mst_fail_prefix(err, MST_INVALID_ARGUMENT, "MUSTER_LOG");
    if (log->level)
        MST_TRY(mst_log_set_filter(log->level, err));
    if (!log->file)
        return MST_OK;
    int fd = open(log->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "--log-file: %s cannot be opened (%s); name a file in a directory that "
                        "exists and may be written",
                        log->file, strerror(errno));
    mst_log_set_fd(fd); // stays open until the process ends
    return MST_OK;
}

static mst_status check_progress_fd(int fd, struct mst_error *err)
{
    if (fd < 0 || fcntl(fd, F_GETFD) >= 0)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "--progress-fd: descriptor %d is not open; give one that is, as in --progress-fd 3 3>FILE", fd);
}

static mst_status run_role(const struct mst_run_options *run, const struct log_options *log, int *exit_code,
                           struct mst_error *err)
{
    MST_TRY(set_log(log, err));
    MST_TRY(check_progress_fd(run->progress_fd, err));
    return mst_run(run, exit_code, err);
}

static mst_status run_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const char *const examples[] = {"muster run job.json",
                                           "train in one process",
                                           "TF_CONFIG='{\"cluster\": …, \"task\": …}' muster run job.json",
                                           "be the role that TF_CONFIG names",
                                           "muster run job.json --task-type worker --task-index-from hostname",
                                           "in a StatefulSet: the index is the pod's",
                                           NULL};
    struct mst_run_options run = {.listen_fd = -1, .progress_fd = -1, .grace_seconds = 10};
    struct mst_text_list sets = {0};
    struct log_options log = {0};
    const struct mst_option options[] = {
        MST_OPTION_LIST("set", "KEY=VALUE", &sets, sets_help),
        MST_OPTION_TEXT("task-type", "chief|worker|ps|evaluator", &run.task_type,
                        "this process's role (default: TF_CONFIG's task.type)"),
        MST_OPTION_TEXT("task-index", "N", &run.task_index, "this process's index (default: TF_CONFIG's task.index)"),
        MST_OPTION_TEXT("task-index-from", "SOURCE", &run.task_index_from,
                        "where the index comes from: 'hostname' (the number a pod's name ends with) or 'env:NAME'"),
        MST_OPTION_TEXT("http", "[ADDR:]PORT", &run.http,
                        "serve /metrics, /healthz and /readyz there; without ADDR on every address; port 0: any free "
                        "one, which is logged"),
        MST_OPTION_COUNT("threads", "N", &run.n_threads, 1, THREADS_MAX, threads_help),
        MST_OPTION_COUNT("data-threads", "N", &run.n_data_threads, 1, THREADS_MAX,
                         "threads of a parameter server that serve pushes and pulls"),
        LOG_OPTIONS(&log),
        MST_OPTION_TEXT("log-file", "FILE", &log.file, "append log lines to FILE (default: standard error)"),
        MST_OPTION_FLAG("park", &run.parks,
                        "when the job is finished, sleep until SIGTERM (a StatefulSet starts again what ends)"),
        MST_OPTION_COUNT("grace", "SECONDS", &run.grace_seconds, 0, 86400,
                         "after SIGTERM or Ctrl-C, so long to leave well: a worker finishes its step, a chief writes a "
                         "checkpoint (default: 10)"),
        MST_OPTION_FD("listen-fd", "FD", &run.listen_fd,
                      "listen on this open descriptor (a listening socket) instead of TF_CONFIG's port"),
        MST_OPTION_FD("progress-fd", "FD", &run.progress_fd,
                      "the chief writes its progress there, one JSON object a line"),
    };
    const struct mst_command command = {
        .name = "run",
        .summary = "Trains: runs the role that TF_CONFIG names; without TF_CONFIG one process does everything.",
        .details = "Roles may start in any order; each waits for those it needs and says every 10 s who is missing. "
                   "Exit code: 0 "
                   "finished, 2 wrong arguments or configuration, 1 wrong data or a loss that is not a number, 138 "
                   "what may pass "
                   "when started again, 143 and 130 after SIGTERM and Ctrl-C with work left.",
        .operand = "JOB",
        .operand_value = &run.job,
        .options = options,
        .n_options = LENGTH(options),
        .examples = examples};
    bool is_to_run;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run) {
        run.sets = sets.items;
        run.n_sets = sets.n;
        status = run_role(&run, &log, exit_code, err);
    }
    mst_text_list_fini(&sets);
    return status;
}

static const char local_details[] =
    "Each process writes its log to logs/ in the job's output directory. A worker that dies is started "
    "again; what "
    "cannot go on ends the job with the last lines of the log that says why. Ctrl-C stops all; a second "
    "one at once. Exit code: 0 finished, 2 wrong arguments or configuration, 1 wrong data or a loss that "
    "is not a number, 138 what may pass when started again, 143 and 130 after SIGTERM and Ctrl-C with "
    "work left.";

static mst_status local_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const char *const examples[] = {
        "muster local job.json",
        "one worker and one parameter server",
        "muster local job.json --workers 2 --ps 2",
        "two of each",
        "muster local job.json --workers 2 --ps 2 --set epochs=1 --set output.dir=/tmp/run",
        "with two keys of the job changed",
        NULL};
    struct log_options log = {0};
    struct mst_local_options local = {.n_workers = 1, .n_ps = 1, .max_restarts = 5};
    struct mst_text_list sets = {0};
    const struct mst_option options[] = {
        MST_OPTION_COUNT("workers", "N", &local.n_workers, 1, TASKS_MAX, "worker processes (default: 1)"),
        MST_OPTION_COUNT("ps", "N", &local.n_ps, 1, TASKS_MAX, "parameter server processes (default: 1)"),
        MST_OPTION_COUNT("evaluators", "N", &local.n_evaluators, 0, 1,
                         "evaluator processes, 0 or 1 (default: 0, the chief evaluates); eval.every says how often"),
        MST_OPTION_LIST("set", "KEY=VALUE", &sets, sets_help),
        MST_OPTION_COUNT("max-restarts", "N", &local.max_restarts, 0, 1000,
                         "how often in a minute a process that died is started again (default: 5)"),
        MST_OPTION_COUNT("http-base-port", "PORT", &local.http_base_port, 1, 65535, http_base_port_help),
        MST_OPTION_COUNT("threads", "N", &local.n_threads, 1, THREADS_MAX,
                         "compute threads of each worker (default: its share of the CPUs)"),
        MST_OPTION_COUNT("data-threads", "N", &local.n_data_threads, 1, THREADS_MAX,
                         "threads of each parameter server that serve pushes and pulls (default: its share of the "
                         "CPUs, at most 4)"),
        LOG_OPTIONS(&log),
    };
    const struct mst_command command = {
        .name = "local",
        .summary = "Trains on a cluster of processes on this machine: a chief, workers and parameter servers.",
        .details = local_details,
        .operand = "JOB",
        .operand_value = &local.job,
        .options = options,
        .n_options = LENGTH(options),
        .examples = examples};
    bool is_to_run;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run) {
        local.sets = sets.items;
        local.n_sets = sets.n;
        local.log_level = log.level;
        status = set_log(&log, err);
        if (status == MST_OK)
            status = mst_local(&local, exit_code, err);
    }
    mst_text_list_fini(&sets);
    return status;
}

// The model, the loss, the metrics and the optimizer fail here as they would at the start of a job.
static mst_status show_config(const struct mst_cluster_request *cluster, const struct mst_job_request *job,
                              bool skips_model, struct mst_error *err)
{
    if (!job || skips_model)
        return mst_config_run(cluster, job, NULL, stdout, err);
    struct mst_job_context *context;
    MST_TRY(mst_job_context_new(job, &context, err));
    json_t *model = mst_job_context_describe(context);
    mst_status status = mst_config_run(cluster, job, model, stdout, err);
    json_decref(model);
    mst_job_context_free(context);
    return status;
}

static mst_status config_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const char *const examples[] = {"muster config", "what is understood from TF_CONFIG",
                                           "muster config job.json --set epochs=1", "and the job with every default",
                                           NULL};
    struct mst_cluster_request cluster = {.tf_config = getenv("TF_CONFIG")};
    struct mst_job_request job = {0};
    struct mst_text_list sets = {0};
    bool skips_model = false;
    const struct mst_option options[] = {
        MST_OPTION_LIST("set", "KEY=VALUE", &sets, sets_help),
        MST_OPTION_TEXT("task-type", "chief|worker|ps|evaluator", &cluster.task_type,
                        "this process's role (default: TF_CONFIG's task.type)"),
        MST_OPTION_TEXT("task-index", "N", &cluster.task_index,
                        "this process's index (default: TF_CONFIG's task.index)"),
        MST_OPTION_TEXT("task-index-from", "SOURCE", &cluster.task_index_from,
                        "where the index comes from: 'hostname' or 'env:NAME'"),
        MST_OPTION_FLAG("no-model", &skips_model, "do not look into the model and compile"),
    };
    const struct mst_command command = {
        .name = "config",
        .summary = "Prints what TF_CONFIG and the job mean, every default filled in, and starts nothing.",
        .details = "With a JOB the model, the loss, the metrics and the optimizer are read, too, so what would fail at "
                   "the start of the job fails here, with exit code 2.",
        .operand = "[JOB]",
        .operand_value = &job.path,
        .options = options,
        .n_options = LENGTH(options),
        .examples = examples};
    *exit_code = 0;
    bool is_to_run;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run) {
        job.sets = sets.items;
        job.n_sets = sets.n;
        if (!job.path && job.n_sets)
            status = mst_fail(err, MST_INVALID_ARGUMENT, "--set %s changes a job, but no JOB is given", sets.items[0]);
        else
            status = show_config(&cluster, job.path ? &job : NULL, skips_model, err);
    }
    mst_text_list_fini(&sets);
    return status;
}

static mst_status eval_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const char *const examples[] = {"muster eval job.json", "the newest checkpoint on the job's data.eval",
                                           "muster eval job.json --checkpoint run/ckpt/model-4690", "this one", NULL};
    struct mst_eval_options eval = {0};
    struct mst_text_list sets = {0};
    struct log_options log = {0};
    const struct mst_option options[] = {
        MST_OPTION_LIST("set", "KEY=VALUE", &sets, sets_help),
        MST_OPTION_TEXT("checkpoint", "PREFIX", &eval.checkpoint,
                        "the checkpoint (default: the newest whole one of the job)"),
        MST_OPTION_COUNT("threads", "N", &eval.n_threads, 1, THREADS_MAX, threads_help),
        LOG_OPTIONS(&log),
    };
    const struct mst_command command = {
        .name = "eval",
        .summary = "Prints loss and metrics of a checkpoint on the job's evaluation data, as one JSON object.",
        .operand = "JOB",
        .operand_value = &eval.job,
        .options = options,
        .n_options = LENGTH(options),
        .examples = examples};
    *exit_code = 0;
    bool is_to_run;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run) {
        eval.sets = sets.items;
        eval.n_sets = sets.n;
        status = set_log(&log, err);
        if (status == MST_OK)
            status = mst_eval(&eval, err);
    }
    mst_text_list_fini(&sets);
    return status;
}

static const char *const predict_examples[] = {
    "muster predict job.json --input images.gz",
    "the newest checkpoint of the job, CSV to standard output",
    "muster predict run/model --input images.gz --format jsonl --output p.jsonl",
    "a model directory, JSON lines to a file",
    "muster predict run/model --input flowers.csv --label kind",
    "a CSV file with a column that is no feature",
    NULL};

static mst_status predict_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    struct mst_predict_options predict = {0};
    struct mst_text_list sets = {0}, inputs = {0};
    struct log_options log = {0};
    const struct mst_option options[] = {
        MST_OPTION_LIST("input", "[NAME=]FILE", &inputs,
                        "the examples: CSV if the name ends in .csv or .csv.gz, else IDX; plain or gzip; of a model "
                        "with several inputs one IDX file for each, by the input's name"),
        MST_OPTION_TEXT("data", "JSON", &predict.data,
                        "CSV: how to read it, with the keys that data.train of a job has: columns, inputs, label, "
                        "separator, header, missing, categories (default: as in the job)"),
        MST_OPTION_TEXT("label", "COLUMN", &predict.label,
                        "CSV: a column that is no feature, by name or number from 0 (default: the job's label, if the "
                        "file has it)"),
        MST_OPTION_FLAG("no-header", &predict.is_headless,
                        "CSV: the first line is an example (default: as in the job)"),
        MST_OPTION_TEXT("output", "FILE", &predict.output,
                        "where the predictions go; the file appears when it is whole (default: standard output)"),
        MST_OPTION_TEXT("format", "csv|jsonl", &predict.format,
                        "CSV without a header, or JSON lines of arrays; several outputs are columns NAME_0, NAME_1, … "
                        "under a header, or objects by name (default: csv)"),
        MST_OPTION_TEXT("checkpoint", "PREFIX", &predict.checkpoint,
                        "the weights (default: the job's newest whole checkpoint, or those of MODEL_DIR)"),
        MST_OPTION_LIST("set", "KEY=VALUE", &sets, sets_help),
        MST_OPTION_COUNT("threads", "N", &predict.n_threads, 1, THREADS_MAX, threads_help),
        LOG_OPTIONS(&log),
    };
    const struct mst_command command = {
        .name = "predict",
        .summary = "Prints what a trained model says of each example of a file: one line an example.",
        .details = "The numbers are those of Keras's model.predict for the same weights, with 9 digits; an output of "
                   "several axes is flattened in CSV and nested in JSON.",
        .operand = "JOB|MODEL_DIR|FILE.keras",
        .operand_value = &predict.model,
        .options = options,
        .n_options = LENGTH(options),
        .examples = predict_examples};
    *exit_code = 0;
    bool is_to_run;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run) {
        predict.sets = sets.items;
        predict.n_sets = sets.n;
        predict.inputs = inputs.items;
        predict.n_inputs = inputs.n;
        status = set_log(&log, err);
        if (status == MST_OK)
            status = mst_predict(&predict, err);
    }
    mst_text_list_fini(&inputs);
    mst_text_list_fini(&sets);
    return status;
}

static mst_status top_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const char *const examples[] = {"muster top --job job.json",
                                           "the muster local that trains it",
                                           "muster top 10.0.0.7:8080 10.0.0.8:8080",
                                           "two roles of a cluster",
                                           "TF_CONFIG=… muster top --http-port 8080",
                                           "all that TF_CONFIG names, where 'muster run --http 8080' serves",
                                           "muster top --job job.json --once --json",
                                           "once, for a program",
                                           NULL};
    struct mst_top_options top = {
        .whom = {.tf_config = getenv("TF_CONFIG"), .http_port = 8080, .given_as = "the HTTP addresses of roles"}};
    struct mst_text_list sets = {0};
    struct mst_text_list addresses = {0};
    const struct mst_option options[] = {
        MST_OPTION_TEXT("job", "JOB", &top.whom.job, "ask the processes of the muster local that runs this job"),
        MST_OPTION_LIST("set", "KEY=VALUE", &sets, "with --job: the same as muster local was given"),
        MST_OPTION_COUNT("http-port", "PORT", &top.whom.http_port, 1, 65535,
                         "with TF_CONFIG: the HTTP port of every role (default: 8080)"),
        MST_OPTION_FLAG("once", &top.is_once, "print one table, of one second, and end"),
        MST_OPTION_FLAG("json", &top.is_json, "print a JSON object a second instead of a table"),
    };
    const struct mst_command command = {
        .name = "top",
        .summary = "Shows what every role of a job does, and every bucket of parameters, anew each second.",
        .details = "Roles are asked for /metrics and /readyz at their HTTP addresses; one that cannot be reached is "
                   "shown with the reason. Rates are of the last second, STALENESS is the mean number of updates by "
                   "others between what a worker computed with and its push. Ctrl-C ends it.",
        .operand = "[ADDRESS…]",
        .operand_list = &addresses,
        .options = options,
        .n_options = LENGTH(options),
        .examples = examples};
    bool is_to_run;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run) {
        top.whom.sets = sets.items;
        top.whom.n_sets = sets.n;
        top.whom.addresses = addresses.items;
        top.whom.n_addresses = addresses.n;
        status = mst_top(&top, exit_code, err);
    }
    mst_text_list_fini(&sets);
    mst_text_list_fini(&addresses);
    return status;
}

static mst_status completion_command(const struct mst_call *call, int *exit_code, struct mst_error *err);
static mst_status help_command(const struct mst_call *call, int *exit_code, struct mst_error *err);

static const struct mst_command_row rows[] = {
    {"local", local_command, "train on a cluster of processes on this machine"},
    {"run", run_command, "train: the role that TF_CONFIG names, or all in one process"},
    {"config", config_command, "print what TF_CONFIG and the job mean"},
    {"eval", eval_command, "loss and metrics of a checkpoint"},
    {"predict", predict_command, "what a trained model says of each example of a file"},
    {"ckpt", mst_ckpt_command, "list, show, check, rewrite and compare checkpoints, ours and TensorFlow's"},
    {"top", top_command, "what every role of a running job does, anew each second"},
    {"admin", mst_admin_command, "relieve a parameter server of a running job, so that it may be stopped"},
    {"completion", completion_command, "print a script that completes commands and options in a shell"},
    {"help", help_command, "print the help of a command"},
};
static const char *const hints[] = {"'muster COMMAND --help' says more; 'muster --version' prints the version.",
                                    "Try: muster local examples/fashion-mnist/job.json --workers 2 --ps 2", NULL};
static const struct mst_command_table commands = {.program = "muster",
                                                  .summary =
                                                      "Trains Keras models on a TF_CONFIG parameter-server cluster.",
                                                  .hints = hints,
                                                  .rows = rows,
                                                  .n_rows = LENGTH(rows)};

static mst_status completion_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const char *const examples[] = {"source <(muster completion bash)",
                                           "in this shell, or in ~/.bashrc",
                                           "muster completion zsh > ~/.zfunc/_muster",
                                           "a folder that $fpath names before compinit",
                                           "muster completion fish > ~/.config/fish/completions/muster.fish",
                                           "from the next shell on",
                                           NULL};
    const char *shell = NULL;
    const struct mst_command command = {.name = "completion",
                                        .summary =
                                            "Prints a script that completes commands, options and values in a shell.",
                                        .operand = "bash|zsh|fish",
                                        .operand_value = &shell,
                                        .examples = examples};
    (void)exit_code;
    bool is_to_run;
    MST_TRY(mst_options_read(&command, call, &is_to_run, err));
    return is_to_run ? mst_completion_print(&commands, shell, stdout, err) : MST_OK;
}

static mst_status help_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const char *const examples[] = {"muster help local", "what 'muster local --help' prints", NULL};
    const char *name = NULL;
    const char *man_directory = NULL;
    const struct mst_option options[] = {
        MST_OPTION_TEXT("man-pages", "DIR", &man_directory, "write the manual pages of all commands there instead"),
    };
    const struct mst_command command = {.name = "help",
                                        .summary = "Prints the help of a command, or the list of commands.",
                                        .operand = "[COMMAND]",
                                        .operand_value = &name,
                                        .options = options,
                                        .n_options = LENGTH(options),
                                        .examples = examples};
    bool is_to_run;
    MST_TRY(mst_options_read(&command, call, &is_to_run, err));
    if (!is_to_run)
        return MST_OK;
    if (man_directory)
        return mst_man_pages_write(&commands, man_directory, err);
    if (!name) {
        mst_command_table_help(&commands, stdout);
        return MST_OK;
    }
    const struct mst_command_row *row;
    MST_TRY(mst_command_table_find(&commands, name, &row, err));
    char word[] = "--help";
    char *words[] = {word};
    const struct mst_call its_help = {.argc = 1, .argv = words};
    return row->run(&its_help, exit_code, err);
}

static mst_status dispatch(int argc, char *const *argv, int *exit_code, struct mst_error *err)
{
    const struct mst_command_row *row;
    MST_TRY(mst_command_table_find(&commands, argv[1], &row, err));
    const struct mst_call call = {.argc = argc - 2, .argv = argv + 2};
    return row->run(&call, exit_code, err);
}

// On standard error, wherever log lines go: whoever started this has to see why it ended.
static void say_failure(const char *text, int exit_code)
{
    if (!mst_log_is_json()) {
        fprintf(stderr, "muster: %s\n", text);
        return;
    }
    mst_log_set_fd(STDERR_FILENO);
    MST_LOG(ERROR, "cli", "ended", "exit_code=%d reason=\"%s\"", exit_code, text);
}

int main(int argc, char **argv)
{
    struct mst_error err = {""};
    int exit_code = 0;
    setlocale(LC_CTYPE, "");  // never LC_NUMERIC: numbers in JSON have a point
    signal(SIGPIPE, SIG_IGN); // a peer or reader that is gone is an error code, not a death
    if (argc < 2) {
        mst_command_table_help(&commands, stderr);
        return mst_status_exit_code(MST_INVALID_ARGUMENT);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        mst_command_table_help(&commands, stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("muster %s\n", MUSTER_VERSION);
        return 0;
    }
    mst_status status = dispatch(argc, argv, &exit_code, &err);
    if (status != MST_OK) {
        exit_code = mst_status_exit_code(status);
        say_failure(err.text[0] ? err.text : mst_status_text(status), exit_code);
    }
    return exit_code;
}
