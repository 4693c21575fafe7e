"""All processes are killed at a random moment and started again: the job goes on from a checkpoint of one common point of all
steps, and every example is trained exactly once an epoch all the same, counted by the weights (counting_job.py)."""
import json
import os
import pathlib
import random
import re
import subprocess

import pytest

import counting_job
from counting_job import Shape
from processes import Port, metric, until

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


CHANGES = {"leases to rounds": (ASYNC, {}, SYNCHRONOUS, {}), "rounds to leases": (SYNCHRONOUS, {}, ASYNC, {}),
           "bounded to rounds with a backup": (BOUNDED, {}, dict(SYNCHRONOUS, backup_workers=1), {}),
           "other batches": (ASYNC, {}, ASYNC, {"batch_size": 32}),
           "other batches in rounds": (SYNCHRONOUS, {}, SYNCHRONOUS, {"batch_size": 10}),
           "another order": (ASYNC, {}, ASYNC, {"seed": 8}),
           "another order in rounds": (SYNCHRONOUS, {}, SYNCHRONOUS, {"seed": 8}),
           "accumulating": (ASYNC, {}, dict(ASYNC, accumulate_steps=3), {}),
           "rounds that accumulate": (SYNCHRONOUS, {}, dict(SYNCHRONOUS, accumulate_steps=2), {})}


@pytest.mark.parametrize("first, keys, then, other_keys", CHANGES.values(), ids=CHANGES)
def test_another_mode_or_batch_goes_on_with_the_next_epoch(muster, job, write_job, first, keys, then, other_keys):
    """Steps are not of the same size any more: epochs count."""
    job["checkpoint"].update(resume=True)
    for consistency, changed, job["epochs"] in [(first, keys, 2), (then, other_keys, 3)]:
        muster("local", write_job(job | {"consistency": consistency} | changed), "--workers", "2", "--ps", "2").expect(0)
    result = json.loads(pathlib.Path(job["output"]["dir"], "result.json").read_text())
    assert (result["examples"], result["epochs"]) == (2000, 3)
    log = pathlib.Path(job["output"]["dir"], "logs", "chief-0.log").read_text()
    assert re.search(r"progress counted by epochs prefix=\S+ epochs=2 and=0/\d+ reason=\"", log) and "damaged" not in log


def refused(running):
    return sum(metric(running.http_ports[role].number, "muster_ps_refused_total") for role in running.roles if role[:2] == "ps")


@pytest.fixture
def other_port():
    """Gives a role another port: the process that had it keeps its own."""
    kept = []

    def give(running, role):
        kept.append(running.ports[role])
        running.ports[role] = Port()
    yield give
    for port in kept:
        port.close()


def start_life(running, link, worker, name=None, arguments=()):
    """All roles; this worker's link to ps-0 is held in the middle of its training, with a push on its way."""
    running.addresses = {(worker, "ps-0"): link.address}
    for role in running.roles:
        if not role.startswith("worker"):
            running.start(role, arguments)
    running.start(worker, arguments, name=name).wait_log("worker: joined")
    for role in running.roles:  # later, or they might train all there is before it comes
        if role.startswith("worker") and role != worker:
            running.start(role, arguments).wait_log("worker: joined")
    running.wait_running(lambda: link.held, f"{worker} to train")


def kill_but(running, sleeper, stays=()):
    """All of this life of the job but one worker, which sleeps meanwhile."""
    running[sleeper].pause()
    for name in [name for name in running.processes if name not in (sleeper, *stays)]:
        running.processes.pop(name).kill()


@pytest.mark.parametrize("consistency", [ASYNC, BOUNDED, SYNCHRONOUS], ids=str)
def test_workers_of_earlier_lives_are_refused(cluster, make_link, other_port, job, binary, tmp_path, consistency):
    """Two sleep through the end of their life of the job: one whose number the checkpoint knows, one that was admitted after
    it was made. They wake up while the third life trains, whose workers have their places."""
    epochs = 20 if consistency["staleness"] == 0 else 100  # where nobody waits, one may train all before the other is held
    shape = Shape(n_batches=96, epochs=epochs, shards=2, consistency=consistency, workers=2)
    job["checkpoint"].update(every_steps=20, resume=True)
    running = cluster(counting_job.write(job, shape, tmp_path))
    links = [make_link(running.ports["ps-0"].address, hold_at=n_bytes) for n_bytes in (250_000, 30_000, 30_000)]
    start_life(running, links[0], "worker-1", "first")
    running.wait_running(lambda: checkpoints(tmp_path), "a checkpoint")
    kill_but(running, "first")
    other_port(running, "worker-1")
    start_life(running, links[1], "worker-0", "second", ["--set", "checkpoint.every_steps=1000000"])
    kill_but(running, "second", ["first"])
    other_port(running, "worker-0")
    start_life(running, links[2], "worker-0")
    assert "resuming" in running["chief-0"].log()
    before = refused(running)
    for link, sleeper in zip(links, ("first", "second")):
        link.cut()
        link.release()
        running[sleeper].resume()
    until(lambda: refused(running) >= before + 2, "both to be refused")
    for sleeper in ("first", "second"):
        running[sleeper].expect(138)
        # By its number, and by the name of the map that it knows if its life of the job had begun anew.
        assert re.search("alive|was pushed to", running.processes.pop(sleeper).log())
    links[2].release()
    running.expect_all(0)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert "worker fenced" not in running["chief-0"].log() and result["torn"] == 0
    counting_job.counts(run_in(binary, tmp_path), shape, tmp_path).check(0)
