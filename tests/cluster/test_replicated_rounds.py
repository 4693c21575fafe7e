"""Synchronous rounds with replicas: whichever parameter server dies, stands still or leaves, at whatever moment, the job ends in
the bits of one that nobody disturbed."""
import json
import pathlib
import random
import signal

import pytest

from processes import metric
from test_synchronous import BATCHES, SEEDS, adam, differing, inspect, small, train, trained, with_noise, written  # noqa: F401

SYNCHRONOUS = {"staleness": 0}
EPOCHS = 60


@pytest.fixture
def optimizer():
    return adam(global_clipnorm=0.05)


class Rounds:
    """A synchronous job with replicas, long enough for what is done to it."""

    def __init__(self, running, number, arguments):
        self.running, self.number, self.arguments, self.epoch_before = running, number, arguments, (0, 0)

    def __getitem__(self, role):
        return self.running[role]

    def chief_metric(self, name):
        return metric(self.running.http_ports["chief-0"].number, name)

    def wait_full(self):
        self.running.wait_running(lambda: self.chief_metric("muster_redundancy_full") == 1, "full redundancy")

    def epoch(self):
        return tuple(self.chief_metric(f"muster_roles_{part}") or 0 for part in ("term", "epoch"))

    def note_roles(self):
        self.epoch_before = self.epoch()

    def wait_full_again(self):
        """The chief has seen what happened since note_roles, and all copies are there again."""
        self.running.wait_running(lambda: self.epoch() > self.epoch_before, "new roles")
        self.wait_full()

    def wait_rounds(self, n_more):
        begun = self.chief_metric("muster_chief_round") or 0
        self.running.wait_running(lambda: (self.chief_metric("muster_chief_round") or 0) >= begun + n_more, "more rounds")

    def restart(self, role):
        return self.running.start(role, self.arguments)


@pytest.fixture
def rounds(cluster, written, optimizer):
    """Writes and starts one; links: {role: {server: link}} that a role goes through in place of the server's own address."""
    def start(n_workers=2, n_ps=3, replicas=1, links=None, consistency=None, arguments=(), **keys):
        path, number = written(consistency or SYNCHRONOUS, optimizer, with_noise,
                               **({"epochs": EPOCHS, "replicas": replicas} | keys))
        job = json.loads(pathlib.Path(path).read_text())
        job["checkpoint"] |= {"every_steps": 500}
        job["cluster"] = {"heartbeat_ms": 100, "lease_ms": 1000, "absence_ms": 30000}
        pathlib.Path(path).write_text(json.dumps(job))
        running = cluster(path, n_workers=n_workers, n_ps=n_ps)
        for (role, server), make in (links or {}).items():
            running.addresses[(role, server)] = make(running.ports[server].address).address
        running.start_all(arguments)
        return Rounds(running, number, arguments)
    return start


@pytest.fixture
def expected(train, optimizer, small):
    """What an undisturbed job without replicas ends in; how many examples an epoch has."""
    def run(n_workers=2, epochs=EPOCHS):
        weights, result = train(("local", "--workers", str(n_workers), "--ps", "2"), SYNCHRONOUS, optimizer, with_noise,
                                epochs=epochs)
        return weights, result["steps"], epochs * small
    return run


def assert_same(ended, trained, expected):
    weights, n_steps, n_examples = expected
    got, result = trained(ended.number)
    assert not differing(got, weights)
    assert (result["steps"], result["examples"], result["lost_updates"]) == (n_steps, n_examples, 0), result


@pytest.mark.parametrize("n_ps, replicas", [(2, 1), (3, 1), (3, 2)])
def test_undisturbed(rounds, trained, expected, n_ps, replicas):
    want = expected(epochs=6)
    running = rounds(n_ps=n_ps, replicas=replicas, epochs=6)
    running.running.expect_all(0)
    assert_same(running, trained, want)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_ps, replicas", [(2, 1), (3, 1), (3, 2)])
def test_one_server_after_the_other_dies(rounds, trained, expected, n_ps, replicas, seed):
    """Each comes back empty, and the next one dies when all copies are there again."""
    chance = random.Random(f"{seed} {n_ps} {replicas}")
    want = expected()
    running = rounds(n_ps=n_ps, replicas=replicas)
    for index in range(n_ps):
        running.wait_full_again()
        running.wait_rounds(chance.randrange(1, 40))
        running.note_roles()
        running[f"ps-{index}"].kill()
        running.restart(f"ps-{index}")
    running.running.expect_all(0)
    assert_same(running, trained, want)


@pytest.mark.parametrize("server", ["ps-0", "ps-1"])
def test_a_server_dies_in_a_round(rounds, make_link, trained, expected, server):
    """One worker's contribution is in part at the servers; the one that dies had it whole, or not yet."""
    links = []
    want = expected()
    running = rounds(n_ps=2, links={("worker-1", "ps-1"): lambda address: links.append(make_link(address, hold_at=100_000))
                                    or links[0]})
    running.running.wait_running(lambda: links[0].held, "worker-1 to be in the middle of a round")
    running[server].kill()
    links[0].release()
    running.restart(server)
    running.running.expect_all(0)
    assert_same(running, trained, want)


@pytest.mark.parametrize("n_threads", [1, pytest.param(3, marks=pytest.mark.threads)])
def test_servers_of_one_or_more_data_threads(rounds, trained, expected, n_threads):
    want = expected()
    running = rounds(n_ps=2, arguments=["--data-threads", str(n_threads)])
    for server in ("ps-0", "ps-1"):
        running.wait_full_again()
        running.wait_rounds(10)
        running.note_roles()
        running[server].kill()
        running.restart(server)
    running.running.expect_all(0)
    assert_same(running, trained, want)


def test_a_server_and_the_chief_die_together(rounds, trained, expected):
    want = expected()
    running = rounds()
    for n, server in enumerate(("ps-0", "ps-2"), 2):
        running.wait_full()
        running.wait_rounds(10)
        running.note_roles()
        running[server].kill()
        running["chief-0"].kill()
        running.restart("chief-0").wait_log(f"recalled term={n}")
        running.restart(server)
        running.wait_full_again()
    running.running.expect_all(0)
    assert_same(running, trained, want)


def test_a_server_and_a_worker_die_together(rounds, trained, expected):
    """What the worker was dealt is trained, if not in the same round."""
    _, _, n_examples = expected()
    running = rounds()
    for server in ("ps-1", "ps-0"):
        running.wait_full_again()
        running.wait_rounds(10)
        running.note_roles()
        running["worker-1"].kill()
        running[server].kill()
        running.restart("worker-1")
        running.restart(server)
    running.running.expect_all(0)
    _, result = trained(running.number)
    assert (result["examples"], result["lost_updates"]) == (n_examples, 0), result


def test_a_server_hands_over(rounds, trained, expected):
    want = expected()
    running = rounds()
    running.wait_full()
    running.wait_rounds(10)
    running["ps-1"].send(signal.SIGTERM)
    running["ps-1"].expect(143)
    running.restart("ps-1")
    running.running.expect_all(0)
    assert_same(running, trained, want)


def test_a_server_stands_still(rounds, trained, expected):
    """Longer than its lease: others go on, and it comes back as a copy."""
    want = expected()
    running = rounds()
    running.wait_full()
    running.wait_rounds(10)
    running["ps-0"].send(signal.SIGSTOP)
    running.wait_rounds(10)
    running["ps-0"].send(signal.SIGCONT)
    running.running.expect_all(0)
    assert_same(running, trained, want)


def test_backup_workers(rounds, trained, small):
    running = rounds(n_workers=3, consistency={"staleness": 0, "backup_workers": 1})
    for server in ("ps-0", "ps-1", "ps-2"):
        running.wait_full_again()
        running.wait_rounds(10)
        running.note_roles()
        running[server].kill()
        running.restart(server)
    running.running.expect_all(0)
    _, result = trained(running.number)
    assert (result["examples"], result["lost_updates"]) == (EPOCHS * small, 0), result
    assert result["steps"] >= EPOCHS * -(-BATCHES // 3)
