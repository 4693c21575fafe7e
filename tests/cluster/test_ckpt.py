"""muster ckpt: checkpoints listed, shown, checked, rewritten and compared, whole and damaged."""
import json
import re
import subprocess

import pytest

import checkpoint


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
    """A job that left the checkpoints of steps 60 and 125, and perhaps others between them."""
    job["epochs"] = 1
    job["checkpoint"].update(every_steps=50, keep=5)
    job["compile"]["optimizer"] = {"class_name": "Adam", "config": {}}
    path = write_job(job)
    muster("run", path, "--set", "epochs=null", "--set", "steps=60").expect(0)
    muster("run", path, "--set", "checkpoint.resume=true").expect(0)
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
    for arguments in ([], ["ls"], ["inspect"], ["verify"], ["reshard"], ["diff"]):
        code, out, error = say(*arguments, "--help")
        assert code == 0 and error == "" and out.startswith("usage: muster ckpt ")
        assert "\noptions:\n" in out and "\nexamples:\n" in out
        assert all(len(line) <= 100 for line in out.splitlines())


@pytest.mark.parametrize("arguments, code, words", [
    ([], 2, ["ls, inspect, verify, reshard or diff"]),
    (["insepct", "x"], 2, ["'ckpt insepct'", "'muster ckpt inspect'"]),
    (["ls"], 2, ["DIR|JOB"]),
    (["ls", "nowhere"], 2, ["nowhere"]),
    (["ls", ".", "--jsn"], 2, ["--jsn", "--json"]),
    (["ls", "."], 1, [".index"]),
    (["verify", "nowhere/model-1"], 1, ["nowhere/model-1.index", "prefix", "muster ckpt ls"]),
    (["inspect", "."], 2, ["directory", "muster ckpt ls ."]),
    (["verify", ".", "--json"], 2, ["--json"]),
    (["diff"], 2, ["PREFIX|DIR PREFIX|DIR", "muster ckpt diff run/ckpt"]),
    (["diff", "a"], 2, ["two checkpoints", "1 came"]),
    (["diff", "a", "b"], 1, ["a.index is not there"]),
    (["diff", "a", "b", "--tolerance", "-1"], 2, ["--tolerance", "'-1'", "1e-6"]),
    (["reshard", "a", "b", "c"], 2, ["two operands", "3 came"]),
    (["reshard", "a", "b"], 1, ["a.index is not there"]),
    (["reshard", "a", "b", "--shards", "0"], 2, ["--shards", "1 to 512"]),
    (["reshard", "a", "b", "--partitioner", "fixed"], 2, ["--partitioner", "'fixed'", "fixed:SHARDS"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_refusals(say, arguments, code, words):
    expect_sentence(say(*arguments), code, *words)


def test_reshard_keeps_every_bit(say, trained, tmp_path):
    """One data file and whole tensors, then many and wide cuts: the same values, by what diff says and by the bytes."""
    code, out, error = say("reshard", "ckpt", "whole/", "--shards", "1", "--partitioner", "none")
    assert code == 0 and error == "" and out.startswith("whole/model-125: ") and "in 1 data files; 0 of them in 0 slices" in out
    document = json.loads(say("inspect", "whole/model-125", "--json")[1])
    assert document["data_files"] == 1 and not any(tensor["partitioned"] for tensor in document["tensors"])
    code, out, error = say("reshard", "whole/model-125.index", "wide/again", "--shards=5", "--partitioner", "min-size:512:3")
    assert code == 0 and error == "", error
    by_name = {tensor["name"]: tensor for tensor in json.loads(say("inspect", "wide/again", "--json")[1])["tensors"]}
    assert len(by_name["dense/kernel"]["slices"]) == 3 and len(by_name["dense/bias"]["slices"]) == 1
    for prefix in ("whole", "whole/model-125", "wide/again"):
        code, out, error = say("diff", "ckpt/model-125", prefix)
        assert code == 0 and error == "" and out.endswith("\nequal\n")
        assert say("verify", prefix)[0] == 0
    run = lambda *arguments: say(*arguments[1:])  # noqa: E731
    assert checkpoint.weights_of(run, tmp_path, "ckpt/model-125") == checkpoint.weights_of(run, tmp_path, "wide/again")
    assert (tmp_path / "whole" / "checkpoint").read_text().startswith('model_checkpoint_path: "model-125"\n')
    assert not list(tmp_path.glob("**/*.tmp"))


def test_training_goes_on_from_a_resharded_checkpoint(say, trained, job, write_job, muster, tmp_path):
    assert say("reshard", "ckpt", "other/", "--shards", "3", "--partitioner", "fixed:4")[0] == 0
    job["checkpoint"].update(dir=str(tmp_path / "other"), resume=True)
    job["epochs"] = 2
    process = muster("run", write_job(job))
    process.expect(0)
    assert "chief: resuming prefix=" in process.log() and "steps=125" in process.log()


def test_diff(say, trained, tmp_path):
    older = prefixes(say("ls", "ckpt")[1])[-2]
    step = int(older.rpartition("-")[2])
    code, out, error = say("diff", older, "ckpt")
    assert code == 1 and error == ""
    lines = out.splitlines()
    assert lines[0].startswith(f"a: {older}, ") and lines[1].startswith("b: ckpt/model-125, ")
    kernel = next(line for line in lines if line.startswith("dense/kernel: "))
    assert re.match(r"dense/kernel: \d+ of 2048 elements differ, the first at \(\d+, \d+\): \S+ and \S+; at most \S+, relative "
                    r"\S+$", kernel), kernel
    assert f"iterations: 1 of 1 elements differ, the first at (): {step} and 125; at most {125 - step}, relative " in out
    document = json.loads(say("diff", older, "ckpt", "--json")[1])
    iterations = next(row for row in document["differences"] if row["tensor"] == "iterations")
    assert document["equal"] is False and iterations == {
        "tensor": "iterations", "difference": "values", "elements": 1, "different": 1, "first": [], "a": str(step),
        "b": "125", "max_absolute": 125.0 - step, "max_relative": (125 - step) / 125}
    assert say("diff", older, "ckpt", "--tolerance", "1")[0] == 0
    assert say("diff", older, "ckpt", "--tolerance", "1e-9")[0] == 1


def test_diff_of_runs_that_went_otherwise(say, job, write_job, muster, tmp_path):
    """A cluster and one process: the chief's notes differ, what was trained does not."""
    for name, command, consistency in [("cluster", ["local", "--workers", "2", "--ps", "2"], {"staleness": 0}),
                                       ("one", ["run"], {"staleness": 0, "accumulate_steps": 2})]:
        job.update(consistency=consistency, epochs=1)
        job["checkpoint"]["dir"] = str(tmp_path / name)
        muster(command[0], write_job(job), *command[1:]).expect(0)
    names = [tensor["name"] for tensor in json.loads(say("inspect", "one/model-63", "--json")[1])["tensors"]]
    assert "rounds" in names and "chief_state" in names
    code, out, error = say("diff", "cluster", "one")
    assert code == 0 and out.splitlines()[-1] == "equal" and error == "", out


def test_diff_of_other_models(say, trained, job, write_job, muster, tmp_path):
    """Another optimizer has other slots, another model other shapes; a model directory has only weights."""
    code, out, error = say("diff", "ckpt", "out/model", "--json")
    document = json.loads(out)
    assert code == 1 and error == ""
    slots = {row["tensor"]: row["difference"] for row in document["differences"]}
    assert slots["iterations"] == "only in a" and "dense/kernel" not in slots and set(slots.values()) == {"only in a"}
    described = json.loads((tmp_path / "model.json").read_text())
    described["config"]["layers"][3]["config"]["units"] = 16
    described["config"]["layers"][4]["build_config"]["input_shape"] = [None, 16]
    (tmp_path / "model.json").write_text(json.dumps(described))
    job["checkpoint"] = {"dir": str(tmp_path / "narrow")}
    path = tmp_path / "narrow.json"
    path.write_text(json.dumps(job))
    muster("run", path).expect(0)
    code, out, error = say("diff", "ckpt", "narrow")
    assert code == 1 and "dense/kernel: float32 (64, 32) and float32 (64, 16)" in out.splitlines()


def test_the_newest_whole_one_of_a_directory(say, trained, tmp_path):
    *_, older, _ = listed = prefixes(say("ls", "ckpt")[1])
    sorted(tmp_path.glob("ckpt/model-125.data-*"))[0].unlink()
    code, out, error = say("diff", "ckpt", older)
    assert code == 0 and out.startswith(f"a: {older}, ")
    assert error.startswith("muster: ckpt/model-125 is passed over: cannot open ") and ".data-" in error
    for path in tmp_path.glob("ckpt/*.index"):
        path.write_bytes(b"nothing of an index")
    code, out, error = say("reshard", "ckpt", "other/")
    assert code == 1 and error.splitlines()[-1] == f"muster: ckpt has {len(listed)} checkpoints, and none is whole"
    assert not (tmp_path / "other").exists()


def test_a_turned_bit_is_not_resharded(say, trained, tmp_path):
    path = max(tmp_path.glob("ckpt/model-125.data-*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    expect_sentence(say("reshard", "ckpt", "other/"), 1, path.name, "checksum")
    assert not list(tmp_path.glob("other/*"))
    expect_sentence(say("diff", "ckpt", "out/model"), 1, path.name, "checksum")
