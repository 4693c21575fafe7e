/** @file
 *  `muster ckpt ls | inspect | verify | reshard | diff`: what lies in a checkpoint directory, what a checkpoint holds,
 *  whether its bytes are those that were written, the same in other files, what is different in two of them. Any
 *  TensorBundle: ours, a model directory's, TensorFlow's own.
 */
#pragma once

#include "cli/options.h"

/** Runs `muster ckpt` with the words of the call: the sub-command and its options. *exit_code becomes 1 when verify
 *  finds damage or diff a difference, which is then printed.
 *  Errors: INVALID_ARGUMENT wrong words; NOT_FOUND, DATA_LOSS, UNIMPLEMENTED what is named cannot be read */
MST_MUST_USE mst_status mst_ckpt_command(const struct mst_call *call, int *exit_code, struct mst_error *err);
