"""The chief or a parameter server dies and is started again: the others wait, go on, and no example is lost or doubled."""
import json
import pathlib
import re

import pytest
import tiny_job
from processes import Port, lost_updates, metric, newest_checkpoint


@pytest.fixture
def long_job(job):
    """A job that is not over before a test has done with it: it ends when the test says so by the number of epochs."""
    job["epochs"] = 300
    return job


def read_result(job):
    return json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())


def check_whole(job):
    result = read_result(job)
    assert result["status"] == "finished" and result["steps"] == job["epochs"] * tiny_job.TRAIN_EXAMPLES // job["batch_size"], result
    assert result["examples"] == job["epochs"] * tiny_job.TRAIN_EXAMPLES, result
    assert result["torn"] == 0, result
    return result


def start_training(cluster, job, write_job, n_updates=200, **more):
    running = cluster(write_job(job), **more)
    running.start_all()
    running.wait_running(lambda: running.updates() > n_updates, "training")
    return running


def wait_behind_checkpoint(running, n_more):
    chief = running["chief-0"]
    chief.wait_log("checkpoint written")
    running.wait_running(lambda: running.metric("chief-0", "muster_chief_step") > newest_checkpoint(chief.log()) + n_more,
                         "steps that the newest checkpoint does not have")


@pytest.mark.threads
def test_the_chief_is_killed_and_started_again(cluster, long_job, write_job, tmp_path):
    """Workers and servers stay, with the numbers they have; steps, epochs and what is logged of them go on."""
    long_job["callbacks"] = [{"class_name": "CSVLogger", "config": {"filename": "epochs.csv"}}]
    running = start_training(cluster, long_job, write_job)
    running["chief-0"].wait_log("epoch done epoch=2 ")
    running["chief-0"].kill()
    again = running.start("chief-0")
    again.wait_log("recalled term=2")
    running.expect_all(0)
    check_whole(long_job)
    for worker in ("worker-0", "worker-1"):
        said = running[worker].log()
        assert said.count("joined") == 1 and "fenced" not in said, said
    assert "worker fenced" not in again.log()
    lines = (tmp_path / "epochs.csv").read_text().splitlines()
    epochs = [int(line.split(",")[0]) for line in lines[1:]]
    assert sorted(set(epochs)) == list(range(long_job["epochs"])) and len(epochs) <= long_job["epochs"] + 1, epochs


def test_the_checkpoint_before_stays_while_the_job_trains(cluster, long_job, write_job):
    """A chief that was killed right after a commit has told nobody of it: the next one names the checkpoint before."""
    folder = pathlib.Path(long_job["checkpoint"]["dir"])
    long_job["checkpoint"].update(every_steps=50, keep=1)
    running = start_training(cluster, long_job, write_job)
    running.wait_running(lambda: running["chief-0"].log().count("checkpoint written") > 2, "three checkpoints")
    running["chief-0"].kill()
    assert len(list(folder.glob("model-*.index"))) >= 2
    running.start("chief-0")
    running.expect_all(0)
    assert len(list(folder.glob("model-*.index"))) == 1
    check_whole(long_job)


def test_the_chief_is_killed_often(cluster, long_job, write_job):
    running = start_training(cluster, long_job, write_job)
    for term in range(2, 7):
        running["chief-0"].kill()
        running.start("chief-0").wait_log(f"running term={term}")
    running.expect_all(0)
    check_whole(long_job)


def test_leases_are_trained_without_a_chief(cluster, long_job, write_job):
    running = start_training(cluster, long_job, write_job)
    running["chief-0"].wait_log("epoch done")
    running["chief-0"].kill()
    running.processes.pop("chief-0")
    for role in ("ps-0", "ps-1"):
        running[role].wait_log("chief lost")
    seen = [running.updates()]

    def is_still():
        seen.append(running.updates())
        return seen[-1] == seen[-2]
    running.wait_running(is_still, "the leases that are held to be trained")
    running.start("chief-0")
    running.expect_all(0)
    check_whole(long_job)


def test_a_worker_dies_while_the_chief_is_away(cluster, long_job, write_job):
    long_job["epochs"] = 800  # its index is free two leases after the chief is back
    running = start_training(cluster, long_job, write_job)
    running["chief-0"].kill()
    running["worker-1"].kill()
    running.start("worker-1")
    running.start("chief-0")
    running["worker-1"].wait_log("joined number=2")
    running.expect_all(0)
    result = read_result(long_job)
    assert result["examples"] == long_job["epochs"] * tiny_job.TRAIN_EXAMPLES and result["torn"] <= 2, result


def test_a_chief_that_trains_is_started_again(cluster, long_job, write_job):
    """Worker 0 coordinates: chief and worker die together, and its leases go on under a new number."""
    long_job["epochs"] = 500
    running = cluster(write_job(long_job), n_workers=2)
    running.roles.remove("chief-0")
    running.start_all()
    running.wait_running(lambda: running.updates() > 200, "training")
    running["worker-0"].kill()
    running.start("worker-0").wait_log(r"worker: joined number=2")
    running.expect_all(0)
    result = read_result(long_job)
    assert result["examples"] == long_job["epochs"] * tiny_job.TRAIN_EXAMPLES and result["torn"] <= 2, result


@pytest.mark.parametrize("staleness", ["async", 0])
def test_two_chiefs(cluster, long_job, write_job, staleness):
    """One that stood still finds another in its place and ends, with one sentence; the job does not notice."""
    long_job["epochs"] = 600
    long_job["consistency"] = {"staleness": staleness}
    running = start_training(cluster, long_job, write_job)
    old = running["chief-0"]
    old.pause()
    # Another port: the old one still listens.
    first_port, running.ports["chief-0"] = running.ports["chief-0"], Port()
    new = running.start("chief-0", name="second chief")
    new.wait_log("recalled term=2")
    old.resume()
    old.expect(138)
    said = [line for line in old.log().splitlines() if "another" in line or "was claimed" in line or "is over" in line]
    assert said, old.tail()
    updates = running.updates()
    assert updates > 0 and new.is_running()
    first_port.close()


def test_a_server_comes_back_empty(cluster, long_job, write_job):
    """It alone goes back to the checkpoint; the others go on, and what was lost is a number."""
    long_job["checkpoint"]["every_steps"] = 50
    running = start_training(cluster, long_job, write_job)
    running["chief-0"].wait_log("checkpoint written")
    running["ps-1"].kill()
    running.start("ps-1")
    lost = running["chief-0"].wait_log(r"parameter server restored ps=1 lost_updates=(\d+) steps=(\d+) from=(\S+)")
    assert int(lost[1]) < int(lost[2]) and re.search(r"model-\d+$", lost[3]), lost[0]
    running.expect_all(0)
    result = check_whole(long_job)
    assert result["lost_updates"] == lost_updates(running["chief-0"].log()) >= int(lost[1])
    for worker in ("worker-0", "worker-1"):
        assert running[worker].log().count("joined") == 1


def test_a_server_comes_back_before_the_first_checkpoint(cluster, long_job, write_job):
    running = start_training(cluster, long_job, write_job)
    running["ps-0"].kill()
    running.start("ps-0")
    lost = running["chief-0"].wait_log(r"parameter server restored ps=0 lost_updates=(\d+) steps=(\d+) from=initial values")
    assert lost[1] == lost[2]
    running.expect_all(0)
    check_whole(long_job)


def test_a_server_comes_back_twice(cluster, long_job, write_job):
    """What was lost with its first death is not lost once more with the second."""
    running = start_training(cluster, long_job, write_job)
    seen = []
    for _ in range(2):
        running["ps-1"].kill()
        running.start("ps-1")
        steps = seen[-1][1] if seen else -1
        found = running["chief-0"].wait_log(rf"(?:.*\n)*.*parameter server restored ps=1 lost_updates=(\d+) steps=((?!{steps} )\d+)")
        seen.append((int(found[1]), int(found[2])))
        running.wait_running(lambda: metric(running.http_ports["chief-0"].number, "muster_chief_step") > seen[-1][1] + 200, "more steps")
    assert seen[0][0] == seen[0][1] and seen[1][0] == seen[1][1] - seen[0][1], seen
    running.expect_all(0)
    assert check_whole(long_job)["lost_updates"] == lost_updates(running["chief-0"].log()) >= seen[1][1]


def test_chief_and_server_die_together(cluster, long_job, write_job):
    long_job["checkpoint"]["every_steps"] = 5000
    running = start_training(cluster, long_job, write_job)
    # Well behind the last one: what is lost is counted by what the chief knew as done.
    wait_behind_checkpoint(running, 1000)
    running["chief-0"].kill()
    running["ps-0"].kill()
    running.start("ps-0")
    lost = running.start("chief-0").wait_log(r"parameter server restored ps=0 lost_updates=(\d+)")
    running.expect_all(0)
    assert check_whole(long_job)["lost_updates"] == lost_updates(running["chief-0"].log()) >= int(lost[1]) > 0


def test_all_servers_die(cluster, long_job, write_job):
    """Nobody is left that knows the job: it begins anew, and the workers begin with it."""
    running = start_training(cluster, long_job, write_job)
    for role in ("ps-0", "ps-1"):
        running[role].kill()
    for role in ("ps-0", "ps-1"):
        running.start(role)
    running["chief-0"].wait_log("parameter server restored ps=1")
    running.expect_all(0)
    check_whole(long_job)


# ---- synchronous rounds ----

@pytest.fixture
def round_job(job):
    job["epochs"] = 60
    job["consistency"] = {"staleness": 0}
    return job


def test_the_chief_is_killed_between_rounds(cluster, round_job, write_job, tmp_path):
    """Rounds wait for the next one, which repeats the last close; every example is in once an epoch, every epoch said once."""
    round_job["callbacks"] = [{"class_name": "CSVLogger", "config": {"filename": "epochs.csv"}}]
    running = cluster(write_job(round_job))
    running.start_all()
    running["chief-0"].wait_log("epoch done epoch=2 ")
    for term in range(2, 6):
        running["chief-0"].kill()
        running.start("chief-0").wait_log(f"running term={term}")
    running.expect_all(0)
    result = read_result(round_job)
    assert result["examples"] == round_job["epochs"] * tiny_job.TRAIN_EXAMPLES and result["torn"] == 0, result
    # A batch of each worker in a round; the last round of an epoch has one for the first alone.
    n_batches = tiny_job.TRAIN_EXAMPLES // round_job["batch_size"]
    steps = [role["steps"] for role in result["roles"] if role["role"] == "worker"]
    assert steps == [round_job["epochs"] * ((n_batches + 1 - i) // 2) for i in range(2)], (steps, n_batches)
    assert result["seconds"] > 0 and result["examples_per_second"] > 0, result
    lines = (tmp_path / "epochs.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(round_job["epochs"])), lines


@pytest.mark.parametrize("server", ["ps-0", "ps-1"])
def test_a_server_of_rounds_comes_back_empty(cluster, round_job, write_job, server):
    """The one with bucket 0, with which measures travel, too: nothing is missing in what is counted."""
    round_job["checkpoint"]["every_steps"] = 500
    running = cluster(write_job(round_job))
    running.start_all()
    wait_behind_checkpoint(running, 50)
    running[server].kill()
    running.start(server)
    lost = running["chief-0"].wait_log(rf"parameter server restored ps={server[-1]} lost_updates=(\d+)")
    running.expect_all(0)
    result = read_result(round_job)
    assert result["examples"] == round_job["epochs"] * tiny_job.TRAIN_EXAMPLES and result["lost_updates"] == int(lost[1]) > 0, result
