"""The entries for parameter servers with backups: what they cost, how long training stands still when one is killed or drained,
and how fast it is filled again."""
import contextlib
import re
import shutil
import signal
import statistics
import subprocess
import time

from checkpoints import ADAM, BIG_BATCH, BIG_UNITS
from entries import MIB, N_PS, N_WORKERS, Comparison, Entry, muster_side, program_side, training_data
from models import dense_network
from pairs import RunFailed
from peers import KEY
from running import RunningJob, read_metric, until

N_FAILOVER_PS = 3
N_KILLS = 6
LEASE_S = 2
N_REFILL_PS = 2
N_REFILLS = 4  # of one job: each takes only two or three steps' time
BALANCED_AGAIN_S = 1  # when all is whole, each group goes back to where it is at home
N_INPUTS, N_CLASSES = 784, 10
SMALL_UNITS = [1536] * 4  # 8.3 million weights and two of Adam's slots each, 100 MB
SWEPT_BYTES = 3 * 4 * MIB  # a bucket with Adam's slots
N_ENDLESS_STEPS = 1000000  # such a job is ended when all is measured
FULL_AGAIN_S = 30  # for the next kill to be allowed
POLL_S = 0.001
N_HANDOVERS = 6
HANDOVER_BATCH = 1024  # steps that are long beside the time in which one can be seen
HANDOVER_S = 0.5  # the drain and what follows it: the server comes back after 0.2 s, is filled, and is primary again


class CostEntry(Entry):
    """The same job with replicas 1 and 0, and the bare probe that sends each gradient once and twice."""

    def __init__(self, setting, batch, epochs):
        name = f"replicas-b{batch}"
        super().__init__(name, f"784-300-100-10, async SGD, {N_WORKERS} workers + {N_PS} PS + chief, batches of {batch}, "
                         "replicas 1", [KEY], "examples/s", "replicas-0", [])
        command = ["local", "--workers", str(N_WORKERS), "--ps", str(N_PS)]
        changes = {"batch_size": batch, "epochs": setting.epochs(epochs)}
        probe = [N_WORKERS, N_PS, batch, setting.seconds]
        self.opened_sides = [
            ("muster", muster_side(setting, name, command, changes | {"replicas": 1}, KEY, KEY)),
            ("replicas-0", muster_side(setting, name, command, changes, KEY, KEY)),
            ("probe-twice", program_side(setting, "exchange_probe", [*probe, 1], [KEY])),
            ("probe-once", program_side(setting, "exchange_probe", [*probe, 0], [KEY]))]

    @contextlib.contextmanager
    def opened(self, pairs):
        yield self.opened_sides, [Comparison(KEY, KEY, peer, peer) for peer in ("replicas-0", "probe-twice")]


class FailoverEntry(Entry):
    """A parameter server is killed, or stopped, now and then: how long no update is applied anywhere else."""

    def __init__(self, setting, name, how, epochs, stops=False):
        super().__init__(name, f"{N_WORKERS} workers + {N_FAILOVER_PS} PS, replicas 1: a PS is {how}; how long no update is applied", [],
                         "s", None, [], lower_is_better=True)
        self.setting, self.stops = setting, stops
        self.changes = {"epochs": epochs if stops else setting.epochs(epochs), "data": training_data(), "replicas": 1}
        if stops:
            self.changes["cluster"] = {"lease_ms": 1000 * LEASE_S}

    def pause(self, job, victim, chief):
        """Strikes one, and returns the longest time without an update at another one, or without a step of a worker, from then on
        until all is well again."""
        watched = [(job.http("ps", i), "muster_ps_updates_total") for i in range(N_FAILOVER_PS) if i != victim]
        watched += [(job.http("worker", i), "muster_worker_steps_total") for i in range(N_WORKERS)]
        task = job.task("ps", victim)
        until(lambda: read_metric(chief, "muster_redundancy_full") == 1, "full redundancy", FULL_AGAIN_S)
        longest, last = 0.0, [None] * len(watched)
        task.send(signal.SIGSTOP if self.stops else signal.SIGKILL)
        begin = time.monotonic()
        since = [begin] * len(watched)
        while time.monotonic() < begin + self.watched_s() or read_metric(chief, "muster_redundancy_full") != 1:
            for i, (address, name) in enumerate(watched):
                now, value = time.monotonic(), read_metric(address, name)
                if now > begin + FULL_AGAIN_S or value is None:
                    raise RunFailed("the others ended, or redundancy was not full again in time")
                if value != last[i]:
                    longest, last[i], since[i] = max(longest, now - since[i]), value, now
            if self.stops and now > begin + self.watched_s() - 1:
                task.go()
            time.sleep(POLL_S)
        end = time.monotonic()
        return max([longest, *(end - moved for moved in since)])  # one may stand still yet

    def watched_s(self):
        return 2 * LEASE_S + 1 if self.stops else 1

    def muster(self):
        arguments = ["--workers", N_WORKERS, "--ps", N_FAILOVER_PS, "--max-restarts", 2 * N_KILLS]
        with RunningJob(self.setting, self.name, arguments, self.changes) as job:
            job.wait_log("chief", 0, "chief: first step")
            chief = job.http("chief", 0)
            pauses = [self.pause(job, i % N_FAILOVER_PS, chief) for i in range(max(2, round(N_KILLS * self.setting.share)))]
            lost = 0 if self.stops else job.finish().get("lost_updates")  # with stops it trains until it is ended
            if lost or re.search(r"parameter server restored", job.log("chief", 0)):
                raise RunFailed("updates were lost")
        beyond_s = LEASE_S if self.stops else 0
        return {"median_pause": statistics.median(pauses) - beyond_s, "longest_pause": max(pauses) - beyond_s}

    @contextlib.contextmanager
    def opened(self, pairs):
        about = "_beyond_the_lease" if self.stops else ""
        yield [("muster", self.muster)], [Comparison(key + about, key, None, None) for key in ("median_pause", "longest_pause")]


class RefillEntry(Entry):
    """A parameter server is killed and comes back empty: how fast it is filled, and how fast training goes on meanwhile.

    Of two servers with replicas 1 each holds everything, so all weights and slots have to go from one to the other.
    """

    def __init__(self, setting, name, units):
        self.n_bytes = 3 * 4 * sum((n + 1) * m for n, m in zip([N_INPUTS, *units], [*units, N_CLASSES]))
        super().__init__(name, f"1 worker + {N_REFILL_PS} PS, replicas 1, {self.n_bytes / 1e9:.2f} GB of weights and Adam's slots: "
                         "a PS is killed, comes back empty and is filled", [], "1/s", None, [])
        self.setting = setting
        self.network = dense_network(units)
        self.changes = {"compile": {"optimizer": ADAM, "loss": {"class_name": "SparseCategoricalCrossentropy",
                                                                "config": {"from_logits": True}}},
                        "data": training_data(), "batch_size": BIG_BATCH, "epochs": None, "steps": N_ENDLESS_STEPS, "replicas": 1}
        self.before = 0.0  # updates a second of the last run before the kill

    def updates(self, addresses):
        values = [read_metric(address, "muster_ps_updates_total") for address in addresses]
        if None in values:
            raise RunFailed("a parameter server ended that nobody killed")
        return sum(values)

    def run(self):
        """One job with N_REFILLS kills: (updates a second during the refills, their seconds in all, the longest time from a kill
        to full redundancy)."""
        arguments = ["--workers", 1, "--ps", N_REFILL_PS, "--max-restarts", 2 * N_REFILLS]
        with RunningJob(self.setting, self.name, arguments, self.changes, self.network) as job:
            job.wait_log("chief", 0, "chief: first step")
            chief, addresses = job.http("chief", 0), [job.http("ps", i) for i in range(N_REFILL_PS)]
            until(lambda: read_metric(chief, "muster_redundancy_full") == 1, "full redundancy", FULL_AGAIN_S)
            time.sleep(self.setting.seconds / 2)  # memory that is used for the first time is slow
            undisturbed, refills, since_kills = [], [], []
            for _ in range(N_REFILLS):
                time.sleep(BALANCED_AGAIN_S)
                undisturbed.append(self.watch(addresses, lambda begin: time.monotonic() - begin > self.setting.seconds / 2))
                killed = time.monotonic()
                refills.append(self.kill(job, addresses[0]))
                since_kills.append(time.monotonic() - killed)
            if re.search(r"parameter server restored", job.log("chief", 0)):
                raise RunFailed("updates were lost")
        shutil.rmtree(job.folder)
        self.before = sum(n for n, _ in undisturbed) / sum(seconds for _, seconds in undisturbed)
        seconds = sum(seconds for _, seconds in refills)
        return sum(n for n, _ in refills) / seconds, seconds, max(since_kills)

    def watch(self, addresses, is_over):
        """(updates at these servers, seconds) until is_over(begin)."""
        begin, n_begin = time.monotonic(), self.updates(addresses)
        until(lambda: is_over(begin), "full redundancy", FULL_AGAIN_S)
        return self.updates(addresses) - n_begin, time.monotonic() - begin

    def kill(self, job, survivor):
        def n_swept():
            return read_metric(survivor, "muster_ps_swept_total") or 0

        def n_full():  # by its log: to ask it all the time takes CPU time from what is measured
            return job.log("chief", 0).count("chief: redundancy is full")
        n_swept_before, n_full_before = n_swept(), n_full()
        job.task("ps", N_REFILL_PS - 1).send(signal.SIGKILL)
        until(lambda: n_swept() > n_swept_before, "the refill to begin", FULL_AGAIN_S)
        return self.watch([survivor], lambda _: n_full() > n_full_before)

    def muster(self):
        rate, seconds, _ = self.run()
        return {"bucket_updates": rate, "refilled_bytes": N_REFILLS * self.n_bytes / seconds}

    @contextlib.contextmanager
    def opened(self, pairs):
        probe = program_side(self.setting, "bulk_probe", [SWEPT_BYTES, self.setting.seconds], ["goodput_gb_per_second"])
        yield ([("muster", self.muster), ("before", lambda: {"bucket_updates": self.before}),
                ("loopback", lambda: {"refilled_bytes": 1e9 * probe()["goodput_gb_per_second"]})],
               [Comparison("bucket_updates", "bucket_updates", "before", "before"),
                Comparison("refilled_bytes", "refilled_bytes", "loopback", "loopback")])


class FullAgainEntry(RefillEntry):
    """The same with little, for the time from the kill to full redundancy."""

    def __init__(self, setting, name, units):
        super().__init__(setting, name, units)
        self.unit, self.lower_is_better = "s", True

    def muster(self):
        return {"kill_to_full_redundancy": self.run()[2]}

    @contextlib.contextmanager
    def opened(self, pairs):
        yield [("muster", self.muster)], [Comparison("kill_to_full_redundancy", "kill_to_full_redundancy", None, None)]


class HandoverEntry(Entry):
    """Parameter servers are drained one after the other: the longest step of a worker meanwhile, in median steps."""

    def __init__(self, setting, name, n_workers, epochs):
        super().__init__(name, f"{n_workers} worker{'s' if n_workers > 1 else ''} + {N_FAILOVER_PS} PS, replicas 1, batches of "
                         f"{HANDOVER_BATCH}: a PS is drained; the longest step", [], "median steps", None, [], lower_is_better=True)
        self.setting, self.n_workers = setting, n_workers
        self.changes = {"epochs": setting.epochs(epochs), "batch_size": HANDOVER_BATCH, "data": training_data(), "replicas": 1}

    def steps(self, workers, is_over):
        """How long each worker's steps take, seen from outside, until is_over(); where several came at once, their mean."""
        counts, since, took = [None] * len(workers), [0.0] * len(workers), []
        while not is_over():
            for i, address in enumerate(workers):
                count, now = read_metric(address, "muster_worker_steps_total"), time.monotonic()
                if count is None:
                    raise RunFailed("a worker ended")
                if count != counts[i]:
                    if counts[i] is not None:
                        took.append((now - since[i]) / (count - counts[i]))
                    counts[i], since[i] = count, now
            time.sleep(POLL_S)
        return took

    def for_seconds(self, seconds):
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    def handover(self, job, victim, chief, workers):
        """Drains one; returns the longest step meanwhile and the longest of as long a time before, in median steps."""
        until(lambda: read_metric(chief, "muster_redundancy_full") == 1, "full redundancy", FULL_AGAIN_S)
        before = self.steps(workers, self.for_seconds(HANDOVER_S))
        command = [self.setting.muster(), "admin", "drain", f"ps-{victim}", "--chief", "%s:%d" % chief, "--timeout", str(FULL_AGAIN_S)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as drain:
            over = self.for_seconds(HANDOVER_S)
            during = self.steps(workers, lambda: drain.poll() is not None and over())
            if drain.returncode != 0:
                raise RunFailed(drain.stderr.read())
        if not before or not during:
            raise RunFailed(f"no worker made a step within {HANDOVER_S} s")
        return [max(took) / statistics.median(before) for took in (during, before)]

    def muster(self):
        arguments = ["--workers", self.n_workers, "--ps", N_FAILOVER_PS, "--max-restarts", 2 * N_HANDOVERS]
        with RunningJob(self.setting, self.name, arguments, self.changes) as job:
            job.wait_log("chief", 0, "chief: first step")
            chief, workers = job.http("chief", 0), [job.http("worker", i) for i in range(self.n_workers)]
            pairs = [self.handover(job, i % N_FAILOVER_PS, chief, workers)
                     for i in range(max(2, round(N_HANDOVERS * self.setting.share)))]
            result = job.finish()
        if result.get("lost_updates") or re.search(r"parameter server restored", job.log("chief", 0)):
            raise RunFailed("updates were lost")
        during, before = zip(*pairs)
        return {"median_longest_step": statistics.median(during), "longest_step": max(during),
                "median_longest_step_undisturbed": statistics.median(before), "longest_step_undisturbed": max(before)}

    @contextlib.contextmanager
    def opened(self, pairs):
        metrics = [f"{which}{when}" for which in ("median_longest_step", "longest_step") for when in ("", "_undisturbed")]
        yield [("muster", self.muster)], [Comparison(metric, metric, None, None) for metric in metrics]


def replica_entries(setting):
    return [CostEntry(setting, 64, 24), CostEntry(setting, 256, 36), FailoverEntry(setting, "failover", "killed", 120),
            FailoverEntry(setting, "standstill", "stopped", 400, stops=True),
            RefillEntry(setting, "refill", BIG_UNITS), FullAgainEntry(setting, "refill-100mb", SMALL_UNITS),
            HandoverEntry(setting, "handover", 1, 120), HandoverEntry(setting, "handover-crowded", N_WORKERS, 120)]
