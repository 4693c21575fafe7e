/** @file
 *  What a simulated world runs on: a clock, dice, and a network that drops, duplicates, delays and reorders. Everything
 *  follows from the seed.
 *
 *      engine_init(&engine, seed, sizeof(struct message));
 *      engine_send(&engine, &message);                  // over the network; engine_schedule: to oneself
 *      while ((message = engine_next(&engine))) …       // the clock goes on to it
 *      engine_fini(&engine);
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct engine_entry;

struct engine {
    uint64_t dice;
    uint64_t now_ms;
    size_t message_bytes;
    struct engine_entry *queue; // a binary heap by time, then age
    size_t n_queued;
    size_t queue_capacity;
    void **spare; // places of messages that are not queued
    size_t n_spare;
    void *delivered; // the place of the message that was taken out last; NULL: none was
    uint64_t n_sent;
    size_t n_delivered;
    unsigned drop_percent;
    unsigned duplicate_percent;
    unsigned slow_percent; // of messages that take up to slow_ms longer
    uint64_t slow_ms;
    uint64_t faults_end_ms; // nothing is dropped from then on
};

/** An empty queue at time 0, and a network without faults. Messages are copied as bytes. */
void engine_init(struct engine *engine, uint64_t seed, size_t message_bytes);
/** Releases it. */
void engine_fini(struct engine *engine);
/** The dice: a number in 0 … n-1. */
uint64_t engine_draw(struct engine *engine, uint64_t n);
/** Sends over the faulty network. */
void engine_send(struct engine *engine, const void *message);
/** Puts a message of a node to itself into the queue, for `delay_ms` from now. */
void engine_schedule(struct engine *engine, const void *message, uint64_t delay_ms);
/** Takes the next message out; NULL: there is none. Owner: borrowed until the next call */
const void *engine_next(struct engine *engine);
