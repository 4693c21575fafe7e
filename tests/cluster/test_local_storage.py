"""checkpoint.local: every process keeps its part on storage of its own; going on from parts, whole and damaged."""
import json
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

import processes
from test_checkpoints import flip
from test_storage import can_mount

PERMANENT, CONFIGURATION = 1, 2


@pytest.fixture
def local_job(job):
    """The kernel is cut over the servers."""
    del job["epochs"]
    job["steps"] = 60
    job["compile"]["optimizer"] = {"class_name": "Adam", "config": {}}
    job["checkpoint"].update(local=True, every_steps=20, keep=2, resume=True)
    return job


def folder_of(job, role):
    return pathlib.Path(job["checkpoint"]["dir"]) / role


def steps_of(job, role):
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder_of(job, role).glob("model-*.index"))


@pytest.fixture
def train(cluster, write_job):
    """Trains the job on a cluster to its end; gives the cluster."""
    def run(described, code=0, n_ps=2):
        made = cluster(write_job(described), n_ps=n_ps)
        made.start_all()
        made["chief-0"].expect(code)
        if code == 0:
            made.expect_all(0)
        return made
    return run


def last_line(cluster):
    return cluster["chief-0"].log().splitlines()[-1]


def test_parts(local_job, train, binary):
    made = train(local_job)
    assert sorted(path.name for path in folder_of(local_job, "").iterdir()) == ["chief", "ps-0", "ps-1"]
    for role in ("chief", "ps-0", "ps-1"):
        assert 60 in steps_of(local_job, role) and len(steps_of(local_job, role)) <= 3, "keep, and the one that is written"
        done = subprocess.run([binary, "ckpt", "verify", folder_of(local_job, role)], capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout
    names = {}
    for role in ("chief", "ps-0", "ps-1"):
        done = subprocess.run([binary, "ckpt", "inspect", folder_of(local_job, role) / "model-60", "--json"],
                              capture_output=True, check=True, timeout=60)
        names[role] = {tensor["name"] for tensor in json.loads(done.stdout)["tensors"]}
    assert {"dense/kernel", "dense/bias", "iterations", "checkpoint/part"} <= names["chief"]
    rows = {name for role in ("ps-0", "ps-1") for name in names[role] if name.startswith("dense/kernel/@rows-")}
    assert rows == {"dense/kernel/@rows-0-32", "dense/kernel/@rows-32-32"}
    result = json.loads(pathlib.Path(local_job["output"]["dir"], "result.json").read_text())
    assert result["checkpoint"] == str(folder_of(local_job, "chief") / "model-60") and result["checkpoints_failed"] == 0
    assert "chief: nothing to resume" in made["chief-0"].log()


def test_the_same_bits_as_on_shared_storage(local_job, write_job, cluster, train, binary, tmp_path):
    """Synchronous, and stopped in the middle: what came back from the parts is all that there was, slots included."""
    local_job["consistency"] = {"staleness": 0}
    local_job["steps"] = 1500
    made = cluster(write_job(local_job))
    made.start_all()
    made.wait_running(lambda: made.progress("checkpoint"), "a checkpoint")
    made["chief-0"].send(signal.SIGTERM)
    made["chief-0"].expect(143)
    stopped_at = steps_of(local_job, "chief")[-1]
    assert stopped_at < 1500
    made = train(local_job)
    assert f"chief: resuming prefix={folder_of(local_job, 'chief')}/model-{stopped_at} " in made["chief-0"].log()
    for index in (0, 1):
        assert f"from={folder_of(local_job, f'ps-{index}')}/model-{stopped_at}" in made[f"ps-{index}"].log()
    shutil.move(tmp_path / "out" / "model", tmp_path / "model-of-parts")
    local_job["checkpoint"].update(local=False, dir=str(tmp_path / "shared"))
    train(local_job)
    done = subprocess.run([binary, "ckpt", "diff", tmp_path / "model-of-parts", tmp_path / "out" / "model"],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_newest_that_all_have_whole(local_job, train):
    for local_job["steps"] in (60, 80):
        train(local_job)
    flip(folder_of(local_job, "ps-1") / "model-80.data-00000-of-00001", 40)
    local_job["steps"] = 100
    log = train(local_job)["chief-0"].log()
    passed, = [line for line in log.splitlines() if "chief: checkpoint passed over" in line]
    for word in (f"prefix={folder_of(local_job, 'chief')}/model-80 ", "ps-1 has no whole part of it: ",
                 "ps-1/model-80.data-", "wrong checksum"):
        assert word in passed, passed
    assert f"{folder_of(local_job, 'chief')}/model-60 steps=60\n" in log


def test_parts_of_two_runs_are_not_one_checkpoint(local_job, train, tmp_path):
    """ps-0's part of step 60 is of another run: the same step, another id."""
    train(local_job)
    shutil.move(folder_of(local_job, "ps-0"), tmp_path / "other")
    local_job["checkpoint"]["resume"] = False
    train(local_job)
    shutil.rmtree(folder_of(local_job, "ps-0"))
    shutil.move(tmp_path / "other", folder_of(local_job, "ps-0"))
    local_job["checkpoint"]["resume"] = True
    made = train(local_job, PERMANENT)
    for word in ("no checkpoint of which the chief and every parameter server have a whole part", str(folder_of(local_job, "")),
                 "checkpoint.resume false"):
        assert word in last_line(made), last_line(made)
    assert "ps-0 has no whole part of it" in made["chief-0"].log()


@pytest.mark.parametrize("lost", ["chief", "ps-0"])
def test_storage_that_came_back_empty(local_job, train, lost):
    train(local_job)
    shutil.rmtree(folder_of(local_job, lost))
    assert "no checkpoint of which the chief and every" in last_line(train(local_job, PERMANENT))


def test_killed_before_the_first_was_committed(local_job, train):
    """Servers have parts of a checkpoint that the chief had only begun: there is none, and nothing was lost."""
    train(local_job)
    for path in folder_of(local_job, "chief").iterdir():
        path.unlink()
    log = train(local_job)["chief-0"].log()
    assert "chief: nothing to resume" in log
    for server in ("ps-0", "ps-1"):
        assert re.search(rf"checkpoint passed over prefix=\S+/{server}/model-\d+ reason=\"the chief has not committed it\"", log), log


def test_another_number_of_servers(local_job, train):
    train(local_job)
    line = last_line(train(local_job, CONFIGURATION, n_ps=1))
    assert "parts of 2 parameter servers, and now there are 1" in line


def test_another_partitioner(local_job, train):
    train(local_job)
    del local_job["partitioner"]
    assert "placed otherwise" in last_line(train(local_job, CONFIGURATION))


def test_storage_that_nobody_else_sees(local_job, write_job, cluster, tmp_path):
    """ps-1 has a disk of its own under the name of checkpoint.dir."""
    if not shutil.which("unshare") or not can_mount():
        pytest.skip("a mount of its own needs root")
    folder, elsewhere = folder_of(local_job, ""), tmp_path / "disk-of-ps-1"
    folder.mkdir()
    elsewhere.mkdir()
    for steps in (60, 80):
        local_job["steps"] = steps
        made = cluster(write_job(local_job))
        binary, made.binary = made.binary, tmp_path / "muster-elsewhere"
        made.binary.write_text(f'#!/bin/sh\nexec unshare --mount sh -c \'mount --bind "{elsewhere}" "{folder}" && exec "$@"\' '
                               f'x "{binary}" "$@"\n')
        made.binary.chmod(0o755)
        made.start("ps-1")
        made.binary = binary
        for role in made.roles:
            if role != "ps-1":
                made.start(role)
        made.expect_all(0)
    assert f"{folder}/chief/model-60 steps=60\n" in made["chief-0"].log()
    assert not (folder / "ps-1").exists() and (elsewhere / "ps-1" / "model-80.index").exists()


def test_a_server_and_the_chief_come_back(local_job, write_job, cluster):
    """The server takes its own part of the newest checkpoint; the chief finds what it needs at the servers."""
    local_job["steps"] = 20000
    local_job["checkpoint"]["every_steps"] = 50
    made = cluster(write_job(local_job))
    made.start_all()
    made.wait_running(lambda: made.progress("checkpoint"), "a checkpoint")
    made["ps-1"].kill()
    made.start("ps-1").wait_log(f"from={folder_of(local_job, 'ps-1')}/model-")
    seen = len(made.progress("checkpoint"))
    processes.until(lambda: len(made.progress("checkpoint")) > seen, "a checkpoint after it came back")
    made["chief-0"].kill()
    made.start("chief-0").wait_log("recalled term=2")
    made.expect_all(0)
    result = json.loads(pathlib.Path(local_job["output"]["dir"], "result.json").read_text())
    assert result["steps"] == 20000 and result["checkpoint"] == str(folder_of(local_job, "chief") / "model-20000")


def test_muster_local(local_job, write_job, muster):
    path = write_job(local_job)
    for steps in (60, 80):
        muster("local", path, "--workers", "1", "--ps", "2", "--set", f"steps={steps}").expect(0)
    assert steps_of(local_job, "ps-1")[-1] == 80


@pytest.mark.parametrize("key, value, words", [
    ("callbacks", [{"class_name": "EarlyStopping", "config": {"monitor": "val_loss", "restore_best_weights": True}}],
     ["checkpoint.local", "restore_best_weights"]),
    ("init_from", "out/model", ["checkpoint.local", "init_from"]),
])
def test_what_needs_shared_storage(local_job, write_job, muster, key, value, words):
    if key == "init_from":
        local_job["checkpoint"]["local"] = False
        muster("run", write_job(local_job)).expect(0)
        local_job["checkpoint"].update(local=True, dir=local_job["checkpoint"]["dir"] + "-of-parts")
    local_job[key] = value
    process = muster("run", write_job(local_job))
    process.expect(CONFIGURATION)
    line = process.log().splitlines()[-1]
    assert line.startswith("muster: ") and all(word in line for word in words), line
