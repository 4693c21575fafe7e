"""All processes are killed at a random moment and started again: the job goes on from a checkpoint of one common point of all
steps, and every example is trained exactly once an epoch all the same, counted by the weights (counting_job.py)."""
import json
import os
import pathlib
import random
import subprocess

import pytest

import counting_job
from counting_job import Shape
from processes import until

ASYNC = {"staleness": "async"}
BOUNDED = {"staleness": 4}
SYNCHRONOUS = {"staleness": 0}
SEEDS = [1] + [int(seed) for seed in os.environ.get("MUSTER_SEED", "").split()]


def run_in(binary, folder):
    def to_end(*arguments):
        done = subprocess.run([str(binary), *map(str, arguments)], cwd=folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr
    return to_end


def checkpoints(folder):
    return {path.stem for path in pathlib.Path(folder).glob("ckpt/*.index")}


def train_until(running, condition, what):
    running.start_all()

    def look():
        for role in running.roles:
            assert running[role].is_running(), f"{role} ended before that:\n{running[role].tail()}"
        return condition()
    until(look, what)


def kill_all(running):
    for role in running.roles:
        running[role].kill()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("workers, ps, shards, consistency", [
    (2, 1, 1, ASYNC), (2, 3, 3, ASYNC), (3, 2, 4, ASYNC), (2, 2, 2, BOUNDED),
    (2, 3, 3, SYNCHRONOUS), (3, 2, 2, dict(SYNCHRONOUS, backup_workers=1))], ids=str)
def test_all_are_killed_and_started_again(cluster, job, binary, tmp_path, workers, ps, shards, consistency, seed):
    moments = random.Random(seed)
    epochs = 60 if consistency["staleness"] == 0 else 800  # long enough to be killed in the middle
    shape = Shape(n_batches=96, epochs=epochs, shards=shards, consistency=consistency, workers=workers)
    job["checkpoint"].update(every_steps=moments.randrange(30, 90), resume=True, keep=1000)
    running = cluster(counting_job.write(job, shape, tmp_path), workers, ps)
    for _ in range(2):
        before = checkpoints(tmp_path)
        n_more = moments.randrange(1, 4)
        train_until(running, lambda: len(checkpoints(tmp_path) - before) >= n_more, f"{n_more} checkpoints more")
        kill_all(running)
    running.start_all()
    running.expect_all(0)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert "resuming" in running["chief-0"].log()
    counting_job.counts(run_in(binary, tmp_path), shape, tmp_path).check(result["torn"])
    if consistency["staleness"] == 0:
        assert result["torn"] == 0
