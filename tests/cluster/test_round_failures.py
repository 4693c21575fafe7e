"""Synchronous rounds while workers are slow or die, and all of a job being killed: every example once an epoch, and the same
bits where nothing was left out."""
import json
import pathlib
import random
import re
import signal

import pytest

from processes import metric
from test_synchronous import BATCH, BATCHES, adam, differing, inspect, sgd, small, train, trained, with_noise, written  # noqa: F401


@pytest.fixture
def slow_worker(cluster, make_link):
    """A running cluster of three whose worker-2 is held in the middle of a round."""
    def start(path):
        running = cluster(path, n_workers=3)
        link = make_link(running.ports["ps-0"].address, hold_at=50_000)
        running.addresses[("worker-2", "ps-0")] = link.address
        running.start_all()
        running.wait_running(lambda: link.held, "worker-2 to be in the middle of a round")
        return running, link
    return start


def chief_metric(running, name):
    return metric(running.http_ports["chief-0"].number, name) or 0


def test_backup_workers_go_on_without_the_slowest(slow_worker, written, trained, small):
    """What it was dealt is trained by the others at the end of each epoch: it is never heard of again."""
    path, number = written({"staleness": 0, "backup_workers": 1}, sgd(), epochs=60)
    running, link = slow_worker(path)
    running.wait_running(lambda: len(running.progress("epoch")) >= 2, "two epochs without worker-2")
    assert chief_metric(running, "muster_chief_contributions_left_out_total") >= 25
    link.release()
    running.expect_all(0)
    _, result = trained(number)
    assert result["examples"] == 60 * small and result["steps"] > 60 * BATCHES // 3, result


def test_without_backup_workers_they_wait(slow_worker, written, trained, train, small):
    expected, _ = train(("local", "--workers", "3", "--ps", "2"), {"staleness": 0}, sgd(), epochs=4)
    path, number = written({"staleness": 0}, sgd(), epochs=4)
    running, link = slow_worker(path)
    running["chief-0"].wait_log(r'waiting.* for="worker-2 for round \d+"')
    link.release()
    running.expect_all(0)
    weights, _ = trained(number)
    assert not differing(weights, expected)


def test_a_worker_that_dies_for_good(slow_worker, written, trained, small):
    path, number = written({"staleness": 0}, sgd(), epochs=5)
    running, link = slow_worker(path)
    running["worker-2"].kill()
    link.release()
    running.roles.remove("worker-2")
    running.expect_all(0)
    _, result = trained(number)
    assert result["examples"] == 5 * small and result["steps"] > 5 * BATCHES // 3, result


def test_a_worker_that_comes_back_changes_no_bit(slow_worker, written, trained, train, small):
    """The round waits for it, if it is back before it is declared dead; else its unit is trained later. Nothing is lost."""
    path, number = written({"staleness": 0}, adam(), with_noise, epochs=100)  # so that it is back before the end
    running, link = slow_worker(path)
    running["worker-2"].kill()
    link.release()
    running.start("worker-2")
    running.expect_all(0)
    _, result = trained(number)
    assert result["examples"] == 100 * small


def test_all_killed_again_and_again(cluster, make_link, written, trained, train, small):
    """A job whose processes are all killed at any moment goes on from its last checkpoint, in the same bits."""
    expected, whole = train(("local", "--workers", "2", "--ps", "2"), {"staleness": 0}, adam(global_clipnorm=0.05), with_noise,
                            epochs=5)
    path, number = written({"staleness": 0}, adam(global_clipnorm=0.05), with_noise, epochs=5)
    job = json.loads(pathlib.Path(path).read_text())
    job["checkpoint"] |= {"every_steps": 7, "keep": 3, "resume": True}
    pathlib.Path(path).write_text(json.dumps(job))
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(3):
        running = cluster(path)
        link = make_link(running.ports["ps-1"].address, hold_at=moments.randrange(70_000, 120_000))
        running.addresses[("worker-1", "ps-1")] = link.address
        running.start_all()
        running.wait_running(lambda link=link, running=running: link.held and running.progress("checkpoint"),
                             "worker-1 to be in the middle of a round")
        for role in running.roles:
            running[role].send(signal.SIGKILL)
        running.close()
    running = cluster(path)
    running.start_all()
    running.expect_all(0)
    assert "resuming" in running["chief-0"].log()
    weights, result = trained(number)
    assert not differing(weights, expected)
    assert result["steps"] == whole["steps"]


def test_other_numbers_of_workers_and_servers_go_on(cluster, make_link, written, trained, small):
    """What two workers had not trained of an epoch three train, over three servers in place of two: each example once."""
    path, number = written({"staleness": 0}, adam(), epochs=5)
    job = json.loads(pathlib.Path(path).read_text())
    job["checkpoint"] |= {"every_steps": 7, "resume": True}
    pathlib.Path(path).write_text(json.dumps(job))
    running = cluster(path)
    link = make_link(running.ports["ps-1"].address, hold_at=150_000)
    running.addresses[("worker-1", "ps-1")] = link.address
    running.start_all()
    running.wait_running(lambda: link.held and running.progress("checkpoint"), "worker-1 to be in the middle of a round")
    for role in running.roles:
        running[role].send(signal.SIGKILL)
    running.close()
    running = cluster(path, n_workers=3, n_ps=3)
    running.start_all()
    running.expect_all(0)
    steps = int(re.search(r"chief: resuming .*steps=(\d+)", running["chief-0"].log())[1])
    _, result = trained(number)
    assert steps > 0
    rounds = -(-BATCHES // 2)
    assert result["examples"] == 5 * small - (steps // rounds * small + steps % rounds * 2 * BATCH), steps


def test_the_chief_is_killed_between_rounds(cluster, make_link, written, trained, train, small):
    """It goes on with the last close; workers and servers stay, rounds wait, and no bit changes."""
    expected, _ = train(("local", "--workers", "2", "--ps", "2"), {"staleness": 0}, adam(global_clipnorm=0.05), with_noise,
                        epochs=5)
    path, number = written({"staleness": 0}, adam(global_clipnorm=0.05), with_noise, epochs=5)
    running = cluster(path)
    link = make_link(running.ports["ps-1"].address, hold_at=60_000)
    running.addresses[("worker-1", "ps-1")] = link.address
    running.start_all()
    for n in range(1, 5):
        running.wait_running(lambda: link.held, "worker-1 to be in the middle of a round")
        running["chief-0"].kill()
        link.hold_at = link.n_bytes + 60_000 if n < 4 else None
        link.release()
        running.start("chief-0").wait_log(f"recalled term={n + 1}")
    running.expect_all(0)
    weights, result = trained(number)
    assert not differing(weights, expected)
    assert result["examples"] == 5 * small
    assert running["worker-0"].log().count("joined") == 1


def test_a_server_comes_back_alone(cluster, make_link, written, trained, small):
    """It takes the last round as applied, with the values of its checkpoint; the others go on, and count what is lost."""
    path, number = written({"staleness": 0}, sgd(), epochs=6)
    job = json.loads(pathlib.Path(path).read_text())
    job["checkpoint"] |= {"every_steps": 5}
    pathlib.Path(path).write_text(json.dumps(job))
    running = cluster(path)
    link = make_link(running.ports["ps-1"].address, hold_at=100_000)
    running.addresses[("worker-1", "ps-1")] = link.address
    running.start_all()
    running.wait_running(lambda: link.held and running.progress("checkpoint"), "worker-1 to be in the middle of a round")
    running["ps-0"].kill()
    link.hold_at = None
    link.release()
    running.start("ps-0")
    running.expect_all(0)
    assert "parameter server restored ps=0" in running["chief-0"].log()
    _, result = trained(number)
    assert result["examples"] == 6 * small, result
