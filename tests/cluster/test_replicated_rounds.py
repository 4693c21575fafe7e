"""Synchronous rounds with replicas: whichever parameter server dies, stands still or leaves, at whatever moment, the job ends in
the bits of one that nobody disturbed."""
import json
import pathlib
import random
import signal

import pytest

from processes import Cluster
from replicated import ENDLESS, Counting, Rounds
from test_synchronous import (BATCHES, SEEDS, adam, differing, inspect, one_process, small, train, trained,  # noqa: F401
                              with_noise, written)

SYNCHRONOUS = {"staleness": 0}
LEASE_MS = 1000


@pytest.fixture
def optimizer():
    return adam(global_clipnorm=0.05)


@pytest.fixture
def rounds(cluster, run, written, optimizer):
    """Writes and starts one; links: {role: {server: link}} that a role goes through in place of the server's own address."""
    def start(n_workers=2, n_ps=3, replicas=1, links=None, arguments=(), kind=Cluster, **keys):
        path, number = written(SYNCHRONOUS, optimizer, with_noise,
                               **({"epochs": ENDLESS, "replicas": replicas} | keys))
        job = json.loads(pathlib.Path(path).read_text())
        job["checkpoint"] |= {"every_steps": 500}
        job["cluster"] = {"heartbeat_ms": 100, "lease_ms": LEASE_MS, "absence_ms": 30000}
        pathlib.Path(path).write_text(json.dumps(job))
        running = cluster(path, n_workers, n_ps, kind)
        for (role, server), make in (links or {}).items():
            running.addresses[(role, server)] = make(running.ports[server].address).address
        running.start_all(arguments)
        return Rounds(running, path, run, number, BATCHES, arguments)
    return start


@pytest.fixture
def assert_same(train, trained, optimizer, small):
    """A job that ended after so many epochs has the bits of one process that nobody disturbed."""
    def check(ended, epochs):
        command, consistency = one_process(ended.n_workers)
        weights, alone = train(command, consistency, optimizer, with_noise, epochs=epochs)
        got, result = trained(ended.number)
        assert not differing(got, weights)
        assert (result["steps"], result["lost_updates"]) == (alone["steps"], 0), result
    return check


@pytest.fixture
def counting(cluster, run, job, tmp_path):
    """Starts rounds that count how often each example is trained, whatever the rounds that it is trained in."""
    def start(n_workers=2, **consistency):
        job["cluster"] = {"heartbeat_ms": 100, "lease_ms": LEASE_MS, "absence_ms": 30000}
        running = Counting(cluster, run, job, tmp_path, 3, 1, n_workers, consistency=SYNCHRONOUS | consistency)
        running.running.start_all()
        return running
    return start


def kill_one_after_the_other(running, *servers, draw_rounds=lambda: 10):
    """Each when all copies are there again and so many rounds are done; it comes back empty."""
    for server in servers:
        running.wait_full_again()
        running.wait_rounds(draw_rounds())
        running.note_roles()
        running[server].kill()
        running.start_again(server)
    running.wait_full_again()
    running.wait_rounds(10)


@pytest.mark.parametrize("n_ps, replicas", [(2, 1), (3, 1), (3, 2)])
def test_undisturbed(rounds, assert_same, n_ps, replicas):
    running = rounds(n_ps=n_ps, replicas=replicas, epochs=6)
    running.running.expect_all(0)
    assert_same(running, 6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_ps, replicas", [(2, 1), (3, 1), (3, 2)])
def test_one_server_after_the_other_dies(rounds, assert_same, n_ps, replicas, seed):
    chance = random.Random(f"{seed} {n_ps} {replicas}")
    running = rounds(n_ps=n_ps, replicas=replicas)
    kill_one_after_the_other(running, *(f"ps-{index}" for index in range(n_ps)), draw_rounds=lambda: chance.randrange(1, 40))
    assert_same(running, running.finish())


@pytest.mark.parametrize("server", ["ps-0", "ps-1"])
def test_a_server_dies_in_a_round(rounds, make_link, assert_same, server):
    """One worker's contribution is in part at the servers; the one that dies had it whole, or not yet."""
    links = []
    running = rounds(n_ps=2, links={("worker-1", "ps-1"): lambda address: links.append(make_link(address, hold_at=100_000))
                                    or links[0]})
    running.running.wait_running(lambda: links[0].held, "worker-1 to be in the middle of a round")
    running.wait_full_again()
    running.note_roles()
    running[server].kill()
    links[0].release()
    running.start_again(server)
    running.wait_full_again()
    running.wait_rounds(10)
    assert_same(running, running.finish())


@pytest.mark.parametrize("n_threads", [1, pytest.param(3, marks=pytest.mark.threads)])
def test_servers_of_one_or_more_data_threads(rounds, assert_same, n_threads):
    running = rounds(n_ps=2, arguments=["--data-threads", str(n_threads)])
    kill_one_after_the_other(running, "ps-0", "ps-1")
    assert_same(running, running.finish())


def test_servers_come_back_with_other_numbers_of_data_threads(rounds, assert_same):
    """Fewer of them share what is planned for three, also under a chief that knows only what was planned."""
    running = rounds(n_ps=2, arguments=["--data-threads", "3"])
    for server, n_threads in (("ps-0", 2), ("ps-1", 1), ("ps-0", 5), ("ps-1", 2)):
        running.wait_full_again()
        running.wait_rounds(10)
        running.note_roles()
        running[server].kill()
        running.running.start(server, ["--data-threads", str(n_threads)])
        if n_threads == 1:
            running.wait_full_again()
            running["chief-0"].kill()
            running.note_roles()
            running.start_again("chief-0")
    running.wait_full_again()
    running.wait_rounds(10)
    assert_same(running, running.finish())


def test_a_server_and_the_chief_die_together(rounds, assert_same):
    running = rounds()
    for n, server in enumerate(("ps-0", "ps-2"), 2):
        running.wait_full()
        running.wait_rounds(10)
        running.note_roles()
        running[server].kill()
        running["chief-0"].kill()
        running.start_again("chief-0").wait_log(f"recalled term={n}")
        running.start_again(server)
        running.wait_full_again()
    running.wait_rounds(10)
    assert_same(running, running.finish())


def test_a_server_and_a_worker_die_together(counting):
    """What the worker was dealt is trained, if not in the same round."""
    running = counting()
    for server in ("ps-1", "ps-0"):
        running.wait_full_again()
        running.wait_rounds(10)
        running.note_roles()
        running["worker-1"].kill()
        running[server].kill()
        running.start_again("worker-1")
        running.start_again(server)
        running["worker-1"].wait_log("joined")
    running.wait_full_again()
    running.wait_rounds(10)
    running.finish()


def test_a_server_hands_over(rounds, assert_same):
    running = rounds()
    running.wait_full()
    running.wait_rounds(10)
    running["ps-1"].send(signal.SIGTERM)
    running["ps-1"].expect(143)
    running.note_roles()
    running.start_again("ps-1")
    running.wait_full_again()
    running.wait_rounds(10)
    assert_same(running, running.finish())


def test_a_server_stands_still(rounds, assert_same):
    """Longer than its lease: others go on, and it comes back as a copy."""
    running = rounds()
    running.wait_full()
    running.wait_rounds(10)
    running.note_roles()
    running["ps-0"].pause()
    running.wait_apart("ps-0")
    running.wait_rounds(10)
    running["ps-0"].resume()
    running.wait_full()
    running.wait_rounds(10)
    assert_same(running, running.finish())


def test_backup_workers(counting):
    running = counting(n_workers=3, backup_workers=1)
    kill_one_after_the_other(running, "ps-0", "ps-1", "ps-2")
    result = running.finish()
    assert result["steps"] >= running.shape.epochs * -(-running.shape.n_batches // 3)
