"""Addresses that change hands: whoever is meant is waited for by name, and nothing is lost. Each role is a process on a
host of its own (hosts.py), and every example is counted (counting_job.py)."""
import json
import re

import pytest


def test_two_servers_swap_addresses(on_hosts, network):
    """Their names follow them, as in Kubernetes: all connect anew, and nobody has to be replaced for long."""
    training = on_hosts(by_name=True).start()
    network.swap("ps-0", "ps-1")
    network.publish({role: network.hosts[role].address for role in training.running.roles})
    training.chief.wait_log("parameter server lost")
    training.wait_steps(300)
    training.wait_full()
    training.finish()


@pytest.mark.parametrize("replicas", [0, 1])
def test_two_servers_are_at_each_others_addresses(on_hosts, network, replicas):
    """Names that lead to the wrong server: it says who it is, and what it holds is not taken for the other's."""
    training = on_hosts(replicas=replicas).start()
    network.swap("ps-0", "ps-1")
    said = "(ps-1 is at this address and not ps-0|ps-0 is at this address and not ps-1): correct TF_CONFIG"
    training["worker-0"].wait_log(f'waiting for=".*{said}')  # with replicas the one may have become primary for both
    network.swap("ps-0", "ps-1")
    training.wait_steps(100)
    if replicas:
        training.wait_full()
    training.finish()
    assert "came back empty" not in training.chief.log()


def test_a_server_of_another_job_takes_the_address(on_hosts):
    """It is named and waited out: no process of this job ends, also not those that are started again meanwhile."""
    training = on_hosts().start()
    running = training.running
    running["ps-1"].kill()
    stranger = running.start("ps-1", ["--set", "name=another"], name="stranger")
    stranger.wait_log("ps: listening")
    said = training.chief.wait_log(r'address of another job ps=1 .*')[0]
    assert re.search(r"'counting'|'tiny'", said) and "'another'" in said, said
    training.wait_steps(100)
    running["worker-1"].kill()
    running.start("worker-1").wait_log("joined number=2")
    training.chief.kill()
    running.start("chief-0").wait_log("recalled term=2")
    training.wait_steps(100)
    assert stranger.is_running()
    by_whom = re.findall(r"greeting refused .* unlogged=(\d+)", stranger.log())
    assert 1 <= len(by_whom) <= 10, by_whom  # five a minute, however many knock each second
    stranger.kill()
    running.start("ps-1")
    training.wait_full()
    training.finish(n_torn=2)


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_list_of_servers_that_shrank(on_hosts, replicas):
    """A chief that names fewer servers than hold the job ends with one sentence, and it alone."""
    training = on_hosts(replicas=replicas).start()
    running = training.running
    training.chief.kill()
    wrong = json.loads(running.tf_config("chief-0"))
    wrong["cluster"]["ps"].pop()
    other = running.start("chief-0", environment={"TF_CONFIG": json.dumps(wrong)})
    other.expect(2)
    said = other.log().splitlines()[-1]
    assert "was begun with 3 parameter servers, and TF_CONFIG names 2 now" in said, said
    for role in ("ps-0", "ps-1", "ps-2", "worker-0", "worker-1"):
        assert running[role].is_running(), running[role].tail()
    running.start("chief-0").wait_log("recalled term=")
    training.finish()
