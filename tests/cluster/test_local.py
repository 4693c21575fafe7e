"""`muster local`: what it says, whom it starts again, how it ends, and that nobody is left behind."""
import fcntl
import json
import os
import pathlib
import pty
import random
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest
import tiny_job
from processes import PATIENCE_S, children_of, http_get, is_alive, role_of, until

CLUSTER = ("--workers", "2", "--ps", "2")
ROLES = ["chief-0", "ps-0", "ps-1", "worker-0", "worker-1"]


def output(job):
    return pathlib.Path(job["output"]["dir"])


def epochs_done(job):
    """The last epoch that a chief, the first or a later one, said to be done."""
    return max(map(int, re.findall(r"epoch done epoch=(\d+)", log_of(job, "chief-0"))), default=0)


def log_of(job, role):
    return (output(job) / "logs" / f"{role}.log").read_text(errors="replace")


class Local:
    """A running `muster local` and its children."""

    def __init__(self, process, job):
        self.process, self.job = process, job

    def roles(self):
        """{role: pid} of the children that are there now."""
        return {role_of(pid): pid for pid in children_of(self.process.pid) if role_of(pid)}

    def wait_training(self):
        """Waits for the first checkpoint."""
        def look():
            assert self.process.is_running(), f"it ended with {self.process.popen.returncode}:\n{self.process.tail()}"
            return list(pathlib.Path(self.job["checkpoint"]["dir"]).glob("*.index"))
        until(look, lambda: f"the first checkpoint; it said:\n{self.process.tail()}")
        assert sorted(self.roles()) == ROLES
        return self

    def wait_all_joined(self):
        until(lambda: all("worker: joined" in log_of(self.job, role) for role in ("worker-0", "worker-1")), "both workers")
        return self

    def signal(self, number, *roles):
        """A child of a process that this test started, found by its role."""
        children = self.roles()
        for role in roles or children:
            os.kill(children[role], number)

    def expect(self, code):
        """It ends with this code and leaves nobody behind."""
        children = children_of(self.process.pid)
        self.process.expect(code)
        left = [pid for pid in children if is_alive(pid)]
        assert not left, f"it left {left} behind"
        return self.process.log()


@pytest.fixture
def local(muster, job, write_job):
    """Starts `muster local` with two workers and two parameter servers; gives a Local."""
    return lambda *arguments, **keywords: Local(muster("local", write_job(job), *CLUSTER, *arguments, **keywords), job)


@pytest.fixture
def endless(local, job):
    """One that is in the middle of a job without an end."""
    job["epochs"] = 1_000_000
    job["checkpoint"].update(every_steps=500, keep=2)
    return lambda *arguments: local(*arguments).wait_training()


def check_every_example_counted(job):
    result = json.loads((output(job) / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["examples"] == job["epochs"] * tiny_job.TRAIN_EXAMPLES
    return result


# ---- what it says ----

def test_plain_lines_without_a_terminal(local, job):
    said = local().expect(0)
    result = check_every_example_counted(job)
    lines = said.splitlines()
    assert lines[0] == f"tiny: chief, 2 workers, 2 parameter servers; logs in {output(job)}/logs"
    assert sum(line.startswith("muster: every batch of 16 examples is an update of its own") for line in lines) == 1, said
    steps = result["steps"]
    figures = [line for line in lines if line.startswith("epoch ")]
    assert figures and len(figures) <= 12, said
    for line in figures:
        assert re.fullmatch(r"epoch [12]/2  step \d+/%d  \d+ examples/s  loss \S+  accuracy \S+  (ETA .*|saving and evaluating)"
                            % steps, line), line
    assert f"finished: {steps} steps, {result['examples']} examples" in said
    assert f"  test accuracy  {result['eval']['accuracy']:.4f}\n" in said
    for where in (output(job) / "result.json", result["checkpoint"], result["model"], output(job) / "logs"):
        assert pathlib.Path(where).exists() or pathlib.Path(f"{where}.index").exists()
        assert f" {where}\n" in said, f"it does not say where {where} is:\n{said}"
    assert "\r" not in said and "\x1b" not in said, "no terminal, so plain lines"


def test_logs_are_of_this_run(local, job):
    (output(job) / "logs").mkdir(parents=True)
    (output(job) / "logs" / "ps-1.log").write_text("of another day\n")
    local().expect(0)
    for role in ROLES:
        assert f"info {role.replace('-', '/')} " in log_of(job, role)
    assert "of another day" not in log_of(job, "ps-1")


class Terminal:
    """`muster local` on a terminal of its own, as a shell would start it in the foreground."""

    def __init__(self, command, folder, columns):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        clean = {key: value for key, value in os.environ.items() if key not in ("TF_CONFIG", "MUSTER_LOG", "LC_ALL")}
        clean.update(TERM="xterm", LC_CTYPE="C.UTF-8")

        def take_terminal():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        self.popen = subprocess.Popen([str(word) for word in command], env=clean, cwd=folder, stdin=slave, stdout=slave,
                                      stderr=slave, preexec_fn=take_terminal)
        os.close(slave)
        self.bytes = b""

    def read(self):
        """Takes what is there; False once the terminal is closed."""
        if not select.select([self.master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        self.bytes += data
        return bool(data)

    @property
    def output(self):
        return self.bytes.decode(errors="ignore")  # the last character may be half there

    def read_until(self, pattern):
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.output):
            assert self.read() and time.monotonic() < deadline, f"it did not say {pattern!r}:\n{self.output}"

    def type(self, keys):
        os.write(self.master, keys)

    def finish(self):
        while self.read():
            pass
        return self.popen.wait(PATIENCE_S)

    def drawings(self):
        """The lines as they were drawn over each other."""
        assert "\x1b[?25" not in self.output, "the cursor is hidden: who shows it again after a kill?"
        return re.findall(r"\r([^\r\n\x1b]*)\x1b\[K", self.output)


@pytest.fixture
def terminal(binary, job, write_job, tmp_path):
    started = []

    def start(*arguments, columns=80):
        started.append(Terminal([binary, "local", write_job(job), *CLUSTER, *arguments], tmp_path, columns))
        return started[-1]
    yield start
    for one in started:
        one.popen.kill()
        one.popen.wait()
        os.close(one.master)


@pytest.mark.parametrize("columns", [80, 40, 160])
def test_the_line_on_a_terminal(terminal, job, columns):
    job["epochs"] = 40
    shown = terminal(columns=columns)
    assert shown.finish() == 0, shown.output
    check_every_example_counted(job)
    drawings = shown.drawings()
    assert len(drawings) >= 2
    for line in drawings:
        assert len(line) < columns, f"{len(line)} columns: {line}"
    assert drawings[0].startswith("starting")
    if columns >= 80:
        assert drawings[0].endswith("chief · ps ·· worker ··"), drawings[0]
        assert any(re.match(r"epoch 40/40 .*5000/5000 .* (chief |c)✓ ", line) for line in drawings), drawings
    # The last drawing stays, and what follows begins below it.
    assert re.search(r"\x1b\[K\r\nfinished: 5000 steps", shown.output), shown.output[-1500:]


def test_ctrl_c_on_a_terminal(terminal, job):
    """Only `muster local` gets the terminal's signal; it tells the others, once."""
    job["epochs"] = 1_000_000
    job["checkpoint"].update(every_steps=500, keep=2)
    shown = terminal()
    shown.read_until(r"\d+/125000000")
    children = children_of(shown.popen.pid)
    shown.type(b"\x03")
    assert shown.finish() == 130, shown.output
    assert "stopped by Ctrl-C with work left" in shown.output
    assert not [pid for pid in children if is_alive(pid)]
    for role in ROLES:
        assert log_of(job, role).count("cli: told to stop signal=2") == 1, log_of(job, role)


# ---- signals ----

@pytest.mark.parametrize("number, code, name", [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_ends_all(endless, job, number, code, name):
    running = endless()
    running.process.send(number)
    said = running.expect(code)
    assert f"stopped by {name} with work left" in said
    assert re.search(r"last checkpoint: \S+/model-\d+; with --set checkpoint.resume=true the same command goes on", said), said
    assert not (output(job) / "result.json").exists()


def test_a_second_signal_ends_at_once(endless):
    running = endless()
    running.signal(signal.SIGSTOP)  # so that nobody can follow the first
    running.process.send(signal.SIGINT)
    running.process.wait_log(r"waiting for chief-0, ps-0, ps-1, worker-0, worker-1 to leave; killed in \d+ s")
    running.process.send(signal.SIGINT)
    running.expect(130)


def test_who_does_not_leave_is_killed(endless):
    running = endless()
    running.signal(signal.SIGSTOP, "ps-1")
    running.process.send(signal.SIGTERM)
    said = running.expect(143)
    # The others may be named with it: the chief waits for it within its grace, and a worker for its last push.
    assert re.search(r"waiting for (\S+, )*ps-1(, \S+)* to leave; killed in 12 s", said), said
    assert "muster: killed ps-1, still there after 15 s" in said, said


def test_killed_itself_it_leaves_nobody(endless):
    running = endless()
    children = children_of(running.process.pid)
    running.process.kill()
    until(lambda: not [pid for pid in children if is_alive(pid)],
          lambda: f"the children {[pid for pid in children if is_alive(pid)]} to end with their supervisor")


def test_a_stopped_supervisor_does_not_stop_training(endless, job):
    """Nobody reads the chief's progress: it goes on all the same, past what a pipe holds."""
    running = endless()
    running.process.pause()
    log = output(job) / "logs" / "chief-0.log"
    before = log.read_text().count("epoch done")
    # Longer than a pipe lasts would take minutes; that the pipe does not block is a unit test. Here: training goes on.
    until(lambda: log.read_text().count("epoch done") > before + 20, "20 more epochs")
    running.process.resume()
    running.process.send(signal.SIGTERM)
    running.expect(143)


# ---- deaths ----

def test_a_killed_worker_is_started_again_and_the_job_finishes(local, job):
    job["epochs"] = 100
    job["checkpoint"].update(every_steps=200)
    running = local().wait_training()
    running.signal(signal.SIGSTOP, "worker-0", "worker-1")  # the job cannot end without them
    victim = running.roles()["worker-1"]
    running.signal(signal.SIGKILL, "worker-1")
    until(lambda: running.roles().get("worker-1", victim) != victim, lambda: f"another worker-1:\n{running.process.tail()}")
    running.signal(signal.SIGCONT, "worker-0")
    said = running.expect(0)
    assert "muster: worker-1 was killed by signal 9 (Killed); it is started again" in said
    check_every_example_counted(job)
    assert log_of(job, "worker-1").count("worker: device") == 2, "the second process's log is appended to the first's"


def test_more_deaths_than_allowed(endless):
    running = endless("--max-restarts", "1")
    for _ in range(2):
        victim = running.roles()["worker-1"]
        running.signal(signal.SIGKILL, "worker-1")
        until(lambda: not running.process.is_running() or running.roles().get("worker-1", victim) != victim,
              lambda: f"the end of worker-1 to be noticed:\n{running.process.tail()}")
        if not running.process.is_running():
            break
    said = running.expect(138)
    assert said.count("worker-1 was killed by signal 9 (Killed); it is started again") == 1
    assert "worker-1 was killed by signal 9 (Killed), once more than --max-restarts 1 a minute allow" in said


def test_no_restarts(endless):
    running = endless("--max-restarts", "0")
    running.signal(signal.SIGKILL, "worker-0")
    said = running.expect(138)
    assert "started again" not in said


@pytest.mark.parametrize("victim", ["ps-0", "chief-0"])
def test_a_lost_ps_or_chief_ends_the_job(endless, job, victim):
    running = endless("--max-restarts", "0").wait_all_joined()
    running.signal(signal.SIGKILL, victim)
    said = running.expect(138)
    assert f"muster: {victim} was killed by signal 9 (Killed), once more than --max-restarts 0 a minute allow, which ends the job" in said
    lines = said.splitlines()
    at = lines.index(f"muster: the last lines of {output(job)}/logs/{victim}.log:")
    shown = [line[4:] for line in lines[at + 1:] if line.startswith("    ")]
    assert shown and len(shown) <= 10
    assert shown == log_of(job, victim).splitlines()[-len(shown):]
    assert re.search(r"last checkpoint: \S+/model-\d+", said), said
    assert not (output(job) / "result.json").exists()


@pytest.mark.parametrize("victim", ["ps-1", "chief-0", "worker-0"])
def test_a_second_signal_ends_a_role_at_once(endless, victim):
    """The first one lets it finish; the second one does not ask."""
    running = endless("--max-restarts", "0").wait_all_joined()
    pid = running.roles()[victim]
    others = [role for role in ROLES if role != victim]
    running.signal(signal.SIGSTOP, *others)  # nobody helps it to leave
    os.kill(pid, signal.SIGTERM)
    until(lambda: "told to stop" in log_of(running.job, victim), "the first signal to be noticed")
    os.kill(pid, signal.SIGTERM)
    until(lambda: not is_alive(pid), "its end")
    running.signal(signal.SIGCONT, *[role for role in others if role in running.roles()])
    said = running.expect(138)
    assert f"{victim} ended with exit code 143" in said, said


@pytest.mark.parametrize("seed", range(2))
def test_roles_are_killed_at_random_moments(local, job, seed):
    """Chief, servers and workers, one after the other or together; the job ends well, with every step."""
    dice = random.Random(seed)
    print(f"seed {seed}")
    job["epochs"] = 250
    job["checkpoint"]["every_steps"] = 100
    running = local("--max-restarts", "100").wait_training()
    at = 0
    n_workers = n_servers = 0
    for _ in range(6):
        victims = dice.sample(ROLES, dice.choice([1, 1, 2]))
        at += dice.randrange(1, 25)
        until(lambda: epochs_done(job) >= at or not running.process.is_running(),
              lambda: f"epoch {at}; it said:\n{running.process.tail()}")
        until(lambda: all(role in running.roles() for role in victims) or not running.process.is_running(), "the victims to run")
        if not running.process.is_running():
            break
        print(f"epoch {at}: {victims}")
        running.signal(signal.SIGKILL, *victims)
        n_workers += sum(role.startswith("worker") for role in victims)
        n_servers += sum(role.startswith("ps") for role in victims)
    running.expect(0)
    result = check_every_example_counted(job)
    assert result["steps"] == job["epochs"] * tiny_job.TRAIN_EXAMPLES // job["batch_size"]
    assert result["torn"] <= 2 * n_workers, result
    assert n_servers or result["lost_updates"] == 0, result


def test_a_permanent_code_ends_the_job_and_is_shown(local, job):
    job["compile"]["optimizer"] = {"class_name": "SGD", "config": {"learning_rate": 1e30}}
    said = local().expect(1)
    assert re.search(r"muster: (chief|ps|worker)-\d ended with exit code 1, which ends the job: .*(not a number|NaN)", said), said
    assert "it is started again" not in said, "what ends a job is no reason to start workers again"


# ---- before anything starts ----

def expect_refusal(running, code, *words):
    said = running.expect(code)
    assert said.startswith("muster: ") and said.count("\n") == 1, f"one sentence is expected:\n{said}"
    for word in words:
        assert word in said, f"it does not say {word!r}: {said}"


def free_ports(n):
    """The first of n ports in a row that are free."""
    # Below the ports that the system gives to others; each test run begins elsewhere.
    for base in range(20000 + os.getpid() % 1000 * 10, 32700, n):
        sockets = []
        try:
            for port in range(base, base + n):
                one = socket.socket()
                sockets.append(one)
                one.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise AssertionError(f"no {n} free ports in a row")


@pytest.mark.parametrize("change, code, words", [
    (["--set", "epochs=0"], 2, ["epochs"]),
    (["--set", "epocs=1"], 2, ["epocs", "epochs"]),
    (["--set", "compile.optimizer=Adamm"], 2, ["Adamm", "Adam"]),
    (["--set", "model=nowhere.json"], 2, ["nowhere.json"]),
    (["--set", "replicas=2"], 2, ["replicas is 2", "parameter servers"]),
    (["--set", "data.train.features=nowhere.idx"], 1, ["data.train: ", "nowhere.idx"]),
    (["--set", "data.eval.labels=nowhere.idx"], 1, ["data.eval: ", "nowhere.idx"]),
    (["--http-base-port", "65533"], 2, ["65533", "65535"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else None)
def test_a_bad_job_is_refused_once(local, job, change, code, words):
    expect_refusal(local(*change), code, *words)
    assert not list(output(job).glob("logs/*")), "no process was started"


def test_labels_that_do_not_suit_the_model(local, job, tmp_path):
    labels = bytes([tiny_job.CLASSES]) * tiny_job.TRAIN_EXAMPLES
    (tmp_path / "labels.idx").write_bytes(tiny_job.idx((tiny_job.TRAIN_EXAMPLES,), labels))
    job["data"]["train"]["labels"] = str(tmp_path / "labels.idx")
    expect_refusal(local(), 1, "labels.idx", str(tiny_job.CLASSES))


@pytest.mark.parametrize("key", ["output.dir", "checkpoint.dir"])
def test_a_folder_that_cannot_be_made(local, tmp_path, key):
    (tmp_path / "file").write_text("not a folder")
    expect_refusal(local("--set", f"{key}={tmp_path}/file/x"), 2, key, f"{tmp_path}/file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(local, tmp_path):
    (tmp_path / "sealed").mkdir(mode=0o555)
    expect_refusal(local("--set", f"output.dir={tmp_path}/sealed"), 2, "output.dir", "sealed")


def test_an_http_port_in_use(local):
    base = free_ports(5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 1))
        taken.listen()
        expect_refusal(local("--http-base-port", base), 138, str(base + 1), "worker-0", "--http-base-port")


def test_too_few_descriptors(binary, job, write_job, tmp_path):
    command = f"ulimit -n 24; exec {binary} local {write_job(job)} --workers 40"
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S)
    assert done.returncode == 138 and "ulimit -n" in done.stdout, done.stdout


# ---- what children are given ----

def test_http_ports_in_a_row(endless):
    base = free_ports(5)
    running = endless("--http-base-port", base)
    for port in range(base, base + 5):
        until(lambda: http_get(port, "/readyz")[0] == 200, f"port {port} to be ready")
    metrics = [http_get(base + i, "/metrics")[1] for i in range(5)]
    assert ["muster_ps_updates_total" in text for text in metrics] == [False, False, False, True, True]
    running.process.send(signal.SIGTERM)
    running.expect(143)


def test_a_tf_config_around_it_is_not_for_it(muster, job, write_job):
    stray = json.dumps({"cluster": {"worker": ["nowhere.invalid:1"], "ps": ["nowhere.invalid:2"]},
                        "task": {"type": "worker", "index": 0}})
    muster("local", write_job(job), environment={"TF_CONFIG": stray}).expect(0)
    check_every_example_counted(job)


def test_without_standard_streams(binary, job, write_job, tmp_path):
    """A descriptor below 3 is free then, and must not become a socket."""
    command = [binary, "local", write_job(job), *CLUSTER]
    done = subprocess.run(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *map(str, command)], timeout=PATIENCE_S)
    assert done.returncode == 0, log_of(job, "chief-0")
    check_every_example_counted(job)


def test_sanitizers_found_nothing_on_terminals(terminal, job):
    """The other tests look at the logs through their fixture; processes on a terminal are looked at here."""
    shown = terminal()
    assert shown.finish() == 0
    assert "Sanitizer" not in shown.output
    for role in ROLES:
        assert "Sanitizer" not in log_of(job, role)


def state_of(pid):
    """The letter of a process's state: T is stopped."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_ctrl_z_stops_and_fg_resumes_all(endless, job):
    """All stand still together, go on together, and nobody is taken for dead or started again."""
    running = endless()
    children = running.roles()
    running.process.send(signal.SIGTSTP)
    until(lambda: all(state_of(pid) == "T" for pid in [running.process.pid, *children.values()]), "all to stop")
    running.process.send(signal.SIGCONT)
    until(lambda: not any(state_of(pid) == "T" for pid in [running.process.pid, *children.values()]), "all to go on")

    def newest():
        return max((int(path.stem.rpartition("-")[2]) for path in pathlib.Path(job["checkpoint"]["dir"]).glob("*.index")),
                   default=0)
    stopped_at = newest()
    until(lambda: newest() > stopped_at, "a checkpoint after that")
    assert running.roles() == children, "nobody was started again"
    running.process.send(signal.SIGINT)
    running.expect(130)
