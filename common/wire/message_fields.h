// The tables of fields of all messages, for messages.c alone, which says how they become code.
#pragma once

#define ERROR_FIELDS(F) F(STATUS, status, ) F(TEXT, text, )
#define GREETING_FIELDS(F)                                                                                             \
    F(VALUE, min_version, )                                                                                            \
    F(VALUE, max_version, )                                                                                            \
    F(TEXT, job_name, )                                                                                                \
    F(VALUE, job_hash, )                                                                                               \
    F(ENUM, role, MST_PEER_ROLES)                                                                                      \
    F(VALUE, index, )                                                                                                  \
    F(TEXT, address, )                                                                                                 \
    F(VALUE, data_thread, )                                                                                            \
    F(VALUE, incarnation, )                                                                                            \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, term, ) F(VALUE, held, ) F(VALUE, wanted, )
#define GREETING_REPLY_FIELDS(F)                                                                                       \
    F(VALUE, version, )                                                                                                \
    F(ENUM, role, MST_PEER_ROLES)                                                                                      \
    F(VALUE, index, )                                                                                                  \
    F(VALUE, incarnation, )                                                                                            \
    F(VALUE, n_data_threads, )                                                                                         \
    F(BOOL, chief_known, )                                                                                             \
    F(TEXT, chief_address, )                                                                                           \
    F(VALUE, chief_index, )                                                                                            \
    F(ENUM, chief_role, MST_PEER_ROLES)                                                                                \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, term, )                                                                                                   \
    F(TEXT, state_text, )                                                                                              \
    F(ENUM, job_state, MST_JOB_STATES)
#define HEARTBEAT_FIELDS(F)                                                                                            \
    F(ENUM, role, MST_PEER_ROLES)                                                                                      \
    F(VALUE, index, )                                                                                                  \
    F(VALUE, incarnation, )                                                                                            \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, progress, )                                                                                               \
    F(SUMS, sums, )                                                                                                    \
    F(VALUE, cpu_seconds, )                                                                                            \
    F(VALUE, max_rss_bytes, )                                                                                          \
    F(TEXT, state_text, )                                                                                              \
    F(BOOL, sets_learning_rate, )                                                                                      \
    F(VALUE, learning_rate, )                                                                                          \
    F(VALUE, waits_ms, )
#define HEARTBEAT_REPLY_FIELDS(F)                                                                                      \
    F(ENUM, job_state, MST_JOB_STATES) F(STATUS, status, ) F(TEXT, text, ) F(VALUE, epoch, ) F(VALUE, step, )
#define LEASE_FIELDS(F)                                                                                                \
    F(VALUE, index, )                                                                                                  \
    F(VALUE, incarnation, )                                                                                            \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, seq, )                                                                                                    \
    F(VALUE, done_seq, )                                                                                               \
    F(VALUE, done_lease, )                                                                                             \
    F(VALUE, done_offset, )                                                                                            \
    F(SUMS, sums, )
#define LEASE_REPLY_FIELDS(F)                                                                                          \
    F(ENUM, kind, MST_LEASE_REPLY_KINDS)                                                                               \
    F(VALUE, lease, )                                                                                                  \
    F(VALUE, seq, )                                                                                                    \
    F(VALUE, epoch, )                                                                                                  \
    F(VALUE, first_batch, )                                                                                            \
    F(VALUE, n_batches, )                                                                                              \
    F(VALUE, first_step, )                                                                                             \
    F(STATUS, status, )                                                                                                \
    F(TEXT, text, )
#define SHARD_FIELDS(F)                                                                                                \
    F(VALUE, variable, )                                                                                               \
    F(VALUE, part, )                                                                                                   \
    F(VALUE, n_parts, )                                                                                                \
    F(VALUE, row_offset, )                                                                                             \
    F(VALUE, n_rows, )                                                                                                 \
    F(VALUE, ps, )                                                                                                     \
    F(VALUE, thread, )                                                                                                 \
    F(VALUE, bucket, )
#define MAP_FIELDS(F)                                                                                                  \
    F(VALUE, term, )                                                                                                   \
    F(VALUE, epoch, )                                                                                                  \
    F(VALUE, seed, )                                                                                                   \
    F(LIST, shards, shard)                                                                                             \
    F(TEXT, restore_prefix, )                                                                                          \
    F(TEXT, nonce_path, )                                                                                              \
    F(TEXT, nonce, )                                                                                                   \
    F(VALUE, ps, )                                                                                                     \
    F(VALUE, iterations, )                                                                                             \
    F(BOOL, sets_learning_rate, )                                                                                      \
    F(VALUE, learning_rate, )                                                                                          \
    F(VALUE, n_round_workers, )                                                                                        \
    F(NUMBERS, fenced, ) F(NUMBERS, ps_threads, ) F(ONE, roles, roles) F(LIST, rows, client_row)
#define MAP_REPLY_FIELDS(F) F(VALUE, term, ) F(VALUE, epoch, ) F(VALUE, bytes, )
#define PUSH_FIELDS(F)                                                                                                 \
    F(VALUE, bucket, )                                                                                                 \
    F(VALUE, map_term, )                                                                                               \
    F(VALUE, map_epoch, )                                                                                              \
    F(VALUE, worker, )                                                                                                 \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, step, )                                                                                                   \
    F(VALUE, lease, )                                                                                                  \
    F(VALUE, offset, )                                                                                                 \
    F(VALUE, weight, )                                                                                                 \
    F(SUMS, sums, )
#define TURN_FIELDS(F) F(VALUE, round, ) F(VALUE, epoch, ) F(VALUE, unit, ) F(BOOL, has_unit, ) F(BOOL, is_over, )
#define PUSH_REPLY_FIELDS(F)                                                                                           \
    F(VALUE, bucket, )                                                                                                 \
    F(VALUE, version, )                                                                                                \
    F(VALUE, map_term, )                                                                                               \
    F(VALUE, map_epoch, )                                                                                              \
    F(VALUE, iterations, )                                                                                             \
    F(VALUE, staleness, )                                                                                              \
    F(BOOL, is_repeat, )                                                                                               \
    F(BOOL, is_finite, )                                                                                               \
    F(TURN, turn, )
#define PULL_FIELDS(F)                                                                                                 \
    F(VALUE, bucket, )                                                                                                 \
    F(VALUE, map_term, )                                                                                               \
    F(VALUE, map_epoch, )                                                                                              \
    F(VALUE, worker, )                                                                                                 \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, round, )                                                                                                  \
    F(VALUE, cut, )
#define PULL_REPLY_FIELDS(F)                                                                                           \
    F(VALUE, bucket, )                                                                                                 \
    F(VALUE, version, )                                                                                                \
    F(VALUE, map_term, )                                                                                               \
    F(VALUE, map_epoch, )                                                                                              \
    F(VALUE, iterations, )                                                                                             \
    F(TURN, turn, )
#define FENCE_FIELDS(F) F(VALUE, term, ) F(VALUE, worker, ) F(VALUE, number, ) F(VALUE, group, )
#define CLIENT_ROW_FIELDS(F)                                                                                           \
    F(VALUE, bucket, )                                                                                                 \
    F(VALUE, worker, ) F(VALUE, number, ) F(VALUE, step, ) F(VALUE, lease, ) F(VALUE, offset, ) F(BOOL, is_restored, )
#define FENCE_REPLY_FIELDS(F) F(VALUE, ps, ) F(LIST, rows, client_row)
#define SAVE_FIELDS(F)                                                                                                 \
    F(VALUE, term, )                                                                                                   \
    F(TEXT, dir, )                                                                                                     \
    F(VALUE, step, )                                                                                                   \
    F(VALUE, shard_id, )                                                                                               \
    F(VALUE, n_shards, )                                                                                               \
    F(VALUE, cut, )                                                                                                    \
    F(VALUE, part_id, ) F(NUMBERS, keep, ) F(BOOL, is_question, ) F(BOOL, wants_values, ) F(VALUE, group, )
#define BUNDLE_ENTRY_FIELDS(F)                                                                                         \
    F(TEXT, name, )                                                                                                    \
    F(VALUE, dtype, )                                                                                                  \
    F(NUMBERS, dims, )                                                                                                 \
    F(NUMBERS, starts, )                                                                                               \
    F(NUMBERS, lengths, )                                                                                              \
    F(VALUE, offset, )                                                                                                 \
    F(VALUE, size_bytes, )                                                                                             \
    F(VALUE, crc32c, )
#define SAVE_REPLY_FIELDS(F)                                                                                           \
    F(LIST, entries, bundle_entry)                                                                                     \
    F(VALUE, iterations, )                                                                                             \
    F(BOOL, is_finite, ) F(TEXT, text, ) F(VALUE, bytes, ) F(NUMBERS, steps, ) F(NUMBERS, part_ids, )
#define STATS_FIELDS(F) F(VALUE, term, )
#define BUCKET_STATS_FIELDS(F)                                                                                         \
    F(VALUE, bucket, ) F(VALUE, bytes, ) F(VALUE, version, ) F(VALUE, updates, ) F(VALUE, pulls, ) F(VALUE, repeats, )
#define STATS_REPLY_FIELDS(F)                                                                                          \
    F(VALUE, cpu_seconds, )                                                                                            \
    F(VALUE, max_rss_bytes, )                                                                                          \
    F(VALUE, updates, )                                                                                                \
    F(VALUE, pulls, )                                                                                                  \
    F(LIST, buckets, bucket_stats)
#define FINISH_FIELDS(F)       F(VALUE, term, ) F(STATUS, status, ) F(TEXT, text, )
#define FINISH_REPLY_FIELDS(F) F(VALUE, updates, )
#define EVALUATE_FIELDS(F)                                                                                             \
    F(VALUE, index, )                                                                                                  \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, done, )                                                                                                   \
    F(STATUS, status, )                                                                                                \
    F(TEXT, text, )                                                                                                    \
    F(SUMS, sums, )                                                                                                    \
    F(VALUE, first_iterations, )                                                                                       \
    F(VALUE, last_iterations, )
#define EVALUATE_REPLY_FIELDS(F)                                                                                       \
    F(ENUM, kind, MST_EVALUATE_REPLY_KINDS)                                                                            \
    F(VALUE, id, )                                                                                                     \
    F(VALUE, epoch, )                                                                                                  \
    F(VALUE, step, )                                                                                                   \
    F(STATUS, status, )                                                                                                \
    F(TEXT, text, ) F(VALUE, cut, )

#define PART_FIELDS(F) F(VALUE, worker, ) F(VALUE, unit, )
#define DEAL_FIELDS(F) F(VALUE, epoch, ) F(VALUE, k, ) F(NUMBERS, tail, ) F(LIST, plan, part)
#define CLOSE_FIELDS(F)                                                                                                \
    F(VALUE, term, )                                                                                                   \
    F(VALUE, round, )                                                                                                  \
    F(VALUE, attempt, )                                                                                                \
    F(NUMBERS, ins, )                                                                                                  \
    F(ONE, was, deal)                                                                                                  \
    F(ONE, next, deal)                                                                                                 \
    F(BOOL, is_over, )                                                                                                 \
    F(VALUE, n_steps, )                                                                                                \
    F(SUMS, epoch_sums, )                                                                                              \
    F(SUMS, total_sums, )                                                                                              \
    F(VALUE, n_workers, )                                                                                              \
    F(VALUE, n_units, )                                                                                                \
    F(NUMBERS, worker_steps, )                                                                                         \
    F(SUMS, epoch_sums_before, )                                                                                       \
    F(SUMS, total_sums_before, )
#define ROUND_FIELDS(F)                                                                                                \
    F(VALUE, term, )                                                                                                   \
    F(VALUE, known, )                                                                                                  \
    F(BOOL, has_close, )                                                                                               \
    F(ONE, close, close)                                                                                               \
    F(VALUE, act_round, )                                                                                              \
    F(REALS, scales, )                                                                                                 \
    F(VALUE, n_wanted, )                                                                                               \
    F(VALUE, group, )
#define ARRIVAL_FIELDS(F)                                                                                              \
    F(VALUE, worker, )                                                                                                 \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, unit, )                                                                                                   \
    F(VALUE, weight, )                                                                                                 \
    F(BOOL, has_sums, )                                                                                                \
    F(SUMS, sums, )
#define SQUARE_NORM_FIELDS(F) F(VALUE, group, ) F(VALUE, hi, ) F(VALUE, lo, ) F(BOOL, is_infinite, )
#define ROUND_REPLY_FIELDS(F)                                                                                          \
    F(VALUE, status, )                                                                                                 \
    F(VALUE, stored_round, )                                                                                           \
    F(VALUE, stored_attempt, )                                                                                         \
    F(VALUE, applied_round, )                                                                                          \
    F(LIST, arrivals, arrival)                                                                                         \
    F(LIST, norms, square_norm)                                                                                        \
    F(BOOL, has_begun, )
#define STATE_FIELDS(F)       F(VALUE, term, ) F(VALUE, n, ) F(BYTES, data, )
#define STATE_REPLY_FIELDS(F) F(VALUE, term, ) F(VALUE, n, )
#define LEASE_RANGE_FIELDS(F) F(VALUE, epoch, ) F(VALUE, first_batch, ) F(VALUE, n_batches, )
#define HELD_LEASE_FIELDS(F)                                                                                           \
    F(VALUE, id, ) F(VALUE, seq, ) F(VALUE, epoch, ) F(VALUE, first_batch, ) F(VALUE, n_batches, )
#define LEASE_HOLDER_FIELDS(F)                                                                                         \
    F(VALUE, worker, ) F(VALUE, number, ) F(VALUE, last_seq, ) F(LIST, held, held_lease) F(VALUE, clock, )
#define MEMBER_FIELDS(F)     F(VALUE, state, ) F(VALUE, incarnation, ) F(VALUE, number, )
#define PACE_FIELDS(F)       F(VALUE, number, ) F(VALUE, n_steps, ) F(SUMS, counted, )
#define EPOCH_SUMS_FIELDS(F) F(VALUE, epoch, ) F(VALUE, n_steps, ) F(SUMS, sums, )
#define SETBACK_FIELDS(F)                                                                                              \
    F(BOOL, is_gone, )                                                                                                 \
    F(BOOL, is_open, ) F(VALUE, n_steps, ) F(VALUE, n_torn, ) F(VALUE, from_step, ) F(VALUE, counted_step, )
#define CHIEF_STATE_FIELDS(F)                                                                                          \
    F(VALUE, map_term, )                                                                                               \
    F(VALUE, map_epoch, )                                                                                              \
    F(VALUE, plan_crc, )                                                                                               \
    F(NUMBERS, ps_threads, )                                                                                           \
    F(TEXT, restore_prefix, )                                                                                          \
    F(VALUE, n_steps_resumed, )                                                                                        \
    F(TEXT, checkpoint, )                                                                                              \
    F(VALUE, checkpoint_step, )                                                                                        \
    F(BOOL, is_finished, )                                                                                             \
    F(NUMBERS, callbacks, )                                                                                            \
    F(ONE, last_epoch, epoch_sums)                                                                                     \
    F(VALUE, trained_ms, )                                                                                             \
    F(VALUE, first_step_ms, )                                                                                          \
    F(VALUE, n_lost_updates, )                                                                                         \
    F(TEXT, evaluated, )                                                                                               \
    F(VALUE, evaluated_step, )                                                                                         \
    F(VALUE, n_batches, )                                                                                              \
    F(VALUE, n_epochs, )                                                                                               \
    F(BOOL, is_stopped, )                                                                                              \
    F(VALUE, n_total, )                                                                                                \
    F(VALUE, n_granted, )                                                                                              \
    F(VALUE, n_done, )                                                                                                 \
    F(VALUE, n_torn, )                                                                                                 \
    F(VALUE, n_epochs_done, )                                                                                          \
    F(NUMBERS, open_epochs, )                                                                                          \
    F(VALUE, next_id, )                                                                                                \
    F(LIST, returned, lease_range)                                                                                     \
    F(LIST, holders, lease_holder)                                                                                     \
    F(LIST, members, member)                                                                                           \
    F(SUMS, total, )                                                                                                   \
    F(VALUE, first_epoch, )                                                                                            \
    F(LIST, epoch_sums, epoch_sums)                                                                                    \
    F(LIST, paces, pace)                                                                                               \
    F(VALUE, lowest_clock, )                                                                                           \
    F(SUMS, counted, )                                                                                                 \
    F(LIST, checkpoint_rows, client_row)                                                                               \
    F(LIST, untold, epoch_sums)                                                                                        \
    F(BOOL, has_close, )                                                                                               \
    F(ONE, close, close)                                                                                               \
    F(LIST, setbacks, setback)                                                                                         \
    F(VALUE, order, )                                                                                                  \
    F(VALUE, order_seed, )
#define RECALL_FIELDS(F) F(VALUE, term, )
#define RECALL_REPLY_FIELDS(F)                                                                                         \
    F(VALUE, term, )                                                                                                   \
    F(VALUE, n, )                                                                                                      \
    F(BYTES, data, )                                                                                                   \
    F(BOOL, has_close, )                                                                                               \
    F(ONE, close, close)                                                                                               \
    F(VALUE, map_term, )                                                                                               \
    F(VALUE, map_epoch, )                                                                                              \
    F(BOOL, is_serving, )                                                                                              \
    F(ONE, roles, roles)                                                                                               \
    F(BOOL, is_acting, )
#define CUT_FIELDS(F)                                                                                                  \
    F(VALUE, term, ) F(VALUE, id, ) F(ENUM, phase, MST_CUT_PHASES) F(LIST, rows, client_row) F(VALUE, group, )
#define CUT_REPLY_FIELDS(F)                                                                                            \
    F(VALUE, id, )                                                                                                     \
    F(LIST, rows, client_row)                                                                                          \
    F(BOOL, is_marked, )                                                                                               \
    F(BOOL, is_refused, )                                                                                              \
    F(TEXT, text, )                                                                                                    \
    F(VALUE, pause_us, )                                                                                               \
    F(VALUE, n_updates, )
#define GROUP_ROLES_FIELDS(F)                                                                                          \
    F(BOOL, has_primary, )                                                                                             \
    F(VALUE, primary, )                                                                                                \
    F(NUMBERS, backups, )                                                                                              \
    F(BOOL, has_joiner, ) F(VALUE, joiner, ) F(BOOL, is_handed_over, )
#define ROLES_FIELDS(F)                                                                                                \
    F(VALUE, term, )                                                                                                   \
    F(VALUE, n, )                                                                                                      \
    F(LIST, groups, group_roles)                                                                                       \
    F(NUMBERS, incarnations, )                                                                                         \
    F(BOOL, is_committed, ) F(VALUE, known, ) F(BOOL, is_to_leave, )
#define GROUP_STATUS_FIELDS(F)                                                                                         \
    F(VALUE, group, )                                                                                                  \
    F(ENUM, role, MST_REPLICA_ROLES)                                                                                   \
    F(BOOL, is_quiet, )                                                                                                \
    F(BOOL, is_swept, )                                                                                                \
    F(BOOL, is_complete, )                                                                                             \
    F(BOOL, has_lost, )                                                                                                \
    F(VALUE, lost, )
#define ROLES_REPLY_FIELDS(F)                                                                                          \
    F(VALUE, status, )                                                                                                 \
    F(VALUE, stored_term, )                                                                                            \
    F(VALUE, stored_n, )                                                                                               \
    F(VALUE, acting_term, )                                                                                            \
    F(VALUE, acting_n, )                                                                                               \
    F(LIST, groups, group_status)                                                                                      \
    F(BOOL, wants_drain, )
#define ROLES_QUESTION_FIELDS(F) F(VALUE, term, ) F(VALUE, n, )
#define OP_FIELDS(F)                                                                                                   \
    F(VALUE, group, )                                                                                                  \
    F(VALUE, thread, )                                                                                                 \
    F(VALUE, term, )                                                                                                   \
    F(VALUE, n, )                                                                                                      \
    F(VALUE, seq, )                                                                                                    \
    F(ENUM, kind, MST_OP_KINDS)                                                                                        \
    F(VALUE, bucket, )                                                                                                 \
    F(VALUE, version, )                                                                                                \
    F(VALUE, worker, )                                                                                                 \
    F(VALUE, number, )                                                                                                 \
    F(VALUE, step, )                                                                                                   \
    F(VALUE, lease, )                                                                                                  \
    F(VALUE, offset, )                                                                                                 \
    F(VALUE, learning_rate, )                                                                                          \
    F(VALUE, crc32c, )                                                                                                 \
    F(VALUE, round, )                                                                                                  \
    F(VALUE, attempt, )                                                                                                \
    F(LIST, closes, close)                                                                                             \
    F(LIST, norms, square_norm)                                                                                        \
    F(REALS, scales, )
#define OP_REPLY_FIELDS(F)    F(VALUE, term, ) F(VALUE, n, ) F(VALUE, seq, ) F(BOOL, is_mismatch, )
#define GRANT_FIELDS(F)       F(VALUE, group, ) F(VALUE, thread, ) F(VALUE, term, ) F(VALUE, n, ) F(BOOL, is_release, )
#define GRANT_REPLY_FIELDS(F) F(VALUE, term, ) F(VALUE, n, ) F(VALUE, seq, ) F(BOOL, is_granted, )
#define SWEEP_FIELDS(F)                                                                                                \
    F(VALUE, group, )                                                                                                  \
    F(VALUE, thread, )                                                                                                 \
    F(VALUE, term, )                                                                                                   \
    F(VALUE, n, )                                                                                                      \
    F(VALUE, seq, )                                                                                                    \
    F(VALUE, bucket, )                                                                                                 \
    F(BOOL, is_first, )                                                                                                \
    F(VALUE, n_updates, )                                                                                              \
    F(VALUE, counter, )                                                                                                \
    F(LIST, rows, client_row)                                                                                          \
    F(NUMBERS, fenced, )                                                                                               \
    F(LIST, closes, close)                                                                                             \
    F(LIST, norms, square_norm)                                                                                        \
    F(BOOL, has_aggregate, )
#define SWEEP_REPLY_FIELDS(F) F(VALUE, term, ) F(VALUE, n, ) F(VALUE, seq, )
