/** @file
 *  Small IDX files for the tests of data/: written to a folder of the test's own.
 */
#pragma once

#include "data/dataset.h"

#include <stddef.h>
#include <stdint.h>

enum file_form { FORM_PLAIN, FORM_GZIP };

/** Writes len bytes to path, gzip or as they are; fails the test on any error. */
void data_file_write(const char *path, enum file_form form, const void *bytes, size_t len);
/** Builds an IDX file of this element type: header with n_dims dimensions, then the body. Returns its length.
 *  Owner: out is the caller's, 4 + 4 * n_dims + body_len bytes */
size_t data_file_idx(uint8_t *out, uint8_t type, size_t n_dims, const uint32_t *dims, const void *body,
                     size_t body_len);
/** mst_dataset_open of one input and one output, without names. labels NULL: no output. */
MST_MUST_USE static inline mst_status data_open_idx(const char *features, const char *labels, struct mst_dataset **out,
                                                    struct mst_error *err)
{
    const struct mst_dataset_part input = {.path = features}, output = {.path = labels};
    struct mst_dataset_source source = {
        .format = "idx", .inputs = &input, .n_inputs = 1, .outputs = &output, .n_outputs = labels ? 1 : 0};
    return mst_dataset_open(&source, out, err);
}
/** A new folder under TMPDIR (or /tmp), and its removal with all files in it. */
char *data_folder_new(void);
void data_folder_free(char *folder);
