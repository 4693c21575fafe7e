"""Real muster processes for a test: started, watched, killed; and ports that nobody else takes meanwhile.

Nothing here waits for a fixed time: until() polls a condition and fails with what it waited for.
"""
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

# Generous: sanitizers and a busy machine slow a process down, and a passing test never waits so long.
PATIENCE_S = 180
POLL_S = 0.02
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|SUMMARY: \w+Sanitizer")


def until(condition, what, seconds=PATIENCE_S):
    """Polls until the condition holds and returns its value; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what() if callable(what) else what}")
        select.select([], [], [], POLL_S)


class Port:
    """A port that is ours: bound but not listening, so connects are refused until a role listens on it too."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.number = self.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.number}"

    def close(self):
        self.socket.close()


class Process:
    """One process that a test started; its standard output and error go to one log file."""

    def __init__(self, name, command, environment, folder, pass_fds=()):
        self.name = name
        self.log_path = pathlib.Path(folder) / f"{name}.log"
        clean = {key: value for key, value in os.environ.items() if key not in ("TF_CONFIG", "MUSTER_LOG")}
        clean.update(environment)
        with open(self.log_path, "wb") as log:
            self.popen = subprocess.Popen([str(word) for word in command], env=clean, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=subprocess.STDOUT, cwd=folder, pass_fds=pass_fds)

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def set_log_aside(self, name):
        """Another process begins a log of that name; this one's is found under another."""
        self.log_path = self.log_path.rename(self.log_path.with_name(f"{name}.log"))

    def is_running(self):
        return self.popen.poll() is None

    def wait(self, seconds=PATIENCE_S):
        """The exit code; minus the signal if one ended it."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds} s; its last lines:\n{self.tail()}") from None

    def expect(self, code):
        got = self.wait()
        assert got == code, f"{self.name} ended with {got}, not {code}; its last lines:\n{self.tail()}"

    def tail(self, lines=25):
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_log(self, pattern, seconds=PATIENCE_S):
        """The match of a pattern in the log, as soon as it is there."""
        def look():
            match = re.search(pattern, self.log())
            if not match and not self.is_running():
                match = re.search(pattern, self.log())
                assert match, f"{self.name} ended with {self.popen.returncode} without saying {pattern!r}:\n{self.tail()}"
            return match
        return until(look, lambda: f"{self.name} to say {pattern!r}; it said:\n{self.tail()}", seconds)

    def send(self, number):
        if self.is_running():
            self.popen.send_signal(number)

    def kill(self):
        self.send(signal.SIGKILL)
        self.popen.wait()

    def pause(self):
        """Stops it, and returns when all of its threads stand still."""
        self.send(signal.SIGSTOP)
        until(lambda: not self.is_running() or all(state == "T" for state in thread_states(self.pid)), f"{self.name} to stop")

    def resume(self):
        self.send(signal.SIGCONT)


def children_of(pid):
    """The pids of a process's children, and theirs."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child)] + children_of(int(child))
    return found


def role_of(pid):
    """The role in a process's TF_CONFIG, from /proc; "" if it is gone, or has not become a role yet."""
    try:
        variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    configs = [json.loads(one.partition("=")[2]) for one in variables if one.startswith("TF_CONFIG=")]
    return "%s-%s" % (configs[0]["task"]["type"], configs[0]["task"]["index"]) if configs else ""


def thread_states(pid):
    """The state letters of a process's threads, as ps shows them."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            found.append(task.read_text().rpartition(")")[2].split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def is_alive(pid):
    """True if the process still runs; a zombie does not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def http_get(port, path):
    """(status, text) of a GET on a role's HTTP port; status 0 if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError:
        return 0, ""


def metric(port, name):
    """The sum of a metric over its labels, from a role's /metrics; 0 if it is not there."""
    total = 0.0
    for line in http_get(port, "/metrics")[1].splitlines():
        match = re.match(re.escape(name) + r"(?:\{[^}]*\})? (\S+)", line)
        if match:
            total += float(match.group(1))
    return total


def newest_checkpoint(chief_log):
    """The step of the last one that was written; there must be one."""
    return int(re.findall(r"checkpoint written prefix=\S+model-(\d+)", chief_log)[-1])


def lost_updates(chief_log):
    """How many the log says were lost: what was known when a server was restored, and what cuts told later."""
    found = re.findall(r"(?:parameter server restored ps=\d+ lost_updates|lost updates counted ps=\d+ lost_updates=\d+ unreported)=(\d+)",
                       chief_log)
    return sum(map(int, found))


class Cluster:
    """A chief, workers and parameter servers from TF_CONFIG, each a process; tests start them one by one or all."""

    def __init__(self, binary, folder, job_path, n_workers=2, n_ps=2):
        self.binary, self.folder, self.job_path = binary, pathlib.Path(folder), job_path
        self.roles = ["chief-0"] + [f"ps-{i}" for i in range(n_ps)] + [f"worker-{i}" for i in range(n_workers)]
        self.ports = {role: Port() for role in self.roles}
        self.http_ports = {role: Port() for role in self.roles}
        self.addresses = {}  # {(who reads it, whose address): other than its own, a link's}
        self.processes = {}
        self.former = []  # (role, process) of those that another was started in place of, in order
        self.progress_path = self.folder / "progress.jsonl"
        self.progress_path.touch()
        self.named_evaluators = []

    def add_evaluator(self, is_named):
        """An evaluator that TF_CONFIG names, or that only its own does not either; a test starts it, and it is none of the
        roles that expect_all() asks."""
        self.ports["evaluator-0"], self.http_ports["evaluator-0"] = Port(), Port()
        self.named_evaluators = ["evaluator-0"] if is_named else []

    def address(self, reader, role):
        return self.addresses.get((reader, role), self.ports[role].address)

    def tf_config(self, role, index=None):
        """TF_CONFIG as this role reads it: links stand in it in place of addresses."""
        cluster = {}
        for other in self.roles + self.named_evaluators:
            cluster.setdefault(other.rpartition("-")[0], []).append(self.address(role, other))
        kind, _, number = role.rpartition("-")
        return json.dumps({"cluster": cluster, "task": {"type": kind, "index": int(number) if index is None else index}})

    def command(self, role, words):
        """How to run this where the role belongs; hosts.py has it elsewhere."""
        return words

    def metric(self, role, name):
        return metric(self.http_ports[role].number, name)

    def start(self, role, arguments=(), environment=None, name=None):
        """Starts one role; `name` starts a second process of the role beside the first."""
        command = self.command(role, [self.binary, "run", self.job_path, "--threads", "1", *arguments])
        pass_fds = ()
        if name is None:
            command += ["--http", self.http_ports[role].address]
        if role.startswith("chief"):
            progress = os.open(self.progress_path, os.O_WRONLY | os.O_APPEND)
            pass_fds = (progress,)
            command += ["--progress-fd", str(progress)]
        variables = {"TF_CONFIG": self.tf_config(role), **(environment or {})}
        if name is None and role in self.processes:
            self.former.append((role, self.processes.pop(role)))
            self.former[-1][1].set_log_aside(f"{role}.{len(self.former)}")
        process = Process(name or role, command, variables, self.folder, pass_fds)
        for fd in pass_fds:
            os.close(fd)
        self.processes[name or role] = process
        return process

    def start_all(self, arguments=()):
        for role in self.roles:
            self.start(role, arguments)

    def __getitem__(self, name):
        return self.processes[name]

    def progress(self, event=None):
        """The chief's progress objects so far, of one kind or all."""
        lines = [line for line in self.progress_path.read_text().split("\n")[:-1] if line]
        objects = [json.loads(line) for line in lines]
        return [one for one in objects if event is None or one["event"] == event]

    def updates(self):
        """How many bucket updates the parameter servers have applied."""
        return sum(self.metric(role, "muster_ps_updates_total") for role in self.roles if role.startswith("ps"))

    def wait_running(self, condition, what):
        """Waits for the condition; fails at once if a process of the cluster ends before."""
        def look():
            for name, process in self.processes.items():
                assert process.is_running(), f"{name} ended with {process.popen.returncode} before that:\n{process.tail()}"
            return condition()
        return until(look, what)

    def wait_training(self, updates=50):
        self.wait_running(lambda: self.updates() >= updates, f"{updates} updates at the parameter servers")

    def expect_all(self, code=0):
        """Every role of the cluster ends with this code."""
        for role in self.roles:
            self.processes[role].expect(code)

    def log_of(self, role):
        """What all said that were this role, one after the other."""
        return "".join(process.log() for other, process in [*self.former, *self.processes.items()] if other == role)

    def all(self):
        """Every process that was started, also those that others took the place of."""
        return [process for _, process in self.former] + list(self.processes.values())

    def logs(self):
        return "\n".join(f"--- {process.log_path.stem} (exit {process.popen.poll()})\n{process.tail(40)}"
                         for process in self.all())

    def sanitizer_reports(self):
        return [process.log_path.stem for process in self.all() if SANITIZER.search(process.log())]

    def close(self):
        for process in self.all():
            process.resume()
            process.kill()
        for port in list(self.ports.values()) + list(self.http_ports.values()):
            port.close()
