"""How processes leave: SIGTERM and SIGINT to each role in the middle of its work, twice, and to all at once; --grace; --park,
which keeps a finished role where something would start it again."""
import json
import pathlib
import re
import signal

import pytest

import tiny_job
from processes import http_get, until


def result_of(job):
    return json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())


def newest_step(job):
    steps = [int(path.stem.partition("-")[2]) for path in pathlib.Path(job["checkpoint"]["dir"]).glob("model-*.index")]
    return max(steps, default=0)


# ---- signals ----

@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_worker_finishes_its_step_and_says_goodbye(stalled, job, write_job, number, code):
    """Its work moves at once: no lease passes (a minute), and nothing is torn."""
    job["cluster"]["lease_ms"] = 60000
    job["epochs"] = 4
    running, links = stalled(write_job(job))
    links["worker-1"].release()
    running["worker-0"].send(number)
    # It may have come too late: everything was trained.
    assert running["worker-0"].wait() in (code, 0)
    for role in ("chief-0", "ps-0", "ps-1", "worker-1"):
        running[role].expect(0)
    result = result_of(job)
    assert (result["examples"], result["torn"]) == (4 * tiny_job.TRAIN_EXAMPLES, 0)


def test_an_endless_worker_leaves_and_the_chief_knows(cluster, job, write_job):
    job["epochs"] = 1_000_000
    job["cluster"]["lease_ms"] = 60000
    running = cluster(write_job(job))
    running.start_all()
    running.wait_training()
    running["worker-1"].wait_log("first step done")
    running["worker-1"].send(signal.SIGTERM)
    running["worker-1"].expect(143)
    log = running["chief-0"].wait_log(r"worker leaves worker=1 number=1[\s\S]*worker fenced worker=1 number=1 done=\d+ torn=0 ")
    assert "worker lost" not in log.group(0)
    updates = running.updates()
    until(lambda: running.updates() > updates + 50, "the other one to train on")


def test_a_checkpoint_under_way_is_not_the_last_one(cluster, job, write_job):
    """The chief is saving nearly all the time; what was trained since it began counts, too."""
    job["epochs"] = 1_000_000
    job["checkpoint"].update(every_steps=1, keep=2)
    running = cluster(write_job(job))
    running.start_all()
    chief = running["chief-0"]
    chief.wait_log("checkpoint written")
    chief.send(signal.SIGTERM)
    chief.expect(143)
    steps = int(re.search(r"chief: stopping .*steps=(\d+)", chief.log()).group(1))
    assert newest_step(job) >= steps, chief.tail()


@pytest.mark.parametrize("who", ["chief-0", "ps-1", "all"])
def test_a_checkpoint_is_written_before_the_job_ends(cluster, job, write_job, who, muster):
    job["epochs"] = 1_000_000
    job_path = write_job(job)
    running = cluster(job_path)
    running.start_all()
    running.wait_running(lambda: any(one["step"] > 0 for one in running.progress("progress")), "a lease to be done")
    assert newest_step(job) == 0
    told = running.roles if who == "all" else [who]
    for role in told:
        running[role].send(signal.SIGTERM)
    for role in running.roles:  # who hears of the end before its own signal ends with 138
        code = running[role].wait()
        assert code in ((143, 138) if who == "all" else (143,) if role == who else (138,)), running[role].tail()
    assert newest_step(job) > 0, running["chief-0"].tail()
    if who != "all":
        assert "was told to stop by SIGTERM" in running["worker-0"].log()
        assert f"model-{newest_step(job)}" in running["worker-0"].log(), "it names the checkpoint"
    assert not (pathlib.Path(job["output"]["dir"]) / "result.json").exists()
    # And it is one to go on from.
    resumed = muster("run", job_path, "--set", "checkpoint.resume=true", "--set", "epochs=null",
                     "--set", f"steps={newest_step(job) + 50}")
    resumed.expect(0)
    assert result_of(job)["steps"] == newest_step(job)


def test_a_signal_at_the_end_lets_it_finish(with_paused_evaluator, job):
    """All is trained and the chief waits for the evaluation: told to stop, it ends with 0 when that comes within the grace."""
    running = with_paused_evaluator(["--grace", "60"])
    running["chief-0"].wait_log("checkpoint written")
    running["chief-0"].send(signal.SIGTERM)
    running["chief-0"].wait_log("told to stop")
    running["evaluator-0"].resume()
    running.expect_all(0)
    assert result_of(job)["eval"] is not None


def test_the_grace_is_over(with_paused_evaluator, job):
    running = with_paused_evaluator(["--grace", "0"], lease_ms=6000)
    running["chief-0"].wait_log("checkpoint written")
    running["chief-0"].send(signal.SIGTERM)
    running["chief-0"].expect(143)
    assert "grace over" in running["chief-0"].log()


def test_a_worker_that_comes_when_all_is_over_gets_no_number(with_paused_evaluator):
    """The chief has the figures of all, and waits for one that stands still before it ends, half a lease."""
    running = with_paused_evaluator([])
    running["chief-0"].wait_log("checkpoint written")
    running["worker-0"].pause()
    running["worker-1"].kill()
    running["evaluator-0"].resume()
    running["evaluator-0"].expect(0)
    running.start("worker-1").expect(0)
    running["worker-0"].resume()
    running.expect_all(0)
    assert running["chief-0"].log().count("worker admitted worker=1") == 1
    assert "joined" not in running["worker-1"].log()


@pytest.fixture
def with_paused_evaluator(cluster, job, write_job):
    """A job that is trained and whose evaluator is stopped, so that only the evaluation is missing."""
    def start(chief_arguments, lease_ms=60000):
        running = cluster(write_job(job))
        running.add_evaluator(True)
        job["cluster"]["lease_ms"] = lease_ms
        write_job(job)
        running.start("chief-0", chief_arguments)
        running.start("evaluator-0")
        running["chief-0"].wait_log("evaluator admitted")
        running["evaluator-0"].pause()
        for role in ("ps-0", "ps-1", "worker-0", "worker-1"):
            running.start(role)
        return running
    return start


def test_an_evaluator_gives_up_what_it_does(cluster, job, write_job):
    job["epochs"] = 1_000_000
    job["eval"] = {"every": 100}
    running = cluster(write_job(job))
    running.add_evaluator(True)
    for role in (*running.roles, "evaluator-0"):
        running.start(role)
    running["chief-0"].wait_log("chief: evaluated")
    running["evaluator-0"].send(signal.SIGTERM)
    running["evaluator-0"].expect(143)
    running["chief-0"].wait_log("evaluator leaves evaluator=0 number=1")
    updates = running.updates()
    until(lambda: running.updates() > updates + 50, "training to go on")
    again = running.start("evaluator-0")
    running["chief-0"].wait_log("evaluator admitted evaluator=0 number=2")
    again.send(signal.SIGINT)
    again.expect(130)


@pytest.mark.parametrize("role", ["chief-0", "ps-0", "worker-1"])
def test_a_second_signal_ends_at_once(cluster, job, write_job, role):
    """The others are stopped, so that nobody could let it leave well."""
    job["epochs"] = 1_000_000
    job["cluster"]["lease_ms"] = 60000
    running = cluster(write_job(job))
    running.start_all(["--grace", "3600"])
    running.wait_training()
    running["worker-1"].wait_log("first step done")
    for other in running.roles:
        if other != role:
            running[other].pause()
    running[role].send(signal.SIGTERM)
    running[role].wait_log("told to stop")
    running[role].send(signal.SIGINT)
    running[role].expect(130)


def test_waiting_for_others_it_leaves_at_once(cluster, job, write_job):
    running = cluster(write_job(job))
    for role in ("ps-0", "worker-0", "chief-0"):
        running.start(role)
    running["chief-0"].wait_log("listening")
    running["ps-0"].wait_log("chief greeted")
    running["worker-0"].wait_log("http: listening")  # it hears signals from just before that on
    for role in ("worker-0", "chief-0"):
        running[role].send(signal.SIGTERM)
        running[role].expect(143)
    assert running["ps-0"].wait() in (138, 143)


# ---- --park ----

def test_parked_roles_stay_until_sigterm(cluster, job, write_job):
    running = cluster(write_job(job))
    running.add_evaluator(True)
    parked = ("ps-0", "ps-1", "worker-0", "worker-1", "evaluator-0")
    running.start("chief-0")
    for role in parked:
        running.start(role, ["--park"])
    running["chief-0"].expect(0)  # it leaves when the training is over
    for role in parked:
        running[role].wait_log("cli: parked")
        port = running.http_ports[role].number
        assert http_get(port, "/healthz")[0] == 200 and http_get(port, "/readyz")[0] == 200
    assert result_of(job)["eval"]["accuracy"] > 0.9
    # Who comes now hears of it: a worker and an evaluator that were started again, and a chief.
    for role in ("worker-0", "evaluator-0"):
        running[role].send(signal.SIGTERM)
        running[role].expect(0)
        running.start(role).expect(0)
    before = (pathlib.Path(job["output"]["dir"]) / "result.json").read_bytes()
    running.start("chief-0").expect(0)
    assert (pathlib.Path(job["output"]["dir"]) / "result.json").read_bytes() == before
    for role in ("ps-0", "ps-1", "worker-1"):
        assert running[role].is_running()
        running[role].send(signal.SIGTERM)
        running[role].expect(0)


def test_one_process_parks(muster, job, write_job):
    process = muster("run", write_job(job), "--park")
    process.wait_log("cli: parked")
    assert result_of(job)["status"] == "finished"
    process.send(signal.SIGINT)
    process.expect(0)


def test_what_failed_does_not_park(muster, job, write_job):
    job["compile"]["optimizer"] = {"class_name": "SGD", "config": {"learning_rate": 1e30}}
    process = muster("run", write_job(job), "--park")
    process.expect(1)
    assert not re.search("cli: parked", process.log())
