"""Bounded staleness: how far a worker leads one that stands still, and who waits no more when that one is gone."""
import json
import pathlib

import pytest
import tiny_job
from processes import metric

LEAD = 4


@pytest.fixture
def bounded(job, write_job):
    """The path of a job in which a worker leads by LEAD steps at most."""
    job["consistency"] = {"staleness": LEAD}
    return write_job(job)


def steps_of(running, role):
    return metric(running.http_ports[role].number, "muster_worker_steps_total")


def wait_held_back(running, n):
    running.wait_running(
        lambda: metric(running.http_ports["chief-0"].number, "muster_chief_workers_held_back") == n,
        f"{n} workers to be held back")


def check_result(job):
    result = json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["examples"] == job["epochs"] * tiny_job.TRAIN_EXAMPLES
    return result


@pytest.mark.threads
def test_the_fast_worker_waits_for_one_that_stands_still(stalled, job, bounded):
    running, links = stalled(bounded)
    wait_held_back(running, 1)
    of_the_slow = steps_of(running, "worker-1")
    # It joined late, so it started at the clock of the one that stands still.
    assert steps_of(running, "worker-0") == LEAD
    assert metric(running.http_ports["worker-0"].number, "muster_worker_staleness_count") == LEAD
    assert metric(running.http_ports["worker-0"].number, "muster_worker_staleness_bucket") >= LEAD  # over all limits
    running["worker-1"].pause()  # for less than a lease
    links["worker-1"].release()
    assert steps_of(running, "worker-0") == LEAD
    running["worker-1"].resume()
    running.expect_all(0)
    result = check_result(job)
    steps = {role["index"]: role["steps"] for role in result["roles"] if role["role"] == "worker"}
    assert steps[0] > LEAD and steps[1] > of_the_slow, "both went on"
    # Between two updates of its own a worker sees at most 2 * LEAD of the other: from LEAD behind to LEAD ahead.
    assert result["staleness"]["max"] <= 2 * LEAD


def test_a_fenced_worker_holds_nobody_back(stalled, job, bounded):
    running, _ = stalled(bounded)
    wait_held_back(running, 1)
    assert steps_of(running, "worker-0") == LEAD
    running["worker-1"].pause()  # until its lease is over
    for role in ("chief-0", "ps-0", "ps-1", "worker-0"):
        running[role].expect(0)
    check_result(job)


def test_one_step_of_lead(cluster, job, write_job):
    job["consistency"] = {"staleness": 1}
    running = cluster(write_job(job))
    running.start_all()
    running.expect_all(0)
    assert check_result(job)["staleness"]["max"] <= 2


def test_a_chief_that_comes_back_knows_who_leads(stalled, job, bounded):
    running, links = stalled(bounded)
    wait_held_back(running, 1)
    running["chief-0"].kill()
    running.start("chief-0").wait_log("running term=2")
    wait_held_back(running, 1)  # it has asked the new one
    assert steps_of(running, "worker-0") == LEAD
    links["worker-1"].release()
    running.expect_all(0)
    assert check_result(job)["staleness"]["max"] <= 2 * LEAD


@pytest.mark.parametrize("staleness", ["async", LEAD])
def test_a_worker_that_does_not_get_through_is_let_go(stalled, job, write_job, staleness):
    """It lives and its link to one server hangs for good: what it holds is trained by others, who wait for it no longer."""
    job["consistency"] = {"staleness": staleness}
    job["cluster"] = {"heartbeat_ms": 100, "lease_ms": 1000}
    running, _ = stalled(write_job(job))
    running["chief-0"].wait_log(r"worker cut off worker=1 number=1 waits_ms=\d+")
    running.expect_all(0)
    assert running["chief-0"].log().count("worker cut off") == 1
    assert running["worker-0"].log().count("joined") == 1
    result = check_result(job)
    assert result["torn"] <= 2, result
