"""The entry for a chief that is killed while the job runs: `muster local` starts it again, and how soon training has it back."""
import re
import signal
import time

from entries import N_PS, N_WORKERS, Entry
from pairs import RunFailed
from running import RunningJob, read_metric, until

RUNNING = "chief: running"
TRAINED_S = 1.0  # before the chief is killed
LIMIT_S = 30


def since_boot():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def first_change(address, name):
    """When a metric was first seen to be other than now, in seconds since boot."""
    before = read_metric(address, name)
    until(lambda: read_metric(address, name) not in (None, before), f"{name} to change", LIMIT_S)
    return since_boot()


def restart_seconds(setting, name, consistency, seen_again):
    """Seconds from the start of the new chief's process to what seen_again(job) waits for and gives the time of."""
    changes = {"epochs": setting.epochs(40), "consistency": consistency}
    with RunningJob(setting, name, ["--workers", N_WORKERS, "--ps", N_PS], changes) as job:
        chief = job.task("chief", 0)
        job.wait_log("chief", 0, "chief: first step")
        time.sleep(TRAINED_S * setting.share)
        chief.send(signal.SIGKILL)
        begin = job.task("chief", 0, other_than=[chief.pid]).started()
        seconds = seen_again(job) - begin
        job.finish()
        lost = re.findall(r"^muster: (?!chief)\S+ .*; it is started again$", job.output(), re.MULTILINE)
        if lost:
            raise RunFailed(f"the restart of the chief ended others: {lost[0]}")
        return seconds


def serving(job):
    until(lambda: len(re.findall(RUNNING, job.log("chief", 0))) >= 2, "the new chief to run", LIMIT_S)
    return since_boot()


def first_round(job):
    return first_change(job.http("ps", 0), "muster_ps_updates_total")


def restart_entry(setting):
    """Two jobs a run: asynchronous workers go on meanwhile, so there the chief's own word counts; rounds wait for it."""
    metrics = {"start_to_leases": ({"staleness": "async"}, serving), "start_to_first_round": ({"staleness": 0}, first_round)}

    def muster():
        return {metric: restart_seconds(setting, "chief-restart", *how) for metric, how in metrics.items()}

    return Entry("chief-restart", f"the chief is killed and started again, {N_WORKERS} workers + {N_PS} PS: until it gives "
                 "leases; until the first round", list(metrics), "s", None, [("muster", muster)], lower_is_better=True)
