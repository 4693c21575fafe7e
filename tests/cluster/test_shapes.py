"""Clusters of other shapes: every partitioner, more servers than shards, `master`, an evaluator named, data threads, optimizers
with slots, jobs counted in steps; all of them train every example once and end in one checkpoint that can be resumed from."""
import json
import pathlib
import re

import pytest

import tiny_job
from processes import until

STEPS_PER_EPOCH = tiny_job.TRAIN_EXAMPLES // 16


def read_result(job):
    return json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())


def check_learnt(job, epochs=2):
    result = read_result(job)
    assert result["status"] == "finished" and result["examples"] == epochs * tiny_job.TRAIN_EXAMPLES
    assert result["torn"] == 0 and result["eval"]["accuracy"] > 0.9, result
    trained = sum(role["steps"] for role in result["roles"] if role["role"] == "worker")
    assert trained == result["steps"], "the workers' steps add up"
    return result


PARTITIONERS = {
    "none": None,
    "fixed": {"class_name": "FixedShardsPartitioner", "config": {"num_shards": 3}},
    "min": {"class_name": "MinSizePartitioner", "config": {"min_shard_bytes": 256, "max_shards": 4}},
    "max": {"class_name": "MaxSizePartitioner", "config": {"max_shard_bytes": 512}},
}


@pytest.mark.parametrize("n_ps", [1, 3])
@pytest.mark.parametrize("partitioner", PARTITIONERS.values(), ids=PARTITIONERS)
def test_every_partitioner(cluster, job, write_job, partitioner, n_ps):
    job["partitioner"] = partitioner
    running = cluster(write_job(job), n_workers=2, n_ps=n_ps)
    running.start_all()
    running.expect_all(0)
    check_learnt(job)
    assert re.search(r'variables placed plan="ps-0: \d+ bytes', running["chief-0"].log()), "the plan is logged"


def test_the_cut_changes_no_initial_value(muster, job, write_job):
    """One worker with SGD: the result depends on the data's order alone, so every cut gives the same bits."""
    losses = set()
    for name, partitioner in PARTITIONERS.items():
        for n_ps in (1, 2):
            job["partitioner"] = partitioner
            muster("local", write_job(job), "--workers", "1", "--ps", str(n_ps), "--threads", "1").expect(0)
            result = read_result(job)
            losses.add((result["eval"]["loss"], result["train"]["loss"]))
    assert len(losses) == 1, losses


def test_more_servers_than_shards(stalled, job, write_job):
    """Some servers hold nothing; they are fenced against a dead worker and save like the others."""
    job["partitioner"] = None
    running, _ = stalled(write_job(job), n_ps=6)
    running["worker-1"].kill()
    for role in running.roles:
        if role != "worker-1":
            running[role].expect(0)
    assert read_result(job)["examples"] == 2 * tiny_job.TRAIN_EXAMPLES


def test_master_coordinates_and_trains(cluster, job, write_job):
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
    check_learnt(job)
    admitted = set(re.findall(r"worker admitted worker=(\d+)", running["chief-0"].log()))
    assert admitted == {"0", "1"}, "the worker, and the master under the index after it"


def test_a_worker_finds_the_chief_through_the_servers(cluster, job, write_job):
    """sparseCluster names no chief to a worker: the servers tell it."""
    running = cluster(write_job(job), n_workers=2, n_ps=2)
    sparse = {"sparseCluster": {"worker": {"1": running.ports["worker-1"].address},
                                "ps": [running.ports["ps-0"].address, running.ports["ps-1"].address]},
              "task": {"type": "worker", "index": 1}}
    running.roles.remove("worker-0")
    running.start("worker-1", environment={"TF_CONFIG": json.dumps(sparse)})
    for role in ("ps-0", "ps-1", "chief-0"):
        running.start(role)
    running.expect_all(0)
    check_learnt(job)


def sparse_view(running, index, key="sparseCluster"):
    """What TFJob's enableDynamicWorker tells a worker: itself and every server."""
    return {"TF_CONFIG": json.dumps({key: {"worker": {str(index): running.ports[f"worker-{index}"].address},
                                           "ps": [running.ports["ps-0"].address, running.ports["ps-1"].address]},
                                     "task": {"type": "worker", "index": index}})}


def sparse_server(running, index):
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": {}, "ps": [running.ports[f"ps-{index}"].address]},
                                     "task": {"type": "ps", "index": index}})}


@pytest.mark.parametrize("first", ["chief", "worker"])
def test_dynamic_worker_zero_does_not_coordinate_beside_a_chief(cluster, job, write_job, first):
    """Nobody but the chief knows of it; more workers come than its TF_CONFIG lists, which is none."""
    job["epochs"] = 4
    job["cluster"]["lease_ms"] = 10000  # which is how long worker 0 asks for a chief
    running = cluster(write_job(job), n_workers=3)
    said = json.loads(running.tf_config("chief-0"))
    said["cluster"]["worker"] = {}
    order = ["chief-0", "ps-0", "ps-1", "worker-0", "worker-1", "worker-2"]
    if first == "worker":
        order = ["worker-0", "ps-0", "worker-2", "ps-1", "worker-1", "chief-0"]
    for role in order:
        kind, _, index = role.partition("-")
        view = {"worker": lambda: sparse_view(running, int(index), "cluster"), "ps": lambda: sparse_server(running, int(index)),
                "chief": lambda: {"TF_CONFIG": json.dumps(said)}}[kind]()
        running.start(role, environment=view)
        if role == order[-1] and first == "worker":
            running["worker-0"].wait_log("coordinator found")
    running.expect_all(0)
    check_learnt(job, epochs=4)
    assert "coordinator found address=" in running["worker-0"].log()
    assert "chief: listening" not in running["worker-0"].log()
    assert "worker admitted worker=0" in running["chief-0"].log()


def test_dynamic_worker_zero_coordinates_where_there_is_no_chief(cluster, job, write_job):
    job["epochs"] = 100  # so that worker 1, which asks now and then, finds the job still there
    running = cluster(write_job(job), n_workers=2)
    running.roles.remove("chief-0")
    for role in running.roles:
        kind, _, index = role.partition("-")
        view = sparse_view(running, int(index)) if kind == "worker" else sparse_server(running, int(index))
        running.start(role, environment=view)
    running["worker-0"].wait_log('cli: coordinating reason="no parameter server has heard of a chief"')
    running.expect_all(0)
    check_learnt(job, epochs=100)


def test_a_chief_that_comes_after_worker_zero_coordinates_is_refused(cluster, job, write_job):
    job["epochs"] = 1_000_000
    running = cluster(write_job(job), n_workers=1)
    running.start("worker-0", environment=sparse_view(running, 0))
    for role in ("ps-0", "ps-1"):
        running.start(role, environment=sparse_server(running, int(role[-1])))
    running.wait_running(lambda: running.updates() > 50, "worker 0 to train")
    chief = running.start("chief-0")
    assert chief.wait() == 138
    assert "another process coordinates this job" in chief.log()
    updates = running.updates()
    running.processes.pop("chief-0")
    running.wait_running(lambda: running.updates() > updates + 50, "training to go on")


@pytest.mark.parametrize("optimizer", [
    "adam",
    {"class_name": "Adam", "config": {"learning_rate": 0.005, "amsgrad": True}},
    {"class_name": "SGD", "config": {"learning_rate": 0.02, "momentum": 0.9, "nesterov": True}},
    {"class_name": "RMSprop", "config": {"learning_rate": 0.002, "momentum": 0.5, "centered": True}},
    {"class_name": "Adagrad", "config": {"learning_rate": {"class_name": "ExponentialDecay", "config": {
        "initial_learning_rate": 0.1, "decay_steps": 40, "decay_rate": 0.9}}}},
], ids=["adam", "amsgrad", "nesterov", "rmsprop", "adagrad with a schedule"])
def test_slots_are_saved_and_resumed(muster, job, write_job, optimizer):
    """Two halves with a resume between them end in the same bits as one run, slots and iterations included."""
    job["compile"]["optimizer"] = optimizer
    job_path = write_job(job)
    local = ("local", job_path, "--workers", "1", "--ps", "2", "--threads", "1")
    muster(*local).expect(0)
    whole = read_result(job)["eval"]
    out = pathlib.Path(job["output"]["dir"])
    halves = ("--set", f"checkpoint.dir={out / 'halves'}", "--set", "checkpoint.resume=true")
    muster(*local, *halves, "--set", "epochs=1").expect(0)
    muster(*local, *halves).expect(0)
    result = read_result(job)
    assert result["steps"] == 2 * STEPS_PER_EPOCH and result["eval"] == whole


def test_a_checkpoint_by_the_clock(cluster, job, write_job):
    job["epochs"] = 100000
    job["checkpoint"]["every_seconds"] = 1
    running = cluster(write_job(job))
    running.start_all()
    for n in (1, 2):
        running.wait_running(lambda: len(running.progress("checkpoint")) >= n, f"{n} checkpoints")


def test_jobs_counted_in_steps(muster, job, write_job):
    del job["epochs"]
    job["steps"] = STEPS_PER_EPOCH + 7  # into the second epoch
    process = muster("local", write_job(job), "--workers", "2", "--ps", "2")
    process.expect(0)
    result = read_result(job)
    assert result["steps"] == STEPS_PER_EPOCH + 7
    assert result["examples"] == tiny_job.TRAIN_EXAMPLES + 7 * 16
    assert result["checkpoint"].endswith(f"model-{result['steps']}")


def test_several_data_threads(cluster, job, write_job):
    job["partitioner"] = PARTITIONERS["max"]
    running = cluster(write_job(job), n_workers=2, n_ps=2)
    running.start_all(["--data-threads", "3"])
    running.expect_all(0)
    check_learnt(job)
    assert "data_threads=3" in running["ps-1"].log()


def test_waiting_is_said_and_ends_when_all_are_there(cluster, job, write_job):
    running = cluster(write_job(job), n_workers=1, n_ps=2)
    running.start("chief-0")
    running.start("ps-0")
    running["chief-0"].wait_log(r'waiting for="ps-1 \(connection refused, \d+ s\)"')
    running.start("ps-1")
    running.start("worker-0")
    running.expect_all(0)
    until(lambda: read_result(job)["status"] == "finished", "the result")
