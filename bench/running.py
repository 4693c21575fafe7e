"""A job of `muster local` while it runs: its processes by role, their logs and metrics; what may be done to them.

Only processes that the job started are ever stopped or ended, each through a descriptor of its own (pidfd_open(2)), so that
a number that the kernel gives to another process meanwhile is never meant.
"""
import glob
import heapq
import json
import os
import re
import signal
import socket
import subprocess
import time

from entries import write_job
from pairs import RunFailed, end_group, side_environment

POLL_S = 0.01
START_LIMIT_S = 60
STOP_LIMIT_S = 60


def until(condition, what, seconds=START_LIMIT_S):
    """Polls until the condition holds and returns its value; RunFailed says what was waited for."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise RunFailed(f"waited {seconds} s for {what}")
        time.sleep(POLL_S)
    return value


class Task:
    """One process of a job. It may end at any time: what is done to it then has no effect."""

    def __init__(self, pid):
        self.pid = pid
        self.fd = os.pidfd_open(pid)

    def send(self, number):
        try:
            signal.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            pass

    def stop(self):
        self.send(signal.SIGSTOP)

    def go(self):
        self.send(signal.SIGCONT)

    def started(self):
        """When it was started, in seconds since boot, to a hundredth (proc(5): starttime)."""
        with open(f"/proc/{self.pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")

    def close(self):
        os.close(self.fd)


def task_of(pid):
    """("worker", 1) of a process that has TF_CONFIG in its environment, else None."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            for variable in environ.read().split(b"\0"):
                if variable.startswith(b"TF_CONFIG="):
                    task = json.loads(variable[len(b"TF_CONFIG="):])["task"]
                    return task["type"], int(task["index"])
    except (OSError, ValueError, KeyError):
        pass  # it ends, or is not yet what it is to be
    return None


class RunningJob:
    """`muster local` with a job of write_job(), in a with statement that ends it if it has not ended by itself."""

    def __init__(self, setting, name, arguments, changes, network=None):
        self.path, self.result_path = write_job(setting, name, changes, network)
        self.folder = os.path.dirname(self.result_path)
        self.output_path = os.path.join(os.path.dirname(self.path), "output.txt")
        self.command = [setting.muster(), "local", self.path, *map(str, arguments)]
        self.tasks = []

    def __enter__(self):
        with open(self.output_path, "wb") as output:
            self.process = subprocess.Popen(self.command, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                                            env=side_environment(), start_new_session=True)
        return self

    def __exit__(self, *_):
        for task in self.tasks:
            task.close()
        if self.process.poll() is not None:
            return
        # Told to, it ends its roles and waits for them, so that their CPU time is known to be ours.
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            end_group(self.process)

    def is_running(self):
        return self.process.poll() is None

    def output(self):
        with open(self.output_path, encoding="utf-8", errors="replace") as output:
            return output.read()

    def fail(self, what):
        raise RunFailed(f"{' '.join(self.command)}\n  {what}:\n  " + "\n  ".join(self.output().strip().splitlines()[-12:]))

    def find(self, role, index, other_than=()):
        """The pid of a role's process, or None while there is none."""
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/children"):
            try:
                with open(path, encoding="ascii") as children:
                    for pid in map(int, children.read().split()):
                        if pid not in other_than and task_of(pid) == (role, index):
                            return pid
            except OSError:
                continue
        return None

    def task(self, role, index, other_than=()):
        """The process of a role, as soon as there is one."""
        def look():
            if not self.is_running():
                self.fail("ended too early")
            return self.find(role, index, other_than)
        self.tasks.append(Task(until(look, f"the process {role}-{index}")))
        return self.tasks[-1]

    def log(self, role, index):
        try:
            with open(os.path.join(self.folder, "logs", f"{role}-{index}.log"), encoding="utf-8", errors="replace") as log:
                return log.read()
        except OSError:
            return ""

    def wait_log(self, role, index, pattern):
        """The match of a pattern in a role's log, as soon as it is there."""
        def look():
            match = re.search(pattern, self.log(role, index))
            if not match and not self.is_running() and not re.search(pattern, self.log(role, index)):
                self.fail(f"ended before {role}-{index} said {pattern!r}")
            return match
        return until(look, f"{role}-{index} to say {pattern!r}")

    def http(self, role, index):
        """(host, port) where a role serves its metrics."""
        def look():
            try:
                with open(os.path.join(self.folder, "local.json"), encoding="utf-8") as file:
                    described = json.load(file)
            except (OSError, ValueError):
                return None
            return [one["http"] for one in described["roles"] if (one["role"], one["index"]) == (role, index)]
        host, port = until(look, "local.json")[0].rsplit(":", 1)
        return host, int(port)

    def finish(self, limit_s=300):
        """result.json of the job, which must end well."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.fail(f"did not end within {limit_s} s")
        if code != 0:
            self.fail(f"ended with {code}")
        with open(self.result_path, encoding="utf-8") as result:
            return json.load(result)


def metric_sum(text, name):
    """The sum of a metric over its labels in Prometheus's text, or None where it has none."""
    values = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, values)) if values else None


def read_metric(address, name):
    """One metric of a role now; None when nobody answers."""
    try:
        with socket.create_connection(address, 5) as connection:
            connection.settimeout(5)
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return None
    return metric_sum(text.decode(errors="replace"), name)


# ---- disturbances, as long as the job runs ----

def stop_now_and_then(job, task, stop_s, every_s):
    """Stops a process for stop_s, every_s after it last went on."""
    while job.is_running():
        time.sleep(every_s)
        task.stop()
        time.sleep(stop_s)
        task.go()


def take_turns(job, shares, period_s):
    """Lets each (task, share) run for its share of every period, one after the other, and stops it for the rest."""
    begin, coming = time.monotonic(), []
    for i, (task, share) in enumerate(shares):
        start = begin + i * period_s / len(shares)
        coming += [(start, 2 * i, task.go), (start + share * period_s, 2 * i + 1, task.stop)]
    heapq.heapify(coming)
    while job.is_running():
        when, number, act = coming[0]
        time.sleep(max(0.0, when - time.monotonic()))
        act()
        # A late turn is not made up for: the next one comes a period after this one was due.
        heapq.heapreplace(coming, (when + period_s, number, act))
