"""Every example is trained exactly once an epoch, counted by the weights themselves (counting_job.py): undisturbed, while
workers die, come late, are stopped, lose their links, while chiefs die, and when everything is killed and started again. Random
moments come from the case and a seed, which are in the tests' names; MUSTER_SEED=n adds one.
"""
import json
import os
import random
import re
import signal

import pytest

import counting_job
from counting_job import Shape
from processes import children_of, role_of, until

ASYNC = {"staleness": "async"}
ACCUMULATING = {"staleness": "async", "accumulate_steps": 4}
SYNCHRONOUS = {"staleness": 0}
BOUNDED = {"staleness": 3}
WITH_BACKUP = {"staleness": 0, "backup_workers": 1}
LARGE_ROUNDS = {"staleness": 0, "accumulate_steps": 2}
SEEDS = [1] + [int(seed) for seed in os.environ.get("MUSTER_SEED", "").split()]
# Enough for every random hold below to come before the job has run out of work.
LONG = {"epochs": 60}


@pytest.fixture
def check(run, job, tmp_path):
    """Checks the counts of a job of this shape that has ended; returns how many batches were torn."""
    return lambda shape, chief_log: counting_job.check(run, job, shape, tmp_path, chief_log)


# ---- undisturbed ----

@pytest.mark.parametrize("optimizer", counting_job.OPTIMIZERS)
@pytest.mark.parametrize("workers, ps, shards, consistency", [
    (1, 1, 1, ASYNC), (2, 1, 1, ASYNC), (3, 2, 2, ASYNC), (2, 3, 3, ASYNC), (3, 3, 4, ASYNC),
    (1, 1, 1, ACCUMULATING), (3, 2, 2, ACCUMULATING),
    (1, 1, 1, SYNCHRONOUS), (2, 2, 2, SYNCHRONOUS), (4, 3, 3, SYNCHRONOUS), (2, 2, 3, LARGE_ROUNDS)], ids=str)
def test_undisturbed(cluster, job, check, tmp_path, optimizer, workers, ps, shards, consistency):
    shape = Shape(optimizer=optimizer, shards=shards, tail=4, shuffle=optimizer == "lion", consistency=consistency,
                  workers=workers)
    running = cluster(counting_job.write(job, shape, tmp_path), workers, ps)
    running.start_all()
    running.expect_all(0)
    assert check(shape, running["chief-0"].log()) == 0


@pytest.mark.parametrize("consistency", [ASYNC, ACCUMULATING, SYNCHRONOUS], ids=str)
@pytest.mark.parametrize("optimizer", counting_job.OPTIMIZERS)
def test_one_process(muster, job, run, tmp_path, optimizer, consistency):
    shape = Shape(optimizer=optimizer, tail=4, shuffle=optimizer == "lion", consistency=consistency)
    muster("run", counting_job.write(job, shape, tmp_path)).expect(0)
    counting_job.counts(run, shape, tmp_path).check(0)


def test_the_oracle_sees_what_is_wrong(run, muster, job, tmp_path):
    """One batch more or less, on one server or on both, is seen; the number of torn ones must be the right one."""
    shape = Shape(shards=2, consistency=ASYNC)
    muster("local", counting_job.write(job, shape, tmp_path), "--workers", "1", "--ps", "2").expect(0)
    counted = counting_job.counts(run, shape, tmp_path)
    assert len(counted.slices) == 2
    first, second = ({shape.column(example) for example in range(8, 16)} & set(held) for held in counted.slices)

    def with_changes(*changes):
        slices = [dict(held) for held in counted.slices]
        for server, columns, by in changes:
            for column in columns:
                slices[server][column] += by
        return counting_job.Counts(shape, slices)
    counted.check(0)
    with_changes((0, first, -1)).check(1)
    with_changes((0, first, -2)).check(2)
    for changes, torn in [([(0, first, -1)], 0), ([(0, first, -1)], 2), ([(0, first, 1)], 0), ([(0, first, 1)], 1),
                          ([(0, first, -1), (1, second, -1)], 0), ([(0, list(first)[:1], -1)], 1),
                          ([(0, first, -0.5)], 1), ([], 1)]:
        with pytest.raises(AssertionError):
            with_changes(*changes).check(torn)


# ---- disturbed ----

class Disturbed:
    """A cluster whose workers each reach one parameter server over a link that stops at random bytes."""

    def __init__(self, running, make_link, shape, seed):
        self.running, self.shape, self.random = running, shape, random.Random(f"{seed} {len(running.roles)} {shape}")
        self.workers = [role for role in running.roles if role.startswith("worker")]
        servers = [role for role in running.roles if role.startswith("ps")]
        self.links = {}
        for worker in self.workers:
            server = self.random.choice(servers)
            self.links[worker] = make_link(running.ports[server].address, read_bytes=self.random.choice([200, 65536]))
            running.addresses[(worker, server)] = self.links[worker].address
        for role in ["chief-0", *servers]:
            running.start(role)

    def release(self, worker):
        """It goes on, but not for ever: the job must not end before all that is to happen has."""
        link = self.links[worker]
        link.hold_at = link.n_bytes + self.random.randrange(1000, 30000)
        link.release()

    def train_a_while(self, *workers):
        """These workers train until nobody gets on, for links that are held: one's own, or another's that is waited for."""
        for worker in workers:
            self.release(worker)
            if worker not in self.running.processes:
                self.running.start(worker)
        needed = len(workers)
        if self.shape.consistency["staleness"] != "async":
            needed = 1  # with backup workers too: a round at the end of an epoch may be that worker's alone
        if self.shape.consistency["staleness"] == 0:
            needed -= len(self.workers) - len(workers)  # who is absent may stop all

        def look():
            for worker in workers:
                assert self.running[worker].is_running(), f"{worker} ended before its link was held"
            return sum(self.links[worker].held for worker in workers) >= needed
        until(look, f"{needed} links of {', '.join(workers)} to be held")

    def kill(self, worker):
        """It is gone; what it had on its way arrives, or does not; another comes in its place, at once or later."""
        self.running[worker].kill()
        if self.random.random() < 0.5:
            self.links[worker].cut()
        if self.random.random() < 0.5:
            self.release(worker)
        if self.random.random() < 0.5:
            self.wait_fenced(worker)
        self.running.start(worker)

    def wait_fenced(self, worker):
        """Until the chief has fenced every number that it gave this worker; it may have given none."""
        def numbers(event):
            return set(re.findall(rf"worker {event} worker={worker[-1]} number=(\d+)", self.running["chief-0"].log()))
        until(lambda: numbers("fenced") >= numbers("admitted"), f"{worker} to be fenced")

    def stop(self, worker):
        """It sleeps for longer than a lease, and wakes fenced."""
        self.running[worker].pause()
        self.wait_fenced(worker)
        self.running[worker].resume()

    def cut(self, worker):
        self.links[worker].cut()

    def kill_chief(self, _=None):
        """Another goes on with what the parameter servers have stored."""
        self.running["chief-0"].kill()
        self.running.start("chief-0")

    def kill_all(self):
        """Every process at once; all of them are started again, and go on from the newest checkpoint."""
        for role in self.running.roles:
            self.running[role].kill()
        for worker in self.workers:
            self.links[worker].cut()
        for role in self.running.roles:
            self.running.start(role)

    def has_joined(self, worker):
        return worker in self.running.processes and "worker: joined" in self.running[worker].log()

    def finish(self):
        """All go on, those that come back or late first: the job might be over before they have joined."""
        for worker in sorted(self.workers, key=self.has_joined):
            self.links[worker].hold_at = None
            self.links[worker].release()
            if worker not in self.running.processes:
                self.running.start(worker)
            self.running[worker].wait_log("worker: joined")
        self.running.expect_all(0)
        return self.running.log_of("chief-0")


@pytest.fixture
def disturbed(cluster, job, make_link, tmp_path):
    def start(shape, workers, ps, seed):
        return Disturbed(cluster(counting_job.write(job, shape, tmp_path), workers, ps), make_link, shape, seed)
    return start


CASES = {"one server": (1, 1, ASYNC), "two servers": (2, 2, ASYNC), "three servers": (3, 3, ASYNC),
         "units of four batches": (2, 2, ACCUMULATING), "synchronous, one server": (1, 1, SYNCHRONOUS),
         "synchronous, two servers": (2, 3, SYNCHRONOUS), "with a backup": (2, 2, WITH_BACKUP),
         "at most three steps ahead": (2, 2, BOUNDED)}
RESUMED = {"async": (2, 2, ASYNC), "synchronous": (2, 3, SYNCHRONOUS), "with a backup": (2, 2, WITH_BACKUP),
         "at most three steps ahead": (2, 2, BOUNDED)}
every_case = pytest.mark.parametrize("ps, shards, consistency", CASES.values(), ids=CASES)


def check_torn(torn, n_fenced, ps, consistency):
    """Two at most of each dead worker; none where there is nothing to be torn between."""
    assert torn <= (2 * n_fenced if ps > 1 and consistency["staleness"] != 0 else 0)


@pytest.mark.parametrize("seed", SEEDS)
@every_case
def test_workers_killed(disturbed, check, ps, shards, consistency, seed):
    shape = Shape(shards=shards, consistency=consistency, workers=2, **LONG)
    one = disturbed(shape, 2, ps, seed)
    for _ in range(3):
        one.train_a_while(*one.workers)
        one.kill(one.random.choice(one.workers))
    check_torn(check(shape, one.finish()), 3, ps, consistency)


@pytest.mark.parametrize("seed", SEEDS)
@every_case
def test_workers_stopped_for_longer_than_a_lease(disturbed, check, ps, shards, consistency, seed):
    shape = Shape(shards=shards, consistency=consistency, workers=2, **LONG)
    one = disturbed(shape, 2, ps, seed)
    for worker in one.workers:
        one.train_a_while(*one.workers)
        one.stop(worker)
    check_torn(check(shape, one.finish()), 2, ps, consistency)


@pytest.mark.parametrize("seed", SEEDS)
@every_case
def test_a_worker_that_comes_late(disturbed, check, ps, shards, consistency, seed):
    shape = Shape(shards=shards, shuffle=True, consistency=consistency, workers=3, **LONG)
    one = disturbed(shape, 3, ps, seed)
    one.train_a_while("worker-0", "worker-2")
    one.train_a_while("worker-0", "worker-2", "worker-1")
    assert check(shape, one.finish()) == 0


@pytest.mark.parametrize("seed", SEEDS)
@every_case
def test_links_cut(disturbed, check, ps, shards, consistency, seed):
    """Nothing is torn and nobody is fenced: what was under way is sent again and applied once."""
    shape = Shape(shards=shards, shuffle=True, consistency=consistency, workers=2, **LONG)
    one = disturbed(shape, 2, ps, seed)
    for _ in range(8):
        one.train_a_while(*one.workers)
        one.cut(one.random.choice(one.workers))
    log = one.finish()
    assert check(shape, log) == 0 and "worker fenced" not in log


@pytest.mark.parametrize("seed", SEEDS)
@every_case
def test_slow_workers(disturbed, check, ps, shards, consistency, seed):
    """One is stopped while the others get on as far as they may, and wakes before its lease is over."""
    shape = Shape(shards=shards, consistency=consistency, workers=3, **LONG)
    one = disturbed(shape, 3, ps, seed)
    one.train_a_while(*one.workers)
    for _ in range(6):
        slow = one.random.choice(one.workers)
        one.running[slow].pause()
        one.train_a_while(*(worker for worker in one.workers if worker != slow))
        one.running[slow].resume()
        one.train_a_while(*one.workers)
    check_torn(check(shape, one.finish()), 6, ps, consistency)


@pytest.mark.parametrize("seed", SEEDS)
@every_case
def test_the_chief_killed(disturbed, check, ps, shards, consistency, seed):
    """Nobody is fenced for it, and what was decided stays."""
    shape = Shape(shards=shards, shuffle=True, consistency=consistency, workers=2, **LONG)
    one = disturbed(shape, 2, ps, seed)
    for _ in range(4):
        one.train_a_while(*one.workers)
        one.kill_chief()
    log = one.finish()
    assert check(shape, log) == 0 and "worker fenced" not in log


@pytest.mark.parametrize("seed", SEEDS)
@every_case
def test_a_worker_sleeps_while_the_chief_is_replaced(disturbed, check, ps, shards, consistency, seed):
    """It wakes to another chief, which gives it a new number before any server could tell it that the old one is fenced."""
    shape = Shape(shards=shards, consistency=consistency, workers=2, **LONG)
    one = disturbed(shape, 2, ps, seed)
    for worker in one.workers:
        one.train_a_while(*one.workers)
        until(lambda: one.has_joined(worker), f"{worker} to join")
        one.running[worker].pause()
        one.kill_chief()
        one.running["chief-0"].wait_log(f"worker fenced worker={worker[-1]} ")
        one.running[worker].resume()
        one.running["chief-0"].wait_log(f"worker admitted worker={worker[-1]} ")
    check_torn(check(shape, one.finish()), 2, ps, consistency)


@pytest.mark.parametrize("seed", SEEDS)
@every_case
def test_everything_at_once(disturbed, check, ps, shards, consistency, seed):
    shape = Shape(shards=shards, consistency=consistency, workers=3, **LONG)
    one = disturbed(shape, 3, ps, seed)
    one.train_a_while("worker-0", "worker-1")
    for _ in range(4):
        one.random.choice([one.kill, one.stop, one.cut, one.kill_chief])(one.random.choice(one.workers[:2]))
        one.train_a_while(*one.workers)
    check_torn(check(shape, one.finish()), 4, ps, consistency)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ps, shards, consistency", RESUMED.values(), ids=RESUMED)
def test_all_killed_and_started_again(disturbed, job, run, tmp_path, ps, shards, consistency, seed):
    """What was trained after the newest checkpoint is gone from the weights, and is trained again."""
    is_round = consistency["staleness"] == 0
    shape = Shape(shards=shards, shuffle=is_round, consistency=consistency, workers=2, epochs=150 if is_round else 1200)
    job["checkpoint"].update(every_steps=5, keep=3, resume=True)
    one = disturbed(shape, 2, ps, seed)

    def newest():
        return max((int(path.stem.rpartition("-")[2]) for path in tmp_path.glob("ckpt/model-*.index")), default=0)
    for worker in one.workers:
        one.running.start(worker)
    for _ in range(3):
        for _ in range(one.random.randrange(1, 4)):
            before = newest()
            one.running.wait_running(lambda: newest() > before, f"a checkpoint after that of step {before}")
        one.kill_all()
    one.finish()
    assert "resuming" in one.running["chief-0"].log()
    torn = json.loads((tmp_path / "out" / "result.json").read_text())["torn"]
    counting_job.counts(run, shape, tmp_path).check(torn)


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_killed_under_muster_local(muster, job, check, tmp_path, seed):
    """Killed at the first steps behind a checkpoint of a random step, and started again by the supervisor."""
    moments = random.Random(seed)
    shape = Shape(shards=3, epochs=300, consistency=ASYNC)
    job["checkpoint"]["every_steps"] = moments.randrange(100, 900)
    supervisor = muster("local", counting_job.write(job, shape, tmp_path), "--workers", "2", "--ps", "2")

    def children():
        return {role_of(pid): pid for pid in children_of(supervisor.pid)}
    for n in (1, 2):
        until(lambda: len(list(tmp_path.glob("ckpt/*.index"))) >= n, lambda: f"{n} checkpoints:\n{supervisor.tail()}")
        before = children()
        victim, other = moments.sample(["worker-0", "worker-1"], 2)
        for worker in (victim, other):
            os.kill(before[worker], signal.SIGSTOP)  # the job cannot end without them
        os.kill(before[victim], signal.SIGKILL)
        until(lambda: children().get(victim, before[victim]) != before[victim], lambda: f"another {victim}:\n{supervisor.tail()}")
        os.kill(before[other], signal.SIGCONT)
    supervisor.expect(0)
    check(shape, (tmp_path / "out" / "logs" / "chief-0.log").read_text())
