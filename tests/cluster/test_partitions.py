"""Hosts that are cut off, wholly or in one direction, and come back; bad cables. Each role is a process on a host of
its own (hosts.py), and every example is counted (counting_job.py)."""
import pytest


# ---- a parameter server ----

@pytest.mark.parametrize("n_ps, index", [(3, 1), (2, 0)])
def test_a_server_is_cut_off(on_hosts, network, n_ps, index):
    """Its copy goes on for it a lease later; when its host is back it has nothing to say, and is filled again."""
    training = on_hosts(n_ps).start()
    training.note_roles()
    network.unplug(f"ps-{index}")
    training.wait_apart(f"ps-{index}")
    training.wait_steps(300)
    network.plug(f"ps-{index}")
    training.wait_full()
    training.finish()


def test_a_server_without_a_copy_is_cut_off(on_hosts, network):
    """The others wait for it by name; it still has all it had."""
    training = on_hosts(2, replicas=0).start()
    network.unplug("ps-1")
    training.chief.wait_log('waiting for="ps-1 ')
    network.plug("ps-1")
    training.wait_steps(100)
    training.finish()
    assert "came back empty" not in training.chief.log()


@pytest.mark.parametrize("sender, receiver", [("ps-0", "ps-1"), ("ps-1", "ps-0"), ("chief-0", "ps-1"),
                                              ("ps-1", "chief-0")])
def test_a_server_is_out_of_reach_in_one_direction(on_hosts, network, sender, receiver):
    """A primary from its backup, or the chief from a server: training goes on, and all copies are there again when it is
    mended."""
    training = on_hosts().start()
    training.note_roles()
    network.lose(sender, receiver)
    training.wait_apart(*{sender, receiver} - {"chief-0"})  # the chief drops a copy that does not follow, or whom it cannot ask
    training.wait_steps(300)
    network.find(sender, receiver)
    training.wait_full()
    training.finish()


# ---- a worker ----

@pytest.mark.parametrize("sender, receiver", [("worker-0", "ps-1"), ("ps-1", "worker-0")])
def test_a_worker_is_out_of_reach_of_one_server(on_hosts, network, sender, receiver):
    """It dials anew, and goes on when it is mended; the other worker does not wait."""
    training = on_hosts().start()
    network.lose(sender, receiver)
    training["worker-0"].wait_log("parameter server lost")
    training.wait_steps(300)
    network.find(sender, receiver)
    training.wait_workers()
    training.finish()


def test_a_worker_is_cut_off(on_hosts, network):
    """It is fenced, its work is done by the other, and it greets again."""
    training = on_hosts().start()
    network.unplug("worker-1")
    training.chief.wait_log("worker fenced worker=1 ")
    network.plug("worker-1")
    training.chief.wait_log("worker admitted worker=1 number=2 ")
    training.finish(n_torn=2)


# ---- the chief ----

def test_the_chief_is_cut_off(on_hosts, network):
    """For longer than a lease: servers and workers wait for it by name, and go on when it is back."""
    training = on_hosts().start()
    network.unplug("chief-0")
    for role in ("ps-0", "ps-1", "ps-2"):
        training[role].wait_log("chief lost")
    for role in ("worker-0", "worker-1"):
        training[role].wait_log('waiting for="chief ')
    network.plug("chief-0")
    training.wait_steps(100)
    training.finish()


def test_the_chief_stays_away(on_hosts, network):
    """For longer than cluster.absence_ms: all end and say so."""
    training = on_hosts(absence_ms=3000).start()
    network.unplug("chief-0")
    for role in training.running.roles:
        training[role].expect(138)
        print(role, training[role].tail(2))


# ---- bad cables ----

def test_bad_cables(on_hosts, network):
    """A twentieth of all frames is lost and each takes 20 ms: slow, and nothing else."""
    training = on_hosts(lease_ms=3000, epochs=2)
    for seed, host in enumerate(("ps-0", "worker-1")):
        network.wear(host, loss=0.05, delay_ms=20, seed=seed)
    training.running.start_all()
    training.running.expect_all(0)
    worn = network.mend()
    print("carried and lost:", worn)
    assert all(n_lost > 20 for _, n_lost in worn), worn
    assert training.check()["torn"] == 0
