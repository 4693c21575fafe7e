"""`muster top`: its tables and JSON, on a terminal and without, and whom it finds."""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import termios

import pytest
from processes import PATIENCE_S, Port, until


@pytest.fixture
def training(muster, job, write_job):
    """A `muster local` in the middle of a job without an end."""
    job["epochs"] = 1_000_000
    job["checkpoint"].update(every_steps=500, keep=2)
    path = write_job(job)
    local = muster("local", path, "--workers", "2", "--ps", "2")
    until(lambda: list(pathlib.Path(job["checkpoint"]["dir"]).glob("*.index")), "the first checkpoint")
    logs = pathlib.Path(job["output"]["dir"], "logs")
    until(lambda: all("first step done" in (logs / f"worker-{i}.log").read_text() for i in range(2)), "both workers to train")
    return local, path


@pytest.fixture
def top(binary, tmp_path):
    def run(*arguments, **environment):
        clean = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
        return subprocess.run([binary, "top", *map(str, arguments)], env={**clean, **environment}, cwd=tmp_path, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S)
    return run


def test_one_table_of_a_local_job(training, top, job):
    _, path = training
    done = top("--job", path, "--once")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert re.match(r"tiny  epoch \d+/1000000  step \d+/\d+  .* examples/s  loss \d", done.stdout), done.stdout
    names = re.findall(r"^((?:chief|worker|ps)-\d) ", done.stdout, re.MULTILINE)
    assert names == ["chief-0", "worker-0", "worker-1", "ps-0", "ps-1"]
    buckets = re.findall(r"^(\d+) +(ps-\d) +(\d+) +\S+.* (\d+) +[\d.]+(?: k)? +[\d.]+$", done.stdout, re.MULTILINE)
    assert {bucket[1] for bucket in buckets} == {"ps-0", "ps-1"} and all(int(bucket[3]) > 0 for bucket in buckets), done.stdout


def test_json_of_a_local_job(training, top):
    _, path = training
    done = top("--job", path, "--once", "--json")
    shown = json.loads(done.stdout)
    assert shown["job"]["name"] == "tiny" and shown["job"]["step"] > 0
    roles = {role["role"]: role for role in shown["roles"]}
    assert all(role["up"] for role in roles.values())
    assert roles["worker-0"]["steps"] + roles["worker-1"]["steps"] > 0
    for role in ("worker-0", "worker-1"):
        assert roles[role]["examples"] <= 16 * roles[role]["steps"] and roles[role]["resident_bytes"] > 1_000_000
    pushes = [bucket["pushes"] for role in ("ps-0", "ps-1") for bucket in roles[role]["buckets"]]
    assert pushes and all(n > 0 for n in pushes)


def test_addresses_and_a_role_that_is_not_there(training, top, job):
    told = json.loads(open(os.path.join(job["output"]["dir"], "local.json")).read())
    assert told["pid"] == training[0].pid
    addresses = {f"{role['role']}-{role['index']}": role["http"] for role in told["roles"]}
    nobody = Port()
    done = top(addresses["worker-1"], addresses["ps-0"].rpartition(":")[2], nobody.address, "--once")
    nobody.close()
    assert done.returncode == 0
    assert re.search(r"^worker-1 .* ready$", done.stdout, re.MULTILINE) and re.search(r"^ps-0 ", done.stdout, re.MULTILINE)
    assert f"unreachable at {nobody.address}: Connection refused\n" in done.stdout


@pytest.mark.parametrize("has_task", [True, False])
def test_tf_config(cluster, job, write_job, top, has_task):
    """Names come from TF_CONFIG, so one that cannot be reached is named; who looks on is nobody in it."""
    made = cluster(write_job(job), n_workers=1, n_ps=1)
    made.start("ps-0")
    made["ps-0"].wait_log("ps: listening")
    described = json.loads(made.tf_config("chief-0"))
    if not has_task:
        del described["task"]
    done = top("--once", "--http-port", made.http_ports["ps-0"].number, TF_CONFIG=json.dumps(described))
    # All hosts are this one, so every role's address is that of ps-0, which says what it waits for.
    assert len(re.findall(r"^ps-0 +.*chief", done.stdout, re.MULTILINE)) == 3, done.stdout


class Terminal:
    """`muster top` on a terminal of its own."""

    def __init__(self, command, columns, rows):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.popen = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                      preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                      env=dict(os.environ, TERM="xterm"))
        os.close(slave)
        self.said = ""

    def read_until(self, condition, what):
        def look():
            while select.select([self.master], [], [], 0)[0]:
                try:
                    piece = os.read(self.master, 65536)
                except OSError:
                    return condition(self.said)
                if not piece:
                    break
                self.said += piece.decode(errors="replace")
            return condition(self.said)
        until(look, lambda: f"{what}; it said {self.said[-500:]!r}")

    def screens(self):
        """The tables that were drawn, whole ones."""
        return [one.partition("\x1b[J")[0].replace("\x1b[K", "").replace("\r", "") for one in self.said.split("\x1b[H")[1:]
                if "\x1b[J" in one]

    def close(self):
        os.close(self.master)
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


@pytest.fixture
def terminal(binary):
    made = []

    def start(*arguments, columns=80, rows=24):
        made.append(Terminal([str(binary), "top", *map(str, arguments)], columns, rows))
        return made[-1]
    yield start
    for one in made:
        one.close()


@pytest.mark.parametrize("columns, rows", [(80, 24), (40, 8), (200, 60)])
def test_on_a_terminal(training, terminal, columns, rows):
    shown = terminal("--job", training[1], columns=columns, rows=rows)
    shown.read_until(lambda said: len(shown.screens()) >= 3, "three tables")
    for screen in shown.screens():
        lines = screen.rstrip("\n").split("\n")
        assert len(lines) < rows and all(len(line) <= columns for line in lines), screen
    assert "worker-1" in shown.screens()[-1]
    os.write(shown.master, b"\x03")
    shown.read_until(lambda said: said.endswith("\x1b[?25h\x1b[?1049l"), "the screen to be given back")
    assert shown.said.startswith("\x1b[?1049h\x1b[?25l")
    assert shown.popen.wait(PATIENCE_S) == 0


def test_a_role_dies_and_the_job_ends(training, terminal):
    local, path = training
    shown = terminal("--job", path)
    shown.read_until(lambda said: len(shown.screens()) >= 2, "two tables")
    local.send(signal.SIGTERM)
    local.expect(143)
    shown.read_until(lambda said: "has ended" in said, "that it has ended")
    assert shown.popen.wait(PATIENCE_S) == 0 and "\x1b[?1049l" in shown.said


def test_refusals(top, job, write_job):
    for arguments, code, words in ((["--once"], 2, ["--job", "TF_CONFIG"]), (["--job", "no.json"], 2, ["no.json"]),
                                   (["--set", "a=1"], 2, ["--job"]), (["--job", write_job(job), "1:2"], 2, ["not both"]),
                                   (["--job", write_job(job)], 138, ["no muster local runs in", job["output"]["dir"]])):
        done = top(*arguments)
        assert done.returncode == code and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
        for word in words:
            assert word in done.stderr


def test_two_in_one_directory(training, muster):
    """The second is told of the first, which goes on."""
    local, path = training
    second = muster("local", path)
    second.expect(138)
    assert f"another muster local (pid {local.pid}) runs in" in second.log() and "--set output.dir=" in second.log()
    assert local.is_running()
