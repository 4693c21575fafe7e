// An entry, all scalars of one folder and step, is made where the numbers are and posted to the work loop, because a
// disk may hang and the control loop must not. An entry that is still in the mailbox when that loop is freed is written
// then (its drop function is the same one), so the last numbers of a job are never lost to its end.
#include "chief/board.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "event/loop.h"
#include "muster/status.h"
#include "tfio/event_file.h"

#include <stdbool.h>
#include <stdlib.h>

enum board_folder { FOLDER_TRAIN, FOLDER_VALIDATION, N_FOLDERS };

static const char *const folder_names[N_FOLDERS] = {[FOLDER_TRAIN] = "train", [FOLDER_VALIDATION] = "validation"};

struct mst_board {
    struct mst_board_config config;
    struct mst_event_file *files[N_FOLDERS]; // NULL until the first number; on the work loop
    bool has_failed;                         // the log says so; on the work loop
};

enum { SCALARS_MAX = MST_MEASURES_MAX + 1 }; // with the learning rate

struct board_entry {
    struct mst_board *board;
    enum board_folder folder;
    uint64_t step;
    uint64_t wall_ns;
    struct mst_event_scalar scalars[SCALARS_MAX]; // with tags of their own
    size_t n_scalars;
    struct mst_event_bin bins[MST_STALENESS_BINS]; // or a histogram
    size_t n_bins;
};

struct mst_board *mst_board_new(const struct mst_board_config *config)
{
    struct mst_board *board = mst_alloc(sizeof *board);
    board->config = *config;
    return board;
}

void mst_board_free(struct mst_board *board)
{
    if (!board)
        return;
    for (size_t i = 0; i < N_FOLDERS; i++)
        mst_event_file_free(board->files[i]);
    free(board);
}

// ---- on the work loop, or when it has ended ----

static mst_status write_entry(const struct board_entry *entry, struct mst_error *err)
{
    struct mst_board *board = entry->board;
    struct mst_event_file **file = &board->files[entry->folder];
    if (!*file) {
        char *folder = mst_text("%s/tensorboard/%s", board->config.output_dir, folder_names[entry->folder]);
        mst_status status = mst_event_file_new(folder, entry->wall_ns, file, err);
        free(folder);
        if (status != MST_OK)
            return status;
    }
    if (entry->n_bins > 0) {
        const struct mst_event_histogram staleness = {"staleness", entry->bins, entry->n_bins};
        return mst_event_file_append_histogram(*file, &staleness, entry->step, entry->wall_ns, err);
    }
    return mst_event_file_append(*file, entry->scalars, entry->n_scalars, entry->step, entry->wall_ns, err);
}

static void on_entry(void *arg)
{
    struct board_entry *entry = arg;
    struct mst_board *board = entry->board;
    struct mst_error err = {0};
    mst_status status = write_entry(entry, &err);
    if (status != MST_OK && !board->has_failed) {
        board->has_failed = true;
        MST_LOG(WARN, "chief", "curves not written", "reason=\"%s\"", err.text);
    }
    for (size_t i = 0; i < entry->n_scalars; i++)
        free((char *)entry->scalars[i].tag);
    free(entry);
}

// ---- where the numbers are ----

static struct board_entry *new_entry(struct mst_board *board, enum board_folder folder, uint64_t step)
{
    struct board_entry *entry = mst_alloc(sizeof *entry);
    entry->board = board;
    entry->folder = folder;
    entry->step = step;
    entry->wall_ns = mst_clock_wall_ns();
    return entry;
}

static void add(struct board_entry *entry, char *tag, double value)
{
    entry->scalars[entry->n_scalars++] = (struct mst_event_scalar){tag, (float)value};
}

// Keras's order: the metrics, then the loss.
static void add_scores(struct board_entry *entry, const char *prefix, const char *suffix,
                       const struct mst_scores *scores)
{
    for (size_t i = 1; i <= scores->n; i++) {
        size_t measure = i % scores->n;
        add(entry, mst_text("%s%s%s", prefix, scores->names[measure], suffix), scores->values[measure]);
    }
}

static void post(struct board_entry *entry)
{
    mst_loop_post_or_drop(entry->board->config.work, on_entry, on_entry, entry);
}

void mst_board_epoch(struct mst_board *board, uint64_t epoch, const struct mst_scores *scores, float learning_rate)
{
    if (!scores->is_known)
        return;
    struct board_entry *entry = new_entry(board, FOLDER_TRAIN, epoch);
    add_scores(entry, "epoch_", "", scores);
    add(entry, mst_strdup("epoch_learning_rate"), (double)learning_rate);
    post(entry);
}

void mst_board_staleness(struct mst_board *board, uint64_t epoch, const struct mst_training_sums *sums)
{
    if (sums->steps == 0)
        return;
    struct board_entry *entry = new_entry(board, FOLDER_TRAIN, epoch);
    double left = 0;
    for (size_t i = 0; i < MST_STALENESS_BINS; i++) {
        // Whole numbers up to the limit: the bin's right edge is the next one. The last ends at what there was.
        double right = i + 1 < MST_STALENESS_BINS            ? (double)mst_staleness_bin_limit(i) + 1
                       : (double)sums->staleness_max >= left ? (double)sums->staleness_max + 1
                                                             : left + 1;
        entry->bins[entry->n_bins++] = (struct mst_event_bin){left, right, (double)sums->staleness_counts[i]};
        left = right;
    }
    post(entry);
}

void mst_board_evaluation(struct mst_board *board, uint64_t epoch, uint64_t iterations, const struct mst_scores *scores)
{
    if (!scores->is_known)
        return;
    struct board_entry *entry = new_entry(board, FOLDER_VALIDATION, iterations);
    add_scores(entry, "evaluation_", "_vs_iterations", scores);
    post(entry);
    entry = new_entry(board, FOLDER_VALIDATION, epoch);
    add_scores(entry, "epoch_", "", scores);
    post(entry);
}
