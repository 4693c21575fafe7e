"""The entries for checkpoints: 1 GB written while nothing trains, 1 GB after the other while something does, and how long a
cut stops training."""
import contextlib
import glob
import mmap
import os
import re
import shutil
import statistics
import time

from entries import N_PS, Comparison, Entry, program_side, training_data
from models import dense_network
from pairs import RunFailed
from peers import KEY, try_out
from running import RunningJob, read_metric

# 784-4096-4096-4096-4096-4096-4096-10: 87 million weights and two of Adam's slots each, 1.05 GB.
BIG_UNITS = [4096] * 6
BIG_BATCH = 16
BIG_STEPS = 120  # the first one takes longest: memory that is used for the first time
ADAM = {"class_name": "Adam", "config": {"learning_rate": 0.001}}
WRITTEN = re.compile(r"chief: checkpoint written prefix=(\S+) ms=(\d+)")
RATE = "bytes_per_second"
KEPT_FREE_BYTES = 2 << 30
STOPPED_S = 600  # the chief waits so long for a stopped worker
MADV_POPULATE_WRITE = 23  # madvise(2); the module mmap does not name it

N_CUT_PS = 3
CUT_EVERY_STEPS = 2000
CUT_PAUSE = re.compile(r"cut marked .*?\bpause_us=(\d+)")
POLL_S = 0.001


def disk_rate(setting, sizes):
    """Bytes a second of plain writes and fsync of new files of these sizes."""
    folder = os.path.join(setting.scratch, "disk")
    os.makedirs(folder, exist_ok=True)
    return program_side(setting, "disk_probe", [folder, *sizes], [RATE])()[RATE]


def use_free_memory():
    """Uses all free memory but KEPT_FREE_BYTES for a moment. A virtual machine may have to ask its host for pages that were
    not used lately, which takes longer than to write them; what is written next then measures the disk."""
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemFree:"))
    if free > 2 * KEPT_FREE_BYTES:
        with mmap.mmap(-1, free - KEPT_FREE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory.madvise(mmap.MADV_HUGEPAGE)
            memory.madvise(MADV_POPULATE_WRITE)


def written_checkpoints(log):
    """[(prefix, seconds)] of every checkpoint that a chief's log tells of."""
    return [(match.group(1), int(match.group(2)) / 1000) for match in WRITTEN.finditer(log)]


def file_sizes(prefix):
    return sorted(os.path.getsize(path) for path in glob.glob(glob.escape(prefix) + ".*"))


class BigJob:
    """The job with 1 GB of weights and slots: one worker, who computes little and moves much."""

    def __init__(self, setting, name, steps, checkpoint):
        self.setting, self.name, self.n_steps = setting, name, steps
        self.changes = {"compile": {"optimizer": ADAM, "loss": {"class_name": "SparseCategoricalCrossentropy",
                                                                "config": {"from_logits": True}}},
                        "data": training_data(), "batch_size": BIG_BATCH, "epochs": None, "steps": steps,
                        "output": {"dir": "run", "keras": False}, "checkpoint": {"dir": "run/ckpt"} | checkpoint,
                        "cluster": {"lease_ms": 1000 * STOPPED_S}}

    def run(self, before_the_end=None):
        """result.json, [(prefix, seconds)] of its checkpoints, and the sizes of the last one's files.

        before_the_end: what to do when all processes have their memory, while the worker is stopped.
        """
        arguments = ["--workers", 1, "--ps", N_PS]
        with RunningJob(self.setting, self.name, arguments, self.changes, dense_network(BIG_UNITS)) as job:
            if before_the_end:
                worker = job.task("worker", 0)
                job.wait_log("chief", 0, "chief: first step")
                worker.stop()
                before_the_end()
                worker.go()
            result = job.finish()
            checkpoints = written_checkpoints(job.log("chief", 0))
        if not checkpoints:
            raise RunFailed("the chief's log tells of no checkpoint")
        sizes = file_sizes(checkpoints[-1][0])
        shutil.rmtree(job.folder)  # several GB
        return result, checkpoints, sizes


class IdleEntry(Entry):
    """The checkpoint at the end of a job, when nothing trains any more, beside the disk."""

    def __init__(self, setting):
        super().__init__("checkpoint-idle", f"1.05 GB of dense weights and Adam's slots on {N_PS} PS, written when all is trained",
                         [RATE], "bytes/s", "disk", [])
        self.setting = setting
        self.job = BigJob(setting, self.name, 4, {})
        self.sizes = None  # of the files of the last job's checkpoint

    def muster(self):
        _, checkpoints, self.sizes = self.job.run(use_free_memory)
        return {RATE: sum(self.sizes) / checkpoints[-1][1]}

    def disk(self):
        use_free_memory()
        return {RATE: disk_rate(self.setting, self.sizes)}

    @contextlib.contextmanager
    def opened(self, pairs):
        yield [("muster", self.muster), ("disk", self.disk)], [Comparison(RATE, RATE, "disk", "disk")]


class LimitedEntry(Entry):
    """Training while checkpoints are written one after the other at half the disk's speed, beside the same without any."""

    def __init__(self, setting, say):
        super().__init__("checkpoint-limited", "training while 1.05 GB are written again and again at half the disk's speed",
                         [KEY], "examples/s", "without", [])
        self.setting, self.say = setting, say
        self.n_steps = max(8, round(BIG_STEPS * setting.share))

    def run(self, checkpoint):
        result, checkpoints, _ = BigJob(self.setting, self.name, self.n_steps, checkpoint).run()
        values = {KEY: float(result[KEY])}
        if checkpoint:  # the last one is written when the clock has stopped
            values["share_of_time"] = sum(seconds for _, seconds in checkpoints[:-1]) / result["seconds"]
        return values

    @contextlib.contextmanager
    def opened(self, pairs):
        _, _, sizes = BigJob(self.setting, self.name, 2, {}).run()
        rate = statistics.median(try_out(pairs, "disk", lambda: {RATE: disk_rate(self.setting, sizes)})[RATE]
                                 for _ in range(3))
        # The limit is that of each server, and all of them write to this one disk.
        limited = {"every_steps": 1, "keep": 1, "max_bytes_per_second": round(rate / 2 / N_PS)}
        self.say(f"  checkpoints are written at {rate / 2e6:.0f} MB/s, {rate / 2e6 / N_PS:.0f} by each PS")
        yield ([("muster", lambda: self.run(limited)), ("without", lambda: self.run({}))],
               [Comparison(KEY, KEY, "without", "without")])


# ---- the pause of a cut ----

def longest_gap(job, addresses):
    """The longest time in seconds in which no update was applied, from the first step to the end of the training."""
    longest, last, since = 0.0, None, time.monotonic()
    while job.is_running():
        now = time.monotonic()
        values = [read_metric(address, "muster_ps_updates_total") for address in addresses]
        if None in values:
            break  # the servers end
        if values != last:
            # What is seen in one look may have happened at its beginning and in the look before at its end.
            longest = max(longest, now - since) if last is not None else 0.0
            last, since = values, now
        time.sleep(POLL_S)
    return longest


class CutEntry(Entry):
    """How long training stands still for a cut, by the log and seen from outside."""

    def __init__(self, setting, epochs):
        super().__init__("cut-pause", f"784-300-100-10, 2 workers + {N_CUT_PS} PS + chief, a checkpoint every {CUT_EVERY_STEPS} "
                         "steps: the pause for its cut", [], "ms", "without", [], lower_is_better=True)
        self.setting = setting
        self.changes = {"epochs": setting.epochs(epochs), "data": training_data()}

    def run(self, every_steps):
        changes = self.changes | {"checkpoint": {"dir": "run/ckpt", "every_steps": every_steps}}
        with RunningJob(self.setting, self.name, ["--workers", 2, "--ps", N_CUT_PS], changes) as job:
            addresses = [job.http("ps", i) for i in range(N_CUT_PS)]
            job.wait_log("chief", 0, "chief: first step")
            values = {"longest_gap": 1000 * longest_gap(job, addresses)}
            job.finish()
            if every_steps is not None:
                pauses = [int(text) / 1000 for text in CUT_PAUSE.findall(job.log("chief", 0))]
                if not pauses:
                    raise RunFailed("the chief's log tells of no cut")
                values |= {"pause": max(pauses), "cuts": len(pauses)}
        return values

    @contextlib.contextmanager
    def opened(self, pairs):
        yield ([("muster", lambda: self.run(CUT_EVERY_STEPS)), ("without", lambda: self.run(None))],
               [Comparison("longest_cut_pause", "pause", None, None),
                Comparison("longest_gap_between_steps", "longest_gap", "without", "without")])


def checkpoint_entries(setting, say):
    return [IdleEntry(setting), LimitedEntry(setting, say), CutEntry(setting, 24)]
