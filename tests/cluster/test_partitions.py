"""Hosts that are cut off, wholly or in one direction, and come back; bad cables. Each role is a process on a host of its
own (hosts.py), and every example is counted (counting_job.py)."""
import functools
import time

import pytest

import hosts
from replicated import Replicated

pytestmark = pytest.mark.skipif(not hosts.can_make_networks(), reason=hosts.WHY_NOT)

LEASE_MS = 1000


@pytest.fixture
def network(tmp_path):
    made = hosts.Network(tmp_path)
    yield made
    made.close()


@pytest.fixture
def replicated(network, cluster, run, job, tmp_path):
    """A counting job on hosts."""
    job["cluster"] = {"heartbeat_ms": 100}
    kind = functools.partial(hosts.HostCluster, network)

    def make(n_ps=3, replicas=1, by_name=False, lease_ms=LEASE_MS, absence_ms=60000, **more):
        job["cluster"].update(lease_ms=lease_ms, absence_ms=absence_ms)
        made = functools.partial(cluster, kind=functools.partial(kind, by_name=by_name))
        return Replicated(made, run, job, tmp_path, n_ps, replicas, **more)
    return make


def started(training):
    training.start()
    if training.job["replicas"]:
        training.wait_full()
    return training


def longest_pause(training, n_steps):
    """In seconds without a step, until there are so many more."""
    begun = step = training.step()
    longest, at = 0.0, time.monotonic()

    def look():
        nonlocal longest, step, at
        now = training.step()
        if now != step:
            longest, step, at = max(longest, time.monotonic() - at), now, time.monotonic()
        return step > begun + n_steps
    training.wait(look, f"{n_steps} more steps")
    return longest


def finish(training, n_torn=0):
    """All roles end well, and nothing is lost; torn are batches of fenced workers, at most."""
    training.running.expect_all(0)
    result = training.check()
    assert result["torn"] <= n_torn and result["lost_updates"] == 0, result
    return result


# ---- a parameter server ----

@pytest.mark.parametrize("n_ps, index", [(3, 1), (2, 0)])
def test_a_server_is_cut_off(replicated, network, n_ps, index):
    """Its copy goes on for it a lease later; when its host is back it has nothing to say, and is filled again."""
    training = started(replicated(n_ps, epochs=300))
    network.unplug(f"ps-{index}")
    pause = longest_pause(training, 1000)
    print(f"{pause:.2f} s without a step")
    assert pause < 3 * LEASE_MS / 1000, "a lease, and the time to notice"
    network.plug(f"ps-{index}")
    training.wait_full()
    finish(training)


def test_a_server_without_a_copy_is_cut_off(replicated, network):
    """The others wait for it by name; it still has all it had."""
    training = started(replicated(2, replicas=0, epochs=150))
    network.unplug("ps-1")
    training.chief.wait_log('waiting for="ps-1 ')
    network.plug("ps-1")
    training.wait_steps(100)
    finish(training)
    assert "came back empty" not in training.chief.log()


@pytest.mark.parametrize("sender, receiver", [("ps-0", "ps-1"), ("ps-1", "ps-0"), ("chief-0", "ps-1"),
                                              ("ps-1", "chief-0")])
def test_a_server_is_out_of_reach_in_one_direction(replicated, network, sender, receiver):
    """A primary from its backup, or the chief from a server: training goes on, and all copies are there again when it is
    mended."""
    training = started(replicated(epochs=300))
    network.lose(sender, receiver)
    pause = longest_pause(training, 3000)
    print(f"{pause:.2f} s without a step")
    network.find(sender, receiver)
    training.wait_full()
    finish(training)


# ---- a worker ----

@pytest.mark.parametrize("sender, receiver", [("worker-0", "ps-1"), ("ps-1", "worker-0")])
def test_a_worker_is_out_of_reach_of_one_server(replicated, network, sender, receiver):
    """It dials anew, and goes on when it is mended; the other worker does not wait."""
    training = started(replicated(epochs=600))
    network.lose(sender, receiver)
    training["worker-0"].wait_log("parameter server lost")
    network.find(sender, receiver)
    training.wait_steps(300)
    finish(training)


def test_a_worker_is_cut_off(replicated, network):
    """It is fenced, its work is done by the other, and it greets again."""
    training = started(replicated(epochs=600))
    network.unplug("worker-1")
    training.chief.wait_log("worker fenced worker=1 ")
    network.plug("worker-1")
    training.chief.wait_log("worker admitted worker=1 number=2 ")
    finish(training, n_torn=2)


# ---- the chief ----

def test_the_chief_is_cut_off(replicated, network):
    """For longer than a lease: servers and workers wait for it by name, and go on when it is back."""
    training = started(replicated(epochs=300))
    network.unplug("chief-0")
    for role in ("ps-0", "ps-1", "ps-2"):
        training[role].wait_log("chief lost")
    for role in ("worker-0", "worker-1"):
        training[role].wait_log('waiting for="chief ')
    network.plug("chief-0")
    training.wait_steps(100)
    finish(training)


def test_the_chief_stays_away(replicated, network):
    """For longer than cluster.absence_ms: all end and say so."""
    training = started(replicated(absence_ms=3000))
    network.unplug("chief-0")
    for role in training.running.roles:
        training[role].expect(138)
        print(role, training[role].tail(2))


# ---- bad cables ----

def test_bad_cables(replicated, network):
    """A twentieth of all frames is lost and each takes 20 ms: slow, and nothing else."""
    training = replicated(lease_ms=3000, epochs=2)
    for seed, host in enumerate(("ps-0", "worker-1")):
        network.wear(host, loss=0.05, delay_ms=20, seed=seed)
    training.running.start_all()
    training.running.expect_all(0)
    worn = network.mend()
    print("carried and lost:", worn)
    assert all(n_lost > 20 for _, n_lost in worn), worn
    assert training.check()["torn"] == 0
