"""muster ckpt: checkpoints listed, shown and checked, whole and damaged."""
import json
import re
import subprocess

import pytest


@pytest.fixture
def say(binary, tmp_path):
    """Runs `muster ckpt …` to its end; gives (exit code, standard output, standard error)."""
    def run(*arguments):
        done = subprocess.run([str(binary), "ckpt", *map(str, arguments)], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return run


@pytest.fixture
def trained(job, write_job, muster, tmp_path):
    """A job that left the checkpoints of steps 50, 100 and 125."""
    job["epochs"] = 1
    job["checkpoint"].update(every_steps=50, keep=5)
    job["compile"]["optimizer"] = {"class_name": "Adam", "config": {}}
    path = write_job(job)
    muster("run", path).expect(0)
    return path


def expect_sentence(said, code, *words):
    got, out, error = said
    assert got == code and out == "", (out, error)
    assert error.startswith("muster: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, f"it does not say {word!r}: {error}"


def prefixes(out):
    return [line.split()[3] for line in out.splitlines()[1:]]


def test_ls(say, trained):
    code, out, error = say("ls", "ckpt")
    assert code == 0 and error == ""
    assert prefixes(out)[-1] == "ckpt/model-125" and len(prefixes(out)) > 1
    steps = [int(prefix.rpartition("-")[2]) for prefix in prefixes(out)]
    assert steps == sorted(steps), "in order of steps, not of digits"
    code, of_job, error = say("ls", trained)
    assert code == 0 and [prefix.rpartition("/")[2] for prefix in prefixes(of_job)] == [f"model-{step}" for step in steps]
    code, out, error = say("ls", "ckpt", "--json")
    rows = json.loads(out)
    assert [row["prefix"] for row in rows] == [f"ckpt/model-{step}" for step in steps]
    assert all(row["whole"] and row["bytes"] > 0 for row in rows)


def test_ls_shows_what_is_not_whole(say, trained, tmp_path):
    data = sorted(tmp_path.glob("ckpt/model-125.data-*"))[0]
    data.write_bytes(data.read_bytes()[:10])
    (tmp_path / "ckpt" / "model-126.index").write_bytes(b"nothing of an index")
    code, out, error = say("ls", "ckpt")
    assert code == 0
    lines = {line.split()[3]: line for line in out.splitlines()[1:]}
    assert "truncated" in lines["ckpt/model-125"] and "not whole" in lines["ckpt/model-126"]
    rows = json.loads(say("ls", "ckpt", "--json")[1])
    assert [row["prefix"] for row in rows if not row["whole"]] == ["ckpt/model-125", "ckpt/model-126"]


def test_inspect(say, trained):
    code, out, error = say("inspect", "ckpt/model-125")
    assert code == 0 and error == ""
    kernel = next(line.split() for line in out.splitlines() if line.endswith(" dense/kernel"))
    assert kernel == ["float32", "(64,", "32)", "2", "8192", "dense/kernel"], "two slices by the job's partitioner"
    assert re.search(r"int64 +\(\) +1 +8  iterations", out)
    slots = {line.split()[-1] for line in out.splitlines() if " dense/kernel/" in line}
    assert len(slots) == 2, f"Adam's two slots: {slots}"
    document = json.loads(say("inspect", "ckpt/model-125.index", "--json")[1])
    assert document["prefix"] == "ckpt/model-125"
    by_name = {tensor["name"]: tensor for tensor in document["tensors"]}
    kernel = by_name["dense/kernel"]
    assert kernel["dtype"] == "float32" and kernel["shape"] == [64, 32] and kernel["partitioned"]
    assert [piece["start"] for piece in kernel["slices"]] == [[0, 0], [32, 0]]
    assert [piece["length"] for piece in kernel["slices"]] == [[32, 32], [32, 32]]
    assert sum(piece["bytes"] for piece in kernel["slices"]) == kernel["bytes"] == 64 * 32 * 4
    assert document["bytes"] == sum(tensor["bytes"] for tensor in document["tensors"])


def test_inspect_of_a_model_directory(say, trained):
    code, out, error = say("inspect", "out/model/weights")
    assert code == 0 and " dense_1/bias" in out and "iterations" not in out
    assert say("verify", "out/model")[0] == 0


def test_verify_whole(say, trained):
    for name in ("ckpt", "ckpt/model-125", "ckpt/model-125.index"):
        code, out, error = say("verify", name)
        assert code == 0 and error == ""
        assert all(": whole, " in line for line in out.splitlines())


def test_verify_names_every_torn_tensor(say, trained, tmp_path):
    """A turned bit in two tensors of one checkpoint: both are named, the other checkpoints are still looked at."""
    document = json.loads(say("inspect", "ckpt/model-125", "--json")[1])
    by_name = {tensor["name"]: tensor for tensor in document["tensors"]}
    for name in ("dense/kernel", "dense_1/bias"):
        piece = by_name[name]["slices"][-1]
        path = next(tmp_path.glob(f"ckpt/model-125.data-{piece['data_file']:05}-of-*"))
        content = bytearray(path.read_bytes())
        content[piece["offset"]] ^= 0x04
        path.write_bytes(content)
    code, out, error = say("verify", "ckpt")
    assert code == 1 and error == ""
    torn = [line for line in out.splitlines() if ": torn: " in line]
    assert len(torn) == 2 and '"dense/kernel"' in torn[0] and '"dense_1/bias"' in torn[1]
    assert all(line.startswith("ckpt/model-125: ") and "checksum" in line for line in torn)
    assert f"ckpt/model-125: 2 of {len(by_name)} tensors are torn" in out
    assert sum(": whole, " in line for line in out.splitlines()) == len(prefixes(say("ls", "ckpt")[1])) - 1


def test_verify_of_missing_data(say, trained, tmp_path):
    sorted(tmp_path.glob("ckpt/model-125.data-*"))[-1].unlink()
    code, out, error = say("verify", "ckpt/model-125")
    assert code == 1 and "not whole" in out and ".data-" in out and error == ""


def test_help(say):
    for arguments in ([], ["ls"], ["inspect"], ["verify"]):
        code, out, error = say(*arguments, "--help")
        assert code == 0 and error == "" and out.startswith("usage: muster ckpt ")
        assert "\noptions:\n" in out and "\nexamples:\n" in out
        assert all(len(line) <= 100 for line in out.splitlines())


@pytest.mark.parametrize("arguments, code, words", [
    ([], 2, ["ls, inspect or verify"]),
    (["insepct", "x"], 2, ["'ckpt insepct'", "'muster ckpt inspect'"]),
    (["ls"], 2, ["DIR|JOB"]),
    (["ls", "nowhere"], 2, ["nowhere"]),
    (["ls", ".", "--jsn"], 2, ["--jsn", "--json"]),
    (["ls", "."], 1, [".index"]),
    (["verify", "nowhere/model-1"], 1, ["nowhere/model-1.index", "prefix", "muster ckpt ls"]),
    (["inspect", "."], 2, ["directory", "muster ckpt ls ."]),
    (["verify", ".", "--json"], 2, ["--json"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_refusals(say, arguments, code, words):
    expect_sentence(say(*arguments), code, *words)
