"""Storage that is full, slow, gone or not shared while a job trains: the job goes on, says so, and the checkpoint before stays.

A full disk is a limit on the size of files (RLIMIT_FSIZE) that is set and lifted while the parameter server runs.
"""
import contextlib
import json
import pathlib
import re
import resource
import shutil
import subprocess

import pytest

import processes

LIMIT_BYTES = 24_000  # above a log, below the 26 500 bytes of weights and slots
TRANSIENT, CONFIGURATION = 138, 2


@pytest.fixture
def long_job(job):
    """It writes checkpoints all the time, and ends by itself some seconds after a test has seen what it waits for."""
    job["epochs"] = 300
    job["cluster"]["lease_ms"] = 20000  # workers are paused while a test looks around
    job["checkpoint"].update(every_steps=20, keep=2)
    job["compile"]["optimizer"] = {"class_name": "Adam", "config": {}}
    return job


def folder_of(job):
    return pathlib.Path(job["checkpoint"]["dir"])


def result_of(job):
    return json.loads(pathlib.Path(job["output"]["dir"], "result.json").read_text())


def failures(cluster):
    return processes.metric(cluster.http_ports["chief-0"].number, "muster_chief_checkpoint_failures_total")


def written(cluster):
    return [one["prefix"] for one in cluster.progress("checkpoint")]


@contextlib.contextmanager
def at_rest(cluster):
    """No worker trains meanwhile, so that the job does not end before the test has done what it wants."""
    workers = [process for name, process in cluster.processes.items() if name.startswith("worker")]
    for worker in workers:
        worker.pause()
    yield
    for worker in workers:
        worker.resume()


def expect_whole(binary, prefix):
    done = subprocess.run([binary, "ckpt", "verify", prefix], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expect_end(cluster, job, binary, words):
    """It is finished with as many failures as it counted; what it names is whole, and nothing else is left."""
    cluster.expect_all(0)
    result = result_of(job)
    assert result["checkpoints_failed"] >= 2
    for word in (f"{result['checkpoints_failed']} checkpoints could not be written", *words):
        assert word in result["checkpoint_warning"]
    expect_whole(binary, result["checkpoint"])
    left = [path.name for path in folder_of(job).iterdir() if path.name.endswith(".tmp") or path.name.startswith(".")]
    assert not left, f"left over: {left}"
    log = cluster["chief-0"].log()
    failed = [line for line in log.splitlines() if " error " in line and "chief: checkpoint failed" in line]
    assert len(failed) == result["checkpoints_failed"] and all(word in line for line in failed for word in words), failed


def test_a_full_disk(long_job, write_job, cluster, binary):
    made = cluster(write_job(long_job), n_workers=1, n_ps=1)
    made.start_all()
    made.wait_running(lambda: len(written(made)) >= 1, "a checkpoint")
    no_limit = resource.prlimit(made["ps-0"].pid, resource.RLIMIT_FSIZE)
    resource.prlimit(made["ps-0"].pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, no_limit[1]))
    made.wait_running(lambda: failures(made) >= 2, "two failures")
    with at_rest(made):
        newest = written(made)[-1]
        expect_whole(binary, newest)
        assert f"last={newest}\n" in made["chief-0"].log()
        resource.prlimit(made["ps-0"].pid, resource.RLIMIT_FSIZE, no_limit)
    made.wait_running(lambda: written(made)[-1] != newest, "a checkpoint after there is room again")
    expect_end(made, long_job, binary, ["ps-0 did not write its part", str(folder_of(long_job) / "model-"), "File too large"])


class Switch:
    """checkpoint.dir as a symbolic link: to a directory, or in one step to a file."""

    def __init__(self, job):
        self.link = folder_of(job)
        self.directory, self.file = self.link.with_name("kept"), self.link.with_name("file")
        self.directory.mkdir()
        self.file.write_bytes(b"")
        self.point_to(self.directory)

    def point_to(self, target):
        new = self.link.with_name("new-link")
        new.symlink_to(target)
        new.rename(self.link)


def without_storage(job, write_job, cluster, staleness, epochs):
    """A cluster that trains, and whose directory is a file after the first checkpoint."""
    job["consistency"], job["epochs"] = {"staleness": staleness}, epochs
    switch = Switch(job)
    made = cluster(write_job(job), n_workers=1)
    made.start_all()
    made.wait_running(lambda: len(written(made)) >= 1, "a checkpoint")
    switch.point_to(switch.file)
    return made, switch


@pytest.mark.parametrize("staleness, epochs", [("async", 300), (0, 60)])
def test_a_file_in_place_of_the_directory(long_job, write_job, cluster, binary, staleness, epochs):
    made, switch = without_storage(long_job, write_job, cluster, staleness, epochs)
    made.wait_running(lambda: failures(made) >= 2, "two failures")
    with at_rest(made):
        newest = written(made)[-1]
        expect_whole(binary, switch.directory / pathlib.Path(newest).name)
        switch.point_to(switch.directory)
    made.wait_running(lambda: written(made)[-1] != newest, "a checkpoint after the directory is back")
    expect_end(made, long_job, binary, [str(switch.link)])


@pytest.mark.parametrize("staleness, epochs", [("async", 300), (0, 60)])
def test_the_chief_dies_while_storage_is_gone(long_job, write_job, cluster, binary, staleness, epochs):
    """The servers hold what was trained since the last checkpoint: the next chief goes on with it, and saves it when it can."""
    made, switch = without_storage(long_job, write_job, cluster, staleness, epochs)
    made.wait_running(lambda: failures(made) >= 1, "a failure")
    made["chief-0"].kill()
    made.start("chief-0")
    made["chief-0"].wait_log("chief: storage not ready reason=")
    made.wait_running(lambda: "chief: checkpoint failed" in made["chief-0"].log(), "a failure of the next chief")
    switch.point_to(switch.directory)
    made["chief-0"].wait_log("chief: checkpoint written")
    made.expect_all(0)
    expect_whole(binary, result_of(long_job)["checkpoint"])
    assert "worker fenced" not in made["chief-0"].log()


def test_slow_storage(long_job, write_job, cluster, binary):
    """A part takes its seconds, by the limit: training does not wait for it, and one checkpoint is written at a time."""
    long_job["epochs"] = 60
    long_job["checkpoint"]["max_bytes_per_second"] = 6000
    made = cluster(write_job(long_job), n_workers=1, n_ps=1)
    made.start_all()
    made.expect_all(0)
    _, from_cut, *_ = made["chief-0"].log().split("chief: cut marked")
    meanwhile, written_then, _ = from_cut.partition("chief: checkpoint written")
    assert written_then and "chief: epoch done" in meanwhile, made["chief-0"].log()
    result = result_of(long_job)
    assert result["checkpoints_failed"] == 0 and "checkpoint_warning" not in result
    expect_whole(binary, result["checkpoint"])


def test_muster_local_tells_it(long_job, write_job, muster):
    switch = Switch(long_job)
    process = muster("local", write_job(long_job), "--workers", "1", "--ps", "1")
    processes.until(lambda: list(switch.directory.glob("*.index")), "a checkpoint")
    switch.point_to(switch.file)
    process.wait_log("muster: a checkpoint could not be written, the job goes on: ")
    chief = pathlib.Path(long_job["output"]["dir"], "logs", "chief-0.log")
    processes.until(lambda: chief.read_text().count("chief: checkpoint failed") >= 3, "three failures")
    switch.point_to(switch.directory)
    process.expect(0)
    said = process.log()
    assert str(switch.link) in said.split("the job goes on: ")[1].splitlines()[0]
    reasons = [re.sub(r"\d+", "", line) for line in said.splitlines() if "the job goes on: " in line]
    assert not [one for one, next_one in zip(reasons, reasons[1:]) if one == next_one], "told again though it is the same"
    assert re.search(r"warning +[1-9]\d* checkpoints? could not be written, the last because ", said.split("finished: ")[1])


def test_no_room_for_the_last_checkpoint(long_job, write_job, cluster):
    """Nothing holds what was trained: the job has not succeeded, and says what it can go on from."""
    long_job["epochs"] = 2
    del long_job["checkpoint"]["every_steps"]
    made = cluster(write_job(long_job), n_ps=1)
    made.start("ps-0")
    resource.prlimit(made["ps-0"].pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, resource.RLIM_INFINITY))
    for role in made.roles:
        if role != "ps-0":
            made.start(role)
    made["chief-0"].expect(TRANSIENT)
    assert "File too large" in made["chief-0"].log().splitlines()[-1]
    assert not list(folder_of(long_job).glob("model-*"))


def can_mount():
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_storage_that_is_not_shared(long_job, write_job, cluster):
    """ps-1 sees another directory under the name of checkpoint.dir: found before the first step."""
    if not shutil.which("unshare") or not can_mount():
        pytest.skip("a mount of its own needs root")
    folder = folder_of(long_job)
    folder.mkdir()
    made = cluster(write_job(long_job))
    binary = made.binary
    made.binary = folder.parent / "muster-elsewhere"
    made.binary.write_text(f'#!/bin/sh\nexec unshare --mount sh -c \'mount -t tmpfs none "{folder}" && exec "$@"\' x '
                           f'"{binary}" "$@"\n')
    made.binary.chmod(0o755)
    made.start("ps-1")
    made.binary = binary
    for role in made.roles:
        if role != "ps-1":
            made.start(role)
    made["chief-0"].expect(CONFIGURATION)
    last = made["chief-0"].log().splitlines()[-1]
    assert last.startswith("muster: ") and f"{folder}/.shared-" in last and "every ps share" in last
    assert not list(folder.iterdir()), "nothing is left"
