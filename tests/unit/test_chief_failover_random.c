// Roles under random histories: servers die, come back, are drained and cannot reach each other. Whoever becomes
// primary has to have all that was acknowledged, and in the end everything is full and at home. Failures print the
// seed.
#include "failover_servers.h"

static uint64_t seed;
static uint64_t random_state;

static size_t below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % n;
}

// Who may be primary next: who has all that was acknowledged, or the home of a group that nobody has.
static void check_succession(const struct mst_roles *last, const struct mst_roles *next)
{
    for (uint32_t g = 0; last->n_ps && g < n_servers; g++) {
        const struct mst_group_roles *from = &last->groups[g];
        uint32_t primary = next->groups[g].primary;
        if (primary == MST_NO_PS)
            continue;
        bool is_lost = from->primary == MST_NO_PS && from->n_backups == 0;
        bool is_same = last->incarnations[primary] == next->incarnations[primary];
        enum mst_replica_role role = mst_roles_of(last, g, primary);
        bool is_heir = is_same && (role == MST_REPLICA_PRIMARY || role == MST_REPLICA_BACKUP);
        if (is_lost ? primary != g : !is_heir)
            fail_msg("seed %u: ps-%u became primary of group %u", (unsigned)seed, primary, g);
    }
}

static void happen(void)
{
    size_t ps = below(n_servers);
    struct server *server = &servers[ps];
    switch (below(10)) {
    case 0:
        die(ps, MST_FAILOVER_GONE);
        server->is_deaf = true; // until it is started again
        break;
    case 1:
        die(ps, MST_FAILOVER_SILENT);
        break;
    case 2:
        if (!server->is_up && !server->is_deaf)
            come_up(ps);
        break;
    case 3:
        if (!server->is_up)
            start_server(ps);
        break;
    case 4:
        server->wants_drain = server->wants_drain || below(4) == 0;
        break;
    case 5:
        server->has_lost[below(n_servers)] = below(2);
        break;
    case 6:
        server->is_filled = true;
        break;
    case 7:
        store_losses();
        break;
    default:
        now_ms += below(PATIENCE_MS);
    }
    ps = below(n_servers);
    if (servers[ps].is_up && !servers[ps].is_deaf)
        below(2) ? report(ps) : (void)deliver(ps);
}

// All live again and have nothing against anybody.
static void heal(void)
{
    for (size_t i = 0; i < n_servers; i++) {
        memset(servers[i].has_lost, 0, sizeof servers[i].has_lost);
        if (servers[i].is_deaf || servers[i].wants_drain) {
            die(i, MST_FAILOVER_GONE);
            start_server(i);
        }
        if (!servers[i].is_up)
            come_up(i);
    }
    now_ms += 2 * PATIENCE_MS;
    for (int rounds = 0; rounds < 20 && !mst_failover_is_full(&failover); rounds++) {
        settle();
        for (size_t i = 0; i < n_servers; i++)
            fill(i);
        for (size_t i = 0; i < n_servers; i++)
            servers[i].is_filled = false;
        now_ms += PATIENCE_MS;
    }
    settle();
    for (size_t i = 0; i < n_servers; i++)
        fill(i);
    settle();
}

static void test_whatever_happens_all_groups_are_full_and_at_home_in_the_end(void **state)
{
    (void)state;
    for (seed = 1; seed <= 2000; seed++) {
        random_state = seed;
        size_t n_ps = 2 + below(3);
        start_job(n_ps, n_ps > 2 ? 1 + below(2) : 1);
        struct mst_roles last = {0};
        for (size_t i = 0; i < 100; i++) {
            happen();
            while (mst_failover_advance(&failover, now_ms))
                if (!mst_epoch_is_same(&last.epoch, &failover.committed.epoch)) {
                    check_succession(&last, &failover.committed);
                    mst_roles_copy(&last, &failover.committed);
                }
        }
        heal();
        for (uint32_t g = 0; g < n_ps; g++)
            if (mst_failover_primary(&failover, g) != g || !mst_failover_is_full(&failover)) {
                char text[512];
                mst_failover_describe(&failover, text, sizeof text);
                char *roles = mst_roles_text(&failover.current);
                fail_msg("seed %u: %s (waits for \"%s\")", (unsigned)seed, roles, text);
            }
        mst_roles_fini(&last);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whatever_happens_all_groups_are_full_and_at_home_in_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
