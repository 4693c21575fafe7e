// Rounds and their parameter servers, of a few lines each: they store the newest close, apply what they are told to,
// and report all that they have.
#pragma once

#include "chief/rounds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N_PS = 2, N_WORKERS = 3 };

struct fake_ps {
    uint64_t status;
    uint64_t stored;
    uint64_t attempt;
    uint64_t applied;
    bool has_close;
    size_t n_arrivals;
    struct mst_msg_arrival arrivals[N_WORKERS];
    size_t n_norms;
    struct mst_msg_square_norm norms[4];
};

static struct mst_rounds rounds;
static struct fake_ps servers[N_PS];
static double values[N_WORKERS][1];
static size_t idle_ps; // N_PS: none

static void start(const struct mst_rounds_config *config)
{
    mst_rounds_init(&rounds, config);
    mst_rounds_set_term(&rounds, 7);
    memset(servers, 0, sizeof servers);
    idle_ps = N_PS;
}

static struct mst_rounds_config config_of(uint64_t n_units, uint64_t n_epochs)
{
    return (struct mst_rounds_config){
        .n_ps = N_PS, .n_workers = N_WORKERS, .n_units = n_units, .n_epochs = n_epochs, .n_sums = 1, .n_variables = 3};
}

static int teardown(void **state)
{
    (void)state;
    mst_rounds_fini(&rounds);
    return 0;
}

static void all_live(void)
{
    for (size_t w = 0; w < N_WORKERS; w++)
        mst_rounds_set_worker(&rounds, w, MST_ROUND_WORKER_LIVE);
}

static bool has_all(const struct fake_ps *server, const struct mst_msg_close *close)
{
    size_t n = 0;
    for (size_t i = 0; i < close->n_ins; i++)
        for (size_t k = 0; k < server->n_arrivals; k++)
            n += server->arrivals[k].worker == close->ins[i];
    return n == close->n_ins;
}

// The PS's side of a ROUND call: what it is told, then what it has.
static void tell(size_t ps)
{
    struct fake_ps *server = &servers[ps];
    struct mst_msg_round round;
    mst_rounds_tell(&rounds, ps, &round);
    assert_true(round.has_close);
    assert_int_equal(round.term, 7);
    if (!server->has_close && round.act_round >= round.close.round) {
        server->stored = server->applied = round.close.round;
        server->attempt = round.close.attempt;
        server->has_close = true;
        server->status++;
    }
    bool is_new = server->stored != round.close.round || server->attempt < round.close.attempt;
    if (server->has_close && round.close.round == server->applied + 1 && is_new &&
        (idle_ps == ps || has_all(server, &round.close))) {
        server->stored = round.close.round;
        server->attempt = round.close.attempt;
        server->status++;
    }
    if (round.act_round == server->applied + 1 && server->stored == round.act_round &&
        server->attempt == round.close.attempt) {
        server->applied++;
        server->n_arrivals = 0;
        server->status++;
    }
}

static void report(size_t ps)
{
    struct fake_ps *server = &servers[ps];
    struct mst_msg_round_reply reply = {.status = server->status,
                                        .stored_round = server->stored,
                                        .stored_attempt = server->attempt,
                                        .has_begun = server->has_close,
                                        .applied_round = server->applied,
                                        .n_arrivals = server->n_arrivals,
                                        .arrivals = server->arrivals,
                                        .n_norms = server->n_norms,
                                        .norms = server->norms};
    mst_rounds_report(&rounds, ps, &reply);
}

static void talk(void)
{
    for (int i = 0; i < 8; i++) {
        for (size_t ps = 0; ps < N_PS; ps++) {
            tell(ps);
            report(ps);
        }
        while (mst_rounds_advance(&rounds))
            ;
    }
}

static uint64_t unit_of(uint32_t worker)
{
    for (size_t i = 0; i < rounds.next.n_plan; i++)
        if (rounds.next.plan[i].worker == worker)
            return rounds.next.plan[i].unit;
    return UINT64_MAX;
}

// The worker's contribution to the next round is complete on a PS.
static void arrives(uint32_t worker, size_t ps)
{
    struct fake_ps *server = &servers[ps];
    struct mst_training_sums sums = {.steps = 1, .examples = 10, .n_values = 1, .values = values[worker]};
    values[worker][0] = (double)unit_of(worker) + 1;
    server->arrivals[server->n_arrivals++] = (struct mst_msg_arrival){
        .worker = worker, .number = 1, .unit = unit_of(worker), .weight = 10, .has_sums = ps == 0, .sums = sums};
    server->status++;
}

static void contributes(uint32_t worker)
{
    for (size_t ps = 0; ps < N_PS; ps++)
        arrives(worker, ps);
}

static void assert_over(uint64_t round, size_t n_ins)
{
    assert_int_equal(rounds.over_round, round);
    assert_int_equal(rounds.n_ins, n_ins);
}
