"""The entries for waiting workers: synchronous rounds beside PyTorch's DDP, and disturbed jobs beside the same undisturbed.

How a worker is disturbed from outside, and why so: bench/README.md.
"""
import contextlib

from entries import N_PS, N_WORKERS, Comparison, Entry, muster_side
from models import dense_network
from peers import KEY, open_ddp, try_out
from running import RunningJob, stop_now_and_then, take_turns

LOCAL = ["--workers", str(N_WORKERS), "--ps", str(N_PS)]

STALENESS = 8  # steps that a worker may lead
STOP_EVERY_STEPS = 64  # of an undisturbed worker

N_SLOW_WORKERS = 3
SLOW_FACTOR = 3
SHARE = 0.25  # of one CPU, for each worker
TURN_S = 0.008  # a worker runs once in so long; a step takes several of them
SLOW_UNITS = [1024, 1024]
SLOW_BATCH = 256
SLOW_ROUNDS = 150


class SyncEntry(Entry):
    """Synchronous rounds and DDP: the same global batch, the mean of all gradients, one update of the weights a round."""

    def __init__(self, setting, batch, epochs, say):
        name = f"sync-b{batch}"
        super().__init__(name, f"784-300-100-10, synchronous SGD, {N_WORKERS} workers + {N_PS} PS + chief, batches of {batch}",
                         [], "examples/s", "torch-ddp", [])
        self.setting, self.batch, self.say = setting, batch, say
        changes = {"batch_size": batch, "epochs": setting.epochs(epochs), "consistency": {"staleness": 0}}
        self.muster = muster_side(setting, name, ["local", *LOCAL], changes, KEY, KEY)

    @contextlib.contextmanager
    def opened(self, pairs):
        sides, comparisons = open_ddp(self.setting, self.batch, pairs, self.say)
        yield [("muster", self.muster), *sides], comparisons


class StaleStopEntry(Entry):
    """Bounded staleness with a worker that is stopped now and then, beside the same job left alone."""

    def __init__(self, setting, batch, epochs, say):
        super().__init__("stale-stop", f"staleness {STALENESS}, {N_WORKERS} workers + {N_PS} PS + chief, batches of {batch}; "
                         f"a worker is stopped for {STALENESS} steps' time", [KEY], "examples/s", "undisturbed", [])
        self.setting, self.batch, self.say = setting, batch, say
        self.changes = {"batch_size": batch, "epochs": setting.epochs(epochs), "consistency": {"staleness": STALENESS}}

    def run(self, stop_s, every_s):
        with RunningJob(self.setting, self.name, LOCAL, self.changes) as job:
            task = job.task("worker", N_WORKERS - 1)
            job.wait_log("chief", 0, "chief: first step")
            if stop_s > 0:
                stop_now_and_then(job, task, stop_s, every_s)
            return {KEY: float(job.finish()[KEY])}

    @contextlib.contextmanager
    def opened(self, pairs):
        rate = try_out(pairs, "undisturbed", lambda: self.run(0, 0))[KEY]
        step_s = N_WORKERS * self.batch / rate
        stop_s, every_s = STALENESS * step_s, STOP_EVERY_STEPS * step_s
        self.say(f"  stopped for {1000 * stop_s:.1f} ms, each time after {1000 * every_s:.1f} ms")
        yield ([("muster", lambda: self.run(stop_s, every_s)), ("undisturbed", lambda: self.run(0, 0))],
               [Comparison(KEY, KEY, self.peer, self.peer)])


def slow_worker_side(setting, slow_factor):
    """Rounds a second of workers that each get a share of a CPU, the last one a smaller one."""
    def side():
        rounds = max(20, round(SLOW_ROUNDS * setting.share))
        changes = {"batch_size": SLOW_BATCH, "epochs": None, "steps": rounds,
                   "consistency": {"staleness": 0, "backup_workers": 1}}
        arguments = ["--workers", N_SLOW_WORKERS, "--ps", N_PS, "--threads", 1]
        with RunningJob(setting, "slow-worker", arguments, changes, dense_network(SLOW_UNITS)) as job:
            tasks = [job.task("worker", i) for i in range(N_SLOW_WORKERS)]
            job.wait_log("chief", 0, "chief: first step")
            shares = [SHARE] * (N_SLOW_WORKERS - 1) + [SHARE / slow_factor]
            take_turns(job, list(zip(tasks, shares)), TURN_S)
            result = job.finish()
            return {"rounds_per_second": result["steps"] / result["seconds"]}
    return side


def slow_worker_entry(setting):
    return Entry("slow-worker", f"one worker {SLOW_FACTOR} times slower, {N_SLOW_WORKERS} workers, backup_workers 1",
                 ["rounds_per_second"], "rounds/s", "undisturbed",
                 [("muster", slow_worker_side(setting, SLOW_FACTOR)), ("undisturbed", slow_worker_side(setting, 1))])


def consistency_entries(setting, say):
    """Muster's epochs make runs of about ten seconds."""
    return [SyncEntry(setting, 64, 12, say), SyncEntry(setting, 256, 20, say), StaleStopEntry(setting, 64, 24, say),
            slow_worker_entry(setting)]
