/** @file
 *  TensorBoard's event files: numbers and histograms over time, in the form that TensorFlow 2's tf.summary.scalar and
 *  tf.summary.histogram write.
 *
 *      MST_TRY(mst_event_file_new("run/tensorboard/train", wall_ns, &file, err));
 *      const struct mst_event_scalar scalars[] = {{"epoch_loss", 0.25F}, {"epoch_accuracy", 0.9F}};
 *      MST_TRY(mst_event_file_append(file, scalars, 2, step, wall_ns, err));       // a reader sees them from here on
 *      mst_event_file_free(file);
 *
 *  Layout: TFRecords (record.h), each an Event message: first one with the version of the file, then one for each
 *  scalar or histogram. A scalar is a float tensor without axes whose metadata names the plugin "scalars"; a histogram
 *  of n bins is a tensor of n by 3 doubles, a bin's left and right edge and its count, of the plugin "histograms".
 *  A file never holds half a record that the disk refused: what a failed write has left is cut off again, and the next
 *  append goes on behind what was there before.
 *  Thread: one at a time.
 *  Source: TensorFlow core/util/event.proto, core/framework/{summary,tensor}.proto, core/util/events_writer
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

enum { MST_EVENT_TAG_MAX = 1024 }; // bytes of a tag
enum { MST_EVENT_BINS_MAX = 64 };  // of a histogram

struct mst_event_scalar {
    const char *tag;
    float value;
};

struct mst_event_bin {
    double left;
    double right;
    double count;
};

struct mst_event_histogram {
    const char *tag;
    const struct mst_event_bin *bins;
    size_t n_bins;
};

struct mst_event_file;

/** New file in *out, with its first record, in a folder that is made if it is missing. Its name is
 *  events.out.tfevents.<seconds>.<host>.<pid>.<n>.v2 with the first n that is free, so that a run that goes on adds a
 *  file and TensorBoard reads the folder's files in the order of their seconds.
 *  Units:  wall_ns nanoseconds since 1970
 *  Errors: those of disk_file.h, with path and the system's text; no file is left then */
MST_MUST_USE mst_status mst_event_file_new(const char *folder, uint64_t wall_ns, struct mst_event_file **out,
                                           struct mst_error *err);
/** Closes and releases it; NULL is fine. */
void mst_event_file_free(struct mst_event_file *file);
/** The file's path, borrowed until free. */
const char *mst_event_file_path(const struct mst_event_file *file);

/** Appends one event for each scalar, all in one write.
 *  Units:  wall_ns nanoseconds since 1970
 *  Errors: INVALID_ARGUMENT a tag over MST_EVENT_TAG_MAX; RESOURCE_EXHAUSTED too many scalars for one call (over 1 MiB
 *          of records); disk errors; the file is then as it was */
MST_MUST_USE mst_status mst_event_file_append(struct mst_event_file *file, const struct mst_event_scalar *scalars,
                                              size_t n_scalars, uint64_t step, uint64_t wall_ns, struct mst_error *err);
/** Appends one event with a histogram.
 *  Units:  wall_ns nanoseconds since 1970
 *  Errors: INVALID_ARGUMENT a tag over MST_EVENT_TAG_MAX or more bins than MST_EVENT_BINS_MAX; disk errors; the file is
 *          then as it was */
MST_MUST_USE mst_status mst_event_file_append_histogram(struct mst_event_file *file,
                                                        const struct mst_event_histogram *histogram, uint64_t step,
                                                        uint64_t wall_ns, struct mst_error *err);
