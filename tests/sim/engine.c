// A schedule is a few thousand messages of some tens of nanoseconds each, so the places of messages are used again and
// the dice are a counter that is stirred twice.
#include "engine.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

struct engine_entry {
    uint64_t key; // the time, then the age, 32 bits each
    void *message;
};

// Each bit of the number changes about half of the bits of what comes back (the finisher of SplitMix64).
static uint64_t stir(uint64_t number)
{
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9u;
    number = (number ^ number >> 27) * 0x94D049BB133111EBu;
    return number ^ number >> 31;
}

void engine_init(struct engine *engine, uint64_t seed, size_t message_bytes)
{
    *engine = (struct engine){.dice = stir(seed), .message_bytes = message_bytes};
}

void engine_fini(struct engine *engine)
{
    for (size_t i = 0; i < engine->n_queued; i++)
        free(engine->queue[i].message);
    for (size_t i = 0; i < engine->n_spare; i++)
        free(engine->spare[i]);
    free(engine->delivered);
    free(engine->queue);
    free(engine->spare);
    *engine = (struct engine){0};
}

uint64_t engine_draw(struct engine *engine, uint64_t n)
{
    engine->dice += 0x9E3779B97F4A7C15u; // odd, so all 2^64 states come before one comes again
    uint64_t number = stir(engine->dice);
    return n <= UINT32_MAX ? (number >> 32) * n >> 32 : number % n;
}

void engine_schedule(struct engine *engine, const void *message, uint64_t delay_ms)
{
    if (engine->n_queued == engine->queue_capacity) {
        engine->queue_capacity = engine->queue_capacity ? 2 * engine->queue_capacity : 64;
        engine->queue = mst_realloc_array(engine->queue, engine->queue_capacity, sizeof *engine->queue);
        engine->spare = mst_realloc_array(engine->spare, engine->queue_capacity + 1, sizeof *engine->spare);
    }
    void *place = engine->n_spare ? engine->spare[--engine->n_spare] : mst_alloc(engine->message_bytes);
    struct engine_entry entry = {(engine->now_ms + delay_ms) << 32 | engine->n_sent++, place};
    MST_ASSERT(engine->now_ms + delay_ms <= UINT32_MAX && engine->n_sent <= UINT32_MAX);
    memcpy(entry.message, message, engine->message_bytes);
    size_t i = engine->n_queued++;
    for (; i > 0 && entry.key < engine->queue[(i - 1) / 2].key; i = (i - 1) / 2)
        engine->queue[i] = engine->queue[(i - 1) / 2];
    engine->queue[i] = entry;
}

const void *engine_next(struct engine *engine)
{
    if (engine->n_queued == 0)
        return NULL;
    struct engine_entry first = engine->queue[0];
    struct engine_entry last = engine->queue[--engine->n_queued];
    engine->queue[engine->n_queued].key = UINT64_MAX; // a second child, where there is one only
    size_t i = 0;
    for (size_t child = 1; child < engine->n_queued; child = 2 * i + 1) {
        child += engine->queue[child + 1].key < engine->queue[child].key;
        if (engine->queue[child].key > last.key)
            break;
        engine->queue[i] = engine->queue[child];
        i = child;
    }
    engine->queue[i] = last;
    engine->now_ms = first.key >> 32;
    engine->n_delivered++;
    if (engine->delivered)
        engine->spare[engine->n_spare++] = engine->delivered; // there is one place more than the queue ever had
    engine->delivered = first.message;
    return first.message;
}

static uint64_t network_delay(struct engine *engine)
{
    uint64_t delay = 1 + engine_draw(engine, 10);
    if (engine_draw(engine, 100) < engine->slow_percent)
        delay += engine_draw(engine, engine->slow_ms);
    return delay;
}

void engine_send(struct engine *engine, const void *message)
{
    if (engine->now_ms < engine->faults_end_ms && engine_draw(engine, 100) < engine->drop_percent)
        return;
    engine_schedule(engine, message, network_delay(engine));
    if (engine_draw(engine, 100) < engine->duplicate_percent)
        engine_schedule(engine, message, network_delay(engine));
}
