"""The command line: help of every command, what is refused and in which words, what goes to which stream."""
import json
import os
import re
import subprocess

import pytest

COMMANDS = ["local", "run", "config", "eval", "predict"]


@pytest.fixture
def say(binary, tmp_path):
    """Runs `muster …` to its end; gives (exit code, standard output, standard error)."""
    def run(*arguments, **environment):
        clean = {key: value for key, value in os.environ.items() if key not in ("TF_CONFIG", "MUSTER_LOG")}
        clean.update(environment)
        done = subprocess.run([str(binary), *map(str, arguments)], env=clean, cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return run


def expect_sentence(said, code, *words):
    """Nothing on standard output, one sentence on standard error with all of the words, this exit code."""
    got, out, error = said
    assert got == code, error
    assert out == ""
    assert error.startswith("muster: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, f"it does not say {word!r}: {error}"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_a_command(say, command, word):
    code, out, error = say(command, word)
    assert code == 0 and error == ""
    assert out.startswith(f"usage: muster {command} ")
    assert "\noptions:\n" in out and "\nexamples:\n" in out
    assert re.search(rf"^  muster {command}|muster {command} ", out, re.MULTILINE), "no example of its own"
    for line in out.splitlines():
        assert len(line) <= 100, f"longer than a line: {line}"
    assert "--set KEY=VALUE" in out


def test_help_of_all(say):
    for words in (["--help"], ["-h"], ["help"]):
        code, out, error = say(*words)
        assert code == 0 and error == ""
        for command in COMMANDS:
            assert re.search(rf"^  {command} ", out, re.MULTILINE)
    code, out, error = say()
    assert code == 2 and out == "" and error.startswith("usage: muster COMMAND")


def test_version(say):
    code, out, error = say("--version")
    assert code == 0 and re.fullmatch(r"muster \d+\.\d+\.\d+\n", out) and error == ""


@pytest.mark.parametrize("arguments, words", [
    (["loacl"], ["'loacl'", "'local'"]),
    (["conifg"], ["'conifg'", "'config'"]),
    (["xyzzyxyzzy"], ["'xyzzyxyzzy'", "muster --help"]),
    (["--workers"], ["'--workers'"]),
    (["local", "job.json", "--wrokers", "2"], ["--wrokers", "--workers", "muster local --help"]),
    (["local", "job.json", "--max-restart", "2"], ["--max-restart;", "--max-restarts"]),
    (["run", "job.json", "--thread=2"], ["--thread;", "--threads"]),
    (["run", "job.json", "-t", "2"], ["-t;", "two dashes"]),
    (["eval"], ["needs JOB", "'muster eval job.json'"]),
    (["eval", "a.json", "b.json"], ["'b.json'", "one too many"]),
    (["local"], ["JOB"]),
    (["local", "job.json", "--workers", "0"], ["--workers", "'0'", "1 to 1024"]),
    (["local", "job.json", "--ps", "two"], ["--ps", "'two'"]),
    (["local", "job.json", "--workers"], ["--workers needs a value"]),
    (["local", "job.json", "--ps", "1", "--ps", "2"], ["--ps is given twice"]),
    (["local", "job.json", "--http-base-port", "70000"], ["--http-base-port", "65535"]),
    (["run", "job.json", "--progress-fd", "77"], ["descriptor 77 is not open", "--progress-fd 3 3>FILE"]),
    (["run", "job.json", "--http", ""], ["--http", "empty"]),
    (["local", "nowhere.json"], ["nowhere.json"]),
    (["config", "nowhere.json"], ["nowhere.json"]),
    (["config", "--set", "epochs=1"], ["--set epochs=1", "no JOB"]),
    (["eval", "nowhere.json", "--log-level", "loud"], ["loud"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_refusals(say, arguments, words):
    expect_sentence(say(*arguments), 2, *words)


def test_a_bad_log_filter_in_the_environment(say, job, write_job):
    expect_sentence(say("local", write_job(job), MUSTER_LOG="rpc=loud"), 2, "MUSTER_LOG", "rpc=loud")


def test_config(say, job, write_job):
    code, out, error = say("config", write_job(job), "--set", "batch_size=8")
    assert code == 0 and error == ""
    printed = json.loads(out)
    assert printed["role"] == "local" and printed["job"]["batch_size"] == 8
    assert printed["job"]["checkpoint"]["keep"] > 0, "defaults are filled in"


def test_output_that_nobody_reads(binary, job, write_job):
    """A reader that is gone is no crash."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([str(binary), "config", str(write_job(job))], stdout=write_end, stderr=subprocess.PIPE, text=True,
                          timeout=60)
    os.close(write_end)
    assert done.returncode == 138 and "cannot be written" in done.stderr


def test_config_looks_into_model_and_compile(say, job, write_job):
    """What would fail at the start fails here, in the same words; --no-model leaves it out."""
    code, out, error = say("config", write_job(job))
    assert code == 0 and error == ""
    model = json.loads(out)["model"]
    assert model["elements"] == 64 * 32 + 32 + 32 * 4 + 4 and model["metrics"] == ["accuracy"]
    assert {"name": "dense/kernel", "shape": [64, 32]} in model["variables"]
    for key, value in (("loss", "nosuchloss"), ("optimizer", "nosuchoptimizer"), ("metrics", ["nosuchmetric"])):
        broken = dict(job, compile=dict(job["compile"], **{key: value}))
        path = write_job(broken)
        expect_sentence(say("config", path), 2, str(value).strip("[]'"))
        assert say("config", path)[2] == say("local", path)[2]
        assert say("config", path, "--no-model")[0] == 0
    expect_sentence(say("config", write_job(dict(job, model="nowhere.json"))), 2, "nowhere.json")
