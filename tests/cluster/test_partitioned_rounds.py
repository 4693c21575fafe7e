"""Hosts that are cut off from each other in synchronous rounds with replicas: the rounds go on without whom nobody reaches, it is
filled again when its host is back, and the job ends in the bits of one that nobody disturbed. Each role is a process on a host of
its own (hosts.py)."""
import functools

import pytest

import hosts
from test_replicated_rounds import (assert_same, inspect, optimizer, rounds, small, train, trained, written)  # noqa: F401


@pytest.fixture
def on_hosts(rounds, network):
    """Rounds on hosts, in the middle of training and with all copies."""
    def start(n_ps=3, replicas=1):
        training = rounds(n_ps=n_ps, replicas=replicas, kind=functools.partial(hosts.HostCluster, network))
        training.wait_full_again()
        training.wait_rounds(10)
        training.note_roles()
        return training
    return start


def assert_mended(training, assert_same):
    training.wait_full()
    training.wait_rounds(10)
    assert_same(training, training.finish())


@pytest.mark.parametrize("n_ps, replicas, index", [(2, 1, 0), (3, 1, 1), (3, 2, 2)])
def test_a_server_is_cut_off(on_hosts, network, assert_same, n_ps, replicas, index):
    """What it is primary of goes on at its backup, and what it is backup of goes on without it."""
    training = on_hosts(n_ps, replicas)
    network.unplug(f"ps-{index}")
    training.wait_apart(f"ps-{index}")
    training.wait_rounds(10)
    network.plug(f"ps-{index}")
    assert_mended(training, assert_same)


def test_a_primary_and_its_backup_are_cut_off_from_each_other(on_hosts, network, assert_same):
    """Both are in everybody else's reach: the backup is dropped, and the primary goes on."""
    training = on_hosts()
    network.lose("ps-0", "ps-1")
    network.lose("ps-1", "ps-0")
    training.wait_apart("ps-0", "ps-1")
    training.wait_rounds(10)
    network.find("ps-0", "ps-1")
    network.find("ps-1", "ps-0")
    assert_mended(training, assert_same)


@pytest.mark.parametrize("lost", [[("ps-1", "chief-0")], [("chief-0", "ps-1"), ("ps-1", "chief-0")]], ids=["its answers", "both"])
def test_the_chief_is_cut_off_from_a_server(on_hosts, network, assert_same, lost):
    """Workers and the other servers reach it; but it is primary no more, for the chief cannot close a round there."""
    training = on_hosts()
    for sender, receiver in lost:
        network.lose(sender, receiver)
    training.wait_apart("ps-1")
    training.wait_rounds(10)
    for sender, receiver in lost:
        network.find(sender, receiver)
    assert_mended(training, assert_same)


def test_a_worker_is_cut_off_from_a_server(on_hosts, network, assert_same):
    """It dials anew after four leases; no round is closed without it, and what it sends again counts once."""
    training = on_hosts()
    network.lose("worker-0", "ps-1")
    network.lose("ps-1", "worker-0")
    training["worker-0"].wait_log("parameter server lost peer=ps-1")
    network.find("worker-0", "ps-1")
    network.find("ps-1", "worker-0")
    assert_mended(training, assert_same)
