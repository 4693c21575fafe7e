"""`--log=json`: every line of a run is one object, whatever the run goes through and whatever strangers send."""
import json
import os
import pathlib
import pty
import signal
import socket
import subprocess

import pytest
from processes import children_of, until

KEYS = ["time", "level", "event", "role", "index", "component", "fields"]


def events_of(text):
    """The events of a log; fails at a line that is none."""
    found = []
    for line in text.splitlines():
        event = json.loads(line)
        assert list(event) == KEYS, line
        assert event["level"] in ("error", "warn", "info", "debug") and isinstance(event["fields"], dict)
        found.append(event)
    return found


def logs_of(job):
    return {path.stem: path.read_text() for path in pathlib.Path(job["output"]["dir"]).glob("logs/*.log")}


def test_a_whole_run(binary, job, write_job, tmp_path):
    """Standard error holds the lines of all processes as they wrote them, and our own; standard output the result."""
    done = subprocess.run([binary, "local", write_job(job), "--workers", "2", "--ps", "2", "--log=json"], timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = events_of(done.stderr)
    printed = done.stderr.splitlines()
    for role, log in logs_of(job).items():
        events_of(log)
        assert log.splitlines() == [line for line in printed if line in set(log.splitlines())], f"{role}: not all, or in another order"
    assert {(one["role"], one["index"]) for one in events} >= {("local", None), ("chief", 0), ("ps", 1), ("worker", 1)}
    finished = [one for one in events if one["event"] == "job finished"]
    assert len(finished) == 1 and finished[0]["fields"]["steps"] == 250
    assert any(one["event"] == "progress" and one["fields"]["step"] == 250 for one in events)
    assert "finished: 250 steps" in done.stdout


def test_a_terminal_gets_no_progress_line(binary, job, write_job, tmp_path):
    parent, child = pty.openpty()
    process = subprocess.Popen([binary, "local", write_job(job), "--log=json"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=child, cwd=tmp_path, env=dict(os.environ, TERM="xterm"))
    os.close(child)
    said = b""
    while True:
        try:
            said += os.read(parent, 65536)
        except OSError:
            break
    assert process.wait() == 0 and b"\x1b" not in said
    events_of(said.decode().replace("\r\n", "\n"))


def test_a_death_and_its_reason(muster, job, write_job):
    """A worker is killed and started again; then a parameter server is killed more often than it is started again."""
    job["epochs"] = 100000
    job["checkpoint"]["every_steps"] = 100
    local = muster("local", write_job(job), "--workers", "2", "--ps", "1", "--log=json", "--max-restarts", "1")
    until(lambda: "checkpoint written" in local.log(), "a checkpoint")

    def pid_of(role):
        for pid in children_of(local.pid):
            if f'"type":"{role}"'.encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes().replace(b" ", b""):
                return pid
    os.kill(pid_of("worker"), signal.SIGKILL)
    until(lambda: "started again" in local.log() and '"number":2' in local.log(), "the worker to be there again")
    os.kill(pid_of("ps"), signal.SIGKILL)
    until(lambda: "parameter server restored" in local.log(), "the parameter server to be there again")
    os.kill(pid_of("ps"), signal.SIGKILL)
    local.expect(138)
    events = events_of(local.log())
    failed = [one for one in events if one["event"] == "job failed" and one["component"] == "local"]
    assert len(failed) == 1 and failed[0]["fields"]["process"] == "ps-0" and "killed by signal 9" in failed[0]["fields"]["reason"]
    assert any("last checkpoint" in one["fields"].get("text", "") for one in events)


@pytest.mark.parametrize("name", ['quo"ted \\ and more', "[31mred[0m", "ümläut € 😀"])
def test_names_of_every_kind(binary, job, write_job, tmp_path, name):
    job["name"] = name
    job["epochs"] = 1
    done = subprocess.run([binary, "local", write_job(job), "--log=json"], timeout=120, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode == 0
    started = events_of(done.stderr.decode())[0]
    assert started["event"] == "said" and started["fields"]["text"].startswith(name + ": chief")


def test_strange_bytes_at_a_port(cluster, job, write_job):
    made = cluster(write_job(job), n_workers=1, n_ps=1)
    made.start("ps-0", ("--log=json", "--log-level", "all=debug"))
    made["ps-0"].wait_log('"event":"listening"')
    with socket.create_connection(("127.0.0.1", made.ports["ps-0"].number)) as stranger:
        stranger.sendall(b'\xff\xfe"}\n{"event":"forged"}\n' + bytes(range(256)))
        stranger.settimeout(30)
        while stranger.recv(4096):
            pass
    made["ps-0"].wait_log("connection refused")
    made["ps-0"].send(signal.SIGTERM)
    made["ps-0"].expect(143)
    names = [one["event"] for one in events_of(made["ps-0"].log())]
    assert "forged" not in names and "told to stop" in names


def test_failures_of_a_command(binary, job, write_job, tmp_path):
    """The last line is why it ended; bytes of a file name that are no UTF-8 become U+FFFD."""
    path = os.fsencode(tmp_path) + b"/no\xffwhere.json"
    for command in ("run", "local", "eval"):
        done = subprocess.run([binary, command, path, "--log=json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        events = events_of(done.stderr.decode())
        assert done.returncode == 2 and done.stdout == b"" and events[-1]["event"] == "ended"
        assert events[-1]["fields"]["exit_code"] == 2 and "no\ufffdwhere.json" in events[-1]["fields"]["reason"]
    done = subprocess.run([binary, "run", write_job(job), "--log", "xml"], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr == "muster: --log: 'xml' is no form of log lines; there are text and json\n"
