/** @file
 *  Between the two halves of reading TF_CONFIG: tf_config.c reads the cluster, tf_task.c finds our place in it.
 */
#pragma once

#include "spec/tf_config.h"

enum mst_place_form { MST_PLACE_ABSENT, MST_PLACE_GIVEN };

/** What TF_CONFIG and the flags say about our own task. */
struct mst_place {
    enum mst_place_form type_form;
    char type[64]; // str() of task.type, or the flag; cut to what fits
    enum mst_place_form index_form;
    int64_t index;        // saturated
    char index_text[512]; // as Python prints it
};

/** Reads task.type and task.index as TF's resolver does, flags first. task may be NULL (no "task").
 *  Errors: INVALID_ARGUMENT Python's texts; a flag that names no ordinal */
MST_MUST_USE mst_status mst_place_read(const struct mst_cluster_request *request, const json_t *task,
                                       struct mst_place *out, struct mst_error *err);

/** The role of a job's name; MST_ROLE_LOCAL if it is none. "master" is MST_ROLE_CHIEF. */
enum mst_role mst_role_of_job(const char *name);

/** Finds our place in a cluster whose jobs are filled in, and sets role, index, address, chief and counts.
 *  Errors: INVALID_ARGUMENT TF's texts, in the order in which it checks */
MST_MUST_USE mst_status mst_place_find(struct mst_cluster *cluster, const struct mst_place *place,
                                       struct mst_error *err);

/** The same without a cluster: only worker 0 may be alone. */
MST_MUST_USE mst_status mst_place_alone(struct mst_cluster *cluster, const struct mst_place *place,
                                        struct mst_error *err);
