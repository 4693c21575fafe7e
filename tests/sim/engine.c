#include "engine.h"

#include "base/alloc.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

struct engine_entry {
    uint64_t at_ms;
    uint64_t order; // ties are broken by age
    void *message;
};

void engine_init(struct engine *engine, uint64_t seed, size_t message_bytes)
{
    *engine = (struct engine){.seed = seed, .message_bytes = message_bytes};
}

void engine_fini(struct engine *engine)
{
    for (size_t i = 0; i < engine->n_queued; i++)
        free(engine->queue[i].message);
    free(engine->queue);
    *engine = (struct engine){0};
}

uint64_t engine_draw(struct engine *engine, uint64_t n)
{
    struct mst_rng_key key = {{(uint32_t)engine->seed, (uint32_t)(engine->seed >> 32)}, {0, 0}};
    uint32_t words[4];
    mst_rng_block(key, engine->n_drawn++, words);
    return (words[0] | (uint64_t)words[1] << 32) % n;
}

static bool is_earlier(const struct engine_entry *a, const struct engine_entry *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

void engine_schedule(struct engine *engine, const void *message, uint64_t delay_ms)
{
    if (engine->n_queued == engine->queue_capacity) {
        engine->queue_capacity = engine->queue_capacity ? 2 * engine->queue_capacity : 64;
        engine->queue = mst_realloc_array(engine->queue, engine->queue_capacity, sizeof *engine->queue);
    }
    struct engine_entry entry = {engine->now_ms + delay_ms, engine->n_sent++, mst_alloc(engine->message_bytes)};
    memcpy(entry.message, message, engine->message_bytes);
    size_t i = engine->n_queued++;
    for (; i > 0 && is_earlier(&entry, &engine->queue[(i - 1) / 2]); i = (i - 1) / 2)
        engine->queue[i] = engine->queue[(i - 1) / 2];
    engine->queue[i] = entry;
}

bool engine_next(struct engine *engine, void *message_out)
{
    if (engine->n_queued == 0)
        return false;
    struct engine_entry first = engine->queue[0];
    struct engine_entry last = engine->queue[--engine->n_queued];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= engine->n_queued)
            break;
        if (child + 1 < engine->n_queued && is_earlier(&engine->queue[child + 1], &engine->queue[child]))
            child++;
        if (!is_earlier(&engine->queue[child], &last))
            break;
        engine->queue[i] = engine->queue[child];
        i = child;
    }
    engine->queue[i] = last;
    engine->now_ms = first.at_ms;
    engine->n_delivered++;
    memcpy(message_out, first.message, engine->message_bytes);
    free(first.message);
    return true;
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
