"""Evaluations during the training and at its end: by an evaluator role, in TF_CONFIG or outside of it, killed, late, slow,
absent; and by the chief's own thread. Training never waits for one, and none fails the job."""
import json
import os
import pathlib
import re
import signal

import pytest

import fault_proxy
import tiny_job
from processes import http_get, metric, until

STEPS_PER_EPOCH = tiny_job.TRAIN_EXAMPLES // 16
ROLES = ("chief-0", "ps-0", "ps-1", "worker-0", "worker-1")


def read_result(job):
    return json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())


def check_evaluated(job):
    """The trained model was evaluated, as the last of the evaluations that are listed."""
    result = read_result(job)
    assert result["status"] == "finished" and "warning" not in result, result
    assert result["eval"]["accuracy"] > 0.9, result["eval"]
    last = result["evaluations"][-1]
    assert last["step"] == result["steps"] and last["loss"] == result["eval"]["loss"]
    steps = [one["step"] for one in result["evaluations"]]
    assert steps == sorted(steps)
    return result


@pytest.fixture
def with_evaluator(cluster):
    """A cluster with an evaluator, which TF_CONFIG of all roles names or none does."""
    def make(job_path, in_cluster=True):
        running = cluster(job_path)
        running.add_evaluator(in_cluster)
        return running
    return make


@pytest.mark.threads
@pytest.mark.parametrize("in_cluster", [True, False], ids=["in TF_CONFIG", "outside of it"])
def test_it_evaluates_the_trained_model(with_evaluator, job, write_job, in_cluster, muster):
    """In a job as short as can be: it may come when all is trained, and the end waits for it if it is named."""
    job_path = write_job(job)
    running = with_evaluator(job_path, in_cluster)
    running.start("chief-0")
    running.start("evaluator-0")
    if not in_cluster:
        running["chief-0"].wait_log("evaluator admitted")  # or the chief might not know of it when all is trained
    for role in ROLES[1:]:
        running.start(role)
    running.expect_all(0)
    running["evaluator-0"].expect(0)
    result = check_evaluated(job)
    assert ("evaluator", 0) in {(role["role"], role["index"]) for role in result["roles"]}
    # It pulled what the checkpoint holds: the same figures.
    again = muster("eval", job_path)
    again.expect(0)
    scored = json.loads(re.search(r"^\{.*\}", again.log(), re.MULTILINE | re.DOTALL).group(0))
    scored = scored.get("eval", scored)
    assert scored["loss"] == pytest.approx(result["eval"]["loss"], rel=1e-6)
    assert len(running.progress("evaluation")) == len(result["evaluations"])


@pytest.mark.parametrize("every", ["epoch", 50])
@pytest.mark.parametrize("by", ["role", "chief"])
@pytest.mark.parametrize("staleness", ["async", 0])
def test_eval_every(with_evaluator, cluster, job, write_job, every, by, staleness):
    job["epochs"] = 6
    job["consistency"] = {"staleness": staleness}
    job["eval"] = {"every": every}
    job_path = write_job(job)
    running = with_evaluator(job_path) if by == "role" else cluster(job_path)
    running.start("chief-0")
    if by == "role":
        running.start("evaluator-0")
        running["chief-0"].wait_log("evaluator admitted")
    for role in running.roles:
        if role not in running.processes:
            running.start(role)
    running.expect_all(0)
    result = check_evaluated(job)
    wanted = 6 if every == "epoch" else None
    done = len(result["evaluations"])
    if wanted:
        assert done + result["evaluations_skipped"] == wanted
        assert [one["epoch"] for one in result["evaluations"]][-1] == 6
    log = running["chief-0"].log()
    assert log.count("chief: evaluated epoch=") == done
    assert log.count("chief: evaluation skipped") == result["evaluations_skipped"]
    assert "evaluated between steps" not in log, "an evaluation is of a cut"
    if every == "epoch":
        assert log.count("chief: epoch evaluated") == done


def test_an_epoch_that_is_over_with_the_last_one_is_counted(cluster, job, write_job):
    """One of two workers stands still with the first epoch's two batches, a lease each, while the other one trains the second's:
    then both are over at once, and the evaluation of the trained model overtakes that of the first."""
    job.update(epochs=2, batch_size=tiny_job.TRAIN_EXAMPLES // 2)
    job["cluster"]["lease_ms"] = 20000
    job["eval"] = {"every": "epoch"}
    running = cluster(write_job(job))
    with fault_proxy.Proxies(1) as proxies:
        link = proxies.add("worker-1", "ps-0", running.ports["ps-0"].address)
        running.addresses[("worker-1", "ps-0")] = link.address
        stalled = link.stall_in_push()
        for role in ("chief-0", "ps-0", "ps-1", "worker-1"):
            running.start(role)
        until(stalled.is_set, "a push of worker-1 to be half sent")
        running.start("worker-0")
        until(lambda: running.metric("chief-0", "muster_chief_step") == 2, "the second epoch's two steps")
        link.go_on()
        running.expect_all(0)
    result = read_result(job)
    assert len(result["evaluations"]) + result["evaluations_skipped"] == 2
    log = running["chief-0"].log()
    assert log.count("chief: evaluation skipped epoch=1 ") == result["evaluations_skipped"], log


def test_one_process_evaluates_each_epoch(muster, job, write_job):
    job["epochs"] = 4
    job["eval"] = {"every": "epoch"}
    muster("run", write_job(job), "--threads", "1").expect(0)
    result = check_evaluated(job)
    assert len(result["evaluations"]) + result["evaluations_skipped"] == 4


def test_killed_in_the_middle_and_started_again(with_evaluator, job, write_job):
    """Training ends without it; the end gives another one the time of a lease, and that one evaluates."""
    job["cluster"]["lease_ms"] = 20000
    job["eval"] = {"every": "epoch"}
    running = with_evaluator(write_job(job))
    running.start("chief-0")
    running.start("evaluator-0")
    running["chief-0"].wait_log("evaluator admitted")
    running["evaluator-0"].pause()
    for role in ROLES[1:]:
        running.start(role)
    running["chief-0"].wait_log("training done")
    running["evaluator-0"].kill()
    running.start("evaluator-0")
    running.expect_all(0)
    running["evaluator-0"].expect(0)
    check_evaluated(job)
    assert "evaluator admitted evaluator=0 number=2" in running["chief-0"].log()


@pytest.mark.parametrize("staleness", ["async", 0])
def test_an_epoch_waits_for_its_validation_while_the_chief_dies(with_evaluator, job, write_job, tmp_path, staleness):
    """The chief that comes after has it evaluated, and callbacks hear of it once."""
    job["cluster"]["lease_ms"] = 20000  # nobody misses the evaluator
    job["epochs"] = 1
    job["consistency"] = {"staleness": staleness}
    job["eval"] = {"every": "epoch"}
    job["callbacks"] = [{"class_name": "CSVLogger", "config": {"filename": str(tmp_path / "epochs.csv")}},
                        {"class_name": "EarlyStopping", "config": {"monitor": "val_loss", "restore_best_weights": True}}]
    running = with_evaluator(write_job(job))
    running.start("chief-0")
    running.start("evaluator-0")
    running["chief-0"].wait_log("evaluator admitted")
    running["evaluator-0"].pause()
    for role in ROLES[1:]:
        running.start(role)
    running["chief-0"].wait_log("checkpoint written")  # all is trained and saved: nothing but the evaluation is left
    running["chief-0"].kill()
    again = running.start("chief-0")
    again.wait_log("epoch taken up epoch=1")
    running["evaluator-0"].resume()
    running.expect_all(0)
    assert again.log().count("chief: epoch evaluated epoch=1 ") == 1, again.tail()
    lines = [line.split(",") for line in (tmp_path / "epochs.csv").read_text().splitlines()]
    assert [line[0] for line in lines] == ["epoch", "0"] and "NA" not in lines[1], lines
    best = read_result(job)["best"]
    assert [one["epoch"] for one in best] == [1], best


@pytest.mark.parametrize("what", ["paused", "killed", "absent"])
def test_the_end_does_not_wait_for_ever(with_evaluator, job, write_job, tmp_path, what):
    """eval is null, the reason is said, the job is finished all the same, and no epoch is missing from a CSVLogger's file."""
    job["eval"] = {"every": "epoch", "final_timeout": 1 if what == "paused" else 600}
    if what == "paused":
        job["cluster"]["lease_ms"] = 6000  # it is not missed before
    job["callbacks"] = [{"class_name": "CSVLogger", "config": {"filename": str(tmp_path / "epochs.csv")}}]
    running = with_evaluator(write_job(job))
    running.start("chief-0")
    if what != "absent":
        running.start("evaluator-0")
        running["chief-0"].wait_log("evaluator admitted")
        running["evaluator-0"].pause()
    if what == "killed":
        running["evaluator-0"].kill()
    for role in ROLES[1:]:
        running.start(role)
    running.expect_all(0)
    result = read_result(job)
    assert result["status"] == "finished" and result["examples"] == job["epochs"] * tiny_job.TRAIN_EXAMPLES
    assert result["eval"] is None and result["evaluations"] == []
    assert ("eval.final_timeout" if what == "paused" else "no evaluator") in result["warning"], result["warning"]
    assert pathlib.Path(result["model"]).is_dir()
    assert len((tmp_path / "epochs.csv").read_text().splitlines()) == 1 + job["epochs"]


def test_one_that_comes_too_late_is_told(with_evaluator, job, write_job):
    job["eval"] = {"final_timeout": 0}  # the end does not wait, but the chief stays half a lease for whom TF_CONFIG names
    job["cluster"]["lease_ms"] = 20000
    running = with_evaluator(write_job(job))
    for role in ROLES:
        running.start(role)
    running["chief-0"].wait_log("job finished")
    running.start("evaluator-0").expect(0)
    running.expect_all(0)


def test_training_does_not_wait_for_a_stopped_one(with_evaluator, job, write_job):
    """It is stopped while it pulls and holds what it may; the workers train on, newer evaluations overtake older ones."""
    job["epochs"] = 20
    job["eval"] = {"every": 20, "final_timeout": 0}
    running = with_evaluator(write_job(job))
    running.start("chief-0")
    running.start("evaluator-0")
    running["chief-0"].wait_log("evaluator admitted")
    for role in ROLES[1:]:
        running.start(role)
    running["evaluator-0"].wait_log("joined")
    running["evaluator-0"].pause()
    running.expect_all(0)
    result = read_result(job)
    assert result["examples"] == 20 * tiny_job.TRAIN_EXAMPLES
    assert result["evaluations_skipped"] > 0
    assert "evaluation skipped" in running["chief-0"].log()


def test_bad_examples_do_not_fail_the_job(with_evaluator, job, write_job, tmp_path):
    labels = bytes([tiny_job.CLASSES]) * tiny_job.EVAL_EXAMPLES
    (tmp_path / "labels.idx").write_bytes(tiny_job.idx((tiny_job.EVAL_EXAMPLES,), labels))
    job["data"]["eval"]["labels"] = str(tmp_path / "labels.idx")
    running = with_evaluator(write_job(job))
    for role in (*ROLES, "evaluator-0"):
        running.start(role)
    running.expect_all(0)
    running["evaluator-0"].expect(0)
    result = read_result(job)
    assert result["eval"] is None and "labels.idx" in result["warning"], result


def test_two_are_one_too_many(with_evaluator, stalled, job, write_job):
    running, links = stalled(write_job(job))
    running.add_evaluator(False)
    running.start("evaluator-0")
    running["chief-0"].wait_log("evaluator admitted")
    second = running.start("evaluator-0", name="second")
    second.expect(138)
    assert "another process is the evaluator" in second.log()
    links["worker-1"].release()
    running.expect_all(0)
    running["evaluator-0"].expect(0)


def test_metrics(with_evaluator, job, write_job):
    job["epochs"] = 1_000_000
    job["eval"] = {"every": 100}
    running = with_evaluator(write_job(job))
    for role in (*ROLES, "evaluator-0"):
        running.start(role)
    chief, evaluator = (running.http_ports[role].number for role in ("chief-0", "evaluator-0"))
    running.wait_running(lambda: metric(evaluator, "muster_evaluator_evaluations_total") >= 1, "an evaluation")
    running.wait_running(lambda: metric(chief, "muster_chief_evaluations_total") >= 1, "an evaluation to be told")
    assert metric(chief, "muster_chief_evaluation") > 0
    # One is under way or wanted, and a second one: the third takes its place.
    running["evaluator-0"].pause()
    running.wait_running(lambda: metric(chief, "muster_chief_evaluations_skipped_total") >= 1, "a newer one to be wanted")
    running["evaluator-0"].resume()
    assert http_get(evaluator, "/readyz")[0] == 200 and http_get(evaluator, "/healthz")[0] == 200


# ---- without a chief ----

def test_worker_zero_coordinates_and_an_evaluator_evaluates(with_evaluator, job, write_job):
    running = with_evaluator(write_job(job))
    running.roles.remove("chief-0")
    for role in (*running.roles, "evaluator-0"):
        running.start(role)
    running.expect_all(0)
    running["evaluator-0"].expect(0)
    check_evaluated(job)


def test_a_master_evaluates_each_epoch(cluster, job, write_job):
    """It coordinates, trains and evaluates; TensorFlow has no evaluator beside a master."""
    job["epochs"] = 4
    job["eval"] = {"every": "epoch"}
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    as_read = running.tf_config

    def tf_config(role, index=None):
        said = json.loads(as_read(role, index))
        said["cluster"]["master"] = said["cluster"].pop("chief")
        if said["task"]["type"] == "chief":
            said["task"]["type"] = "master"
        return json.dumps(said)
    running.tf_config = tf_config
    running.start_all()
    running.expect_all(0)
    result = check_evaluated(job)
    assert len(result["evaluations"]) + result["evaluations_skipped"] == 4


def test_it_ends_with_the_job_that_failed(with_evaluator, job, write_job):
    job["epochs"] = 1_000_000
    job["eval"] = {"every": 100}
    job["cluster"]["absence_ms"] = 4000
    running = with_evaluator(write_job(job))
    for role in (*ROLES, "evaluator-0"):
        running.start(role)
    running["chief-0"].wait_log("chief: evaluated")
    running["ps-0"].kill()
    for role in ("chief-0", "ps-1", "worker-0", "worker-1", "evaluator-0"):
        running[role].expect(138)


# ---- muster local ----

def test_local_with_an_evaluator(muster, job, write_job):
    job["epochs"] = 60  # the last line is written when all is trained, and is to have an evaluation
    process = muster("local", write_job(job), "--workers", "2", "--ps", "2", "--evaluators", "1", "--set", "eval.every=epoch")
    process.expect(0)
    check_evaluated(job)
    said = process.log()
    assert "2 parameter servers, evaluator; logs in" in said
    assert re.search(r"val_loss \S+  val_accuracy 1\.0000", said), said


def test_local_starts_a_killed_evaluator_again(muster, job, write_job):
    job["epochs"] = 1_000_000
    job["checkpoint"].update(every_steps=500, keep=2)
    job["eval"] = {"every": 500}
    process = muster("local", write_job(job), "--workers", "2", "--ps", "2", "--evaluators", "1")
    log = pathlib.Path(job["output"]["dir"]) / "logs" / "chief-0.log"

    def pid():
        for child in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            try:
                environment = pathlib.Path(f"/proc/{child}/environ").read_bytes()
            except OSError:
                continue
            if b'"type":"evaluator"' in environment.replace(b" ", b""):
                return int(child)
        return None
    until(lambda: log.exists() and "chief: evaluated" in log.read_text(), "an evaluation")
    os.kill(pid(), signal.SIGKILL)
    process.wait_log(r"muster: evaluator-0 was killed by signal 9 \(Killed\); it is started again")
    until(lambda: "evaluator admitted evaluator=0 number=2" in log.read_text(), "the next one")
    done = log.read_text().count("chief: evaluated")
    until(lambda: log.read_text().count("chief: evaluated") > done, "another evaluation")
    process.send(signal.SIGTERM)
    process.expect(143)
