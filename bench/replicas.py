"""The entries for parameter servers with backups: what they cost, and how long training stands still when one is killed."""
import contextlib
import re
import signal
import statistics
import time

from entries import N_PS, N_WORKERS, Comparison, Entry, muster_side, program_side, training_data
from pairs import RunFailed
from peers import KEY
from running import RunningJob, read_metric, until

N_FAILOVER_PS = 3
N_KILLS = 6
FULL_AGAIN_S = 30  # for the next kill to be allowed
POLL_S = 0.001


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
    """A parameter server is killed now and then: how long no update was applied anywhere else."""

    def __init__(self, setting, epochs):
        super().__init__("failover", f"{N_WORKERS} workers + {N_FAILOVER_PS} PS, replicas 1: a PS is killed; how long no update is "
                         "applied", [], "s", None, [], lower_is_better=True)
        self.setting = setting
        self.changes = {"epochs": setting.epochs(epochs), "data": training_data(), "replicas": 1}

    def pause(self, job, victim, chief):
        """Kills one, and returns the longest time without an update at the others, from then on until all is well again."""
        addresses = [job.http("ps", i) for i in range(N_FAILOVER_PS) if i != victim]
        task = job.task("ps", victim)
        until(lambda: read_metric(chief, "muster_redundancy_full") == 1, "full redundancy", FULL_AGAIN_S)
        longest, last = 0.0, None
        task.send(signal.SIGKILL)
        since = begin = time.monotonic()
        while time.monotonic() < begin + 1 or read_metric(chief, "muster_redundancy_full") != 1:
            now = time.monotonic()
            values = [read_metric(address, "muster_ps_updates_total") for address in addresses]
            if now > begin + FULL_AGAIN_S or None in values:
                raise RunFailed("the others ended, or redundancy was not full again in time")
            if values != last:
                longest, last, since = max(longest, now - since), values, now
            time.sleep(POLL_S)
        return longest

    def muster(self):
        arguments = ["--workers", N_WORKERS, "--ps", N_FAILOVER_PS, "--max-restarts", 2 * N_KILLS]
        with RunningJob(self.setting, self.name, arguments, self.changes) as job:
            job.wait_log("chief", 0, "chief: first step")
            chief = job.http("chief", 0)
            pauses = [self.pause(job, i % N_FAILOVER_PS, chief) for i in range(max(2, round(N_KILLS * self.setting.share)))]
            result = job.finish()
        if result.get("lost_updates") or re.search(r"parameter server restored", job.log("chief", 0)):
            raise RunFailed("updates were lost")
        return {"median_pause": statistics.median(pauses), "longest_pause": max(pauses)}

    @contextlib.contextmanager
    def opened(self, pairs):
        yield [("muster", self.muster)], [Comparison(metric, metric, None, None) for metric in ("median_pause", "longest_pause")]


def replica_entries(setting):
    return [CostEntry(setting, 64, 24), CostEntry(setting, 256, 36), FailoverEntry(setting, 120)]
