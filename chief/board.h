/** @file
 *  The curves of a job for TensorBoard: event files in <output.dir>/tensorboard, in the folders and with the tags and
 *  steps of Keras's TensorBoard callback.
 *
 *      board = mst_board_new(&config);
 *      mst_board_epoch(board, epoch, &scores, learning_rate);      // as each epoch ends
 *      mst_board_staleness(board, epoch, &sums);                   // likewise
 *      mst_board_evaluation(board, epoch, iterations, &scores);    // over data.eval
 *      mst_board_free(board);
 *
 *  1. train: epoch_<metric>, epoch_loss, epoch_learning_rate at step epoch, counted from 0; the histogram staleness;
 *  2. validation: evaluation_<metric>_vs_iterations, evaluation_loss_vs_iterations at step iterations, then
 *     epoch_<metric>, epoch_loss at step epoch.
 *  Files are begun with the first number for them, so a job that is resumed adds files to those that are there. The
 *  disk is touched on loop `work` only; a failure is logged once and costs no more than the numbers concerned.
 *  Source: keras/src/callbacks/tensorboard.py
 */
#pragma once

#include "chief/report.h"
#include "wire/training_sums.h"

#include <stddef.h>
#include <stdint.h>

struct mst_loop;
struct mst_board;

/** Borrowed until free. */
struct mst_board_config {
    const char *output_dir;
    struct mst_loop *work; // writes the files; freed before the board, which makes what is left be written
};

/** New board; nothing is on the disk yet. */
struct mst_board *mst_board_new(const struct mst_board_config *config);
/** Releases it; NULL is fine. Thread: config.work is freed */
void mst_board_free(struct mst_board *board);
/** Notes the scores of an epoch that is over; epoch counts from 0. Nothing if they are not known. Thread: any */
void mst_board_epoch(struct mst_board *board, uint64_t epoch, const struct mst_scores *scores, float learning_rate);
/** Notes the histogram of the staleness of an epoch's steps. Nothing if there are none. Thread: any */
void mst_board_staleness(struct mst_board *board, uint64_t epoch, const struct mst_training_sums *sums);
/** Notes the scores over the evaluation data, after `iterations` updates, in this epoch. Thread: any */
void mst_board_evaluation(struct mst_board *board, uint64_t epoch, uint64_t iterations,
                          const struct mst_scores *scores);
