"""`muster config`: the golden cases by the binary, the ready examples of cluster-specs, and job.schema.json held against
the parser.

The sentences about jobs and the schema's own text are held by tests/unit (test_spec_job, test_spec_job_schema).
"""
import json
import os
import pathlib
import subprocess
import sys

import jsonschema
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden" / "config"))
import config_cases  # noqa: E402

SPECS = ROOT / "cluster-specs"
EXAMPLES = ROOT / "tests" / "golden" / "config" / "examples"
CONFIGURATION = 2
# The binary takes the machine's own host name, so these are the unit test's alone.
CASES = [case for case in config_cases.load() if case.hostname is None]


@pytest.fixture
def config(binary, tmp_path):
    """Runs muster config and gives (exit code, standard output, standard error)."""
    def run(*arguments, tf_config=None, environment=None):
        variables = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
        variables.update(environment or {})
        if tf_config is not None:
            variables["TF_CONFIG"] = tf_config
        ended = subprocess.run([binary, "config", *arguments], env=variables, cwd=tmp_path, capture_output=True, timeout=60,
                               check=False)
        return ended.returncode, ended.stdout.decode(), ended.stderr.decode()
    return run


@pytest.fixture
def parse_job(config, tmp_path):
    """Feeds a job to muster config: (the resolved job or None, what it said)."""
    def parse(job):
        path = tmp_path / "job.json"
        path.write_text(json.dumps(job))
        code, output, said = config("job.json", "--no-model")
        assert (code, bool(output)) in ((0, True), (CONFIGURATION, False)), said
        return (json.loads(output)["job"] if code == 0 else None), said
    return parse


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden_case(config, case):
    flags = [word for flag in case.flags.items() for word in flag]
    code, output, said = config(*flags, tf_config=case.tf_config, environment=case.environment)
    if case.outcome == "prints":
        assert (code, said) == (0, "")
        printed = json.loads(output)
        assert printed.pop("job") is None
        assert json.dumps(printed, separators=(",", ":"), ensure_ascii=False) == case.expected
    else:
        assert (code, output, said) == (CONFIGURATION, "", f"muster: {case.expected}\n")


# How the processes of each example are started: its flags and variables.
STARTS = {
    "localhost": (["--task-type", "worker", "--task-index", "0"], {}),
    "no-chief": ([], {}),
    "master": ([], {}),
    "with-evaluator": ([], {}),
    "statefulset": (["--task-type", "ps", "--task-index-from", "env:POD_INDEX"], {"POD_INDEX": "1"}),
    "jobset": (["--task-type", "worker", "--task-index-from", "env:JOB_COMPLETION_INDEX"], {"JOB_COMPLETION_INDEX": "1"}),
    "tfjob": ([], {}),
    "tfjob-evaluator": ([], {}),
    "tfjob-dynamic-worker": ([], {}),
    "tfjob-dynamic-ps": ([], {}),
    "sparse-cluster": ([], {}),
    "volcano": ([], {}),
}


@pytest.mark.parametrize("name", STARTS)
def test_example(config, name):
    flags, environment = STARTS[name]
    tf_config = (SPECS / "tf-config" / f"{name}.json").read_text()
    code, output, said = config(*flags, tf_config=tf_config, environment=environment)
    assert (code, said) == (0, "")
    assert output == (EXAMPLES / f"{name}.json").read_text()


def test_every_example_is_tested_and_described():
    names = {path.stem for path in (SPECS / "tf-config").iterdir()}
    assert names == set(STARTS) == {path.stem for path in EXAMPLES.iterdir()}
    readme = (SPECS / "README.md").read_text()
    missing = {name for name in names - {"tfjob-dynamic-ps"} if f"`{name}.json`" not in readme}
    assert not missing


SCHEMA = json.loads((SPECS / "job.schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
MINIMAL = {"name": "tiny", "model": "model.json", "compile": {"optimizer": "sgd", "loss": "mse"},
           "data": {"train": {"features": "x.idx", "labels": "y.idx"}}}


def with_key(path, value):
    """The minimal job with a.b.c set."""
    job = json.loads(json.dumps(MINIMAL))
    *folders, last = path.split(".")
    place = job
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    return job


def without_key(path):
    job = with_key(path, None)
    *folders, last = path.split(".")
    place = job
    for folder in folders:
        place = place[folder]
    del place[last]
    return job


def test_schema_is_a_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def keys_of_schema(schema, at=""):
    """{path: schema} of every key below."""
    found = {}
    for name, key in schema.get("properties", {}).items():
        found[at + name] = key
        if key.get("additionalProperties") is False:
            found.update(keys_of_schema(key, f"{at}{name}."))
    return found


def keys_of_job(job, known, at=""):
    found = {}
    for name, value in job.items():
        found[at + name] = value
        if isinstance(value, dict) and known.get(at + name, {}).get("additionalProperties") is False:
            found.update(keys_of_job(value, known, f"{at}{name}."))
    return found


def test_schema_and_parser_have_the_same_keys_and_defaults(parse_job, tmp_path):
    known = keys_of_schema(SCHEMA)
    job = with_key("data.eval", {"features": "x.idx", "labels": "y.idx"})
    job["partitioner"] = {"class_name": "MinSizePartitioner"}
    resolved, said = parse_job(job)
    assert resolved, said
    printed = keys_of_job(resolved, known)
    not_given = {f"data.{which}.{key}" for which in ("train", "eval")
                 for key in ("sample_weights", "label", "sample_weight", "columns", "inputs", "header", "missing", "separator",
                             "categories")}
    assert set(printed) == set(known) - not_given
    for which in ("train", "eval"):
        resolved, said = parse_job(with_key(f"data.{which}", {"format": "csv", "features": "x.csv", "label": "y"}))
        assert resolved, said
        assert set(resolved["data"][which]) == {"format", "features", "label", "header", "missing", "separator", "shuffle"}
    given = {"data.eval", "partitioner", "partitioner.config"}
    for path, key in known.items():
        if "default" in key and path not in given:
            wanted = key["default"]
            if path == "output.dir":
                wanted = str(tmp_path / "run")
            if path == "checkpoint.dir":
                wanted = str(tmp_path / "run" / "ckpt")
            assert printed[path] == wanted, path
    for case in known["partitioner"]["allOf"]:
        name = case["if"]["properties"]["class_name"]["const"]
        config = case["then"]["properties"]["config"]
        needed = {key: 7 for key in config.get("required", [])}
        resolved, said = parse_job(with_key("partitioner", {"class_name": name, "config": needed}))
        assert resolved, said
        wanted = {key: described["default"] for key, described in config["properties"].items() if "default" in described}
        assert resolved["partitioner"]["config"] == {**needed, **wanted}


def test_a_printed_job_is_a_job(parse_job):
    """What muster config prints is valid, and printed again it is the same."""
    resolved, said = parse_job(with_key("compile.optimizer", {"class_name": "Adam", "config": {"learning_rate": 0.1, "epsilon": 1e-7}}))
    assert resolved, said
    VALIDATOR.validate(resolved)
    assert parse_job(resolved)[0] == resolved


def test_the_example_job_is_valid(config):
    path = ROOT / "examples" / "fashion-mnist" / "job.json"
    VALIDATOR.validate(json.loads(path.read_text()))
    code, _, said = config(path)
    assert code == 0, said


ACCEPTED = [
    ("name", "x" * 200), ("name", "two words"), ("data.train.shuffle", False), ("data.train.format", "idx"), ("data.eval", None),
    ("data.eval", {"features": "f", "labels": "l", "shuffle": False}), ("batch_size", 1), ("batch_size", 1048576),
    ("batch_size", 64.0), ("epochs", 1000000), ("steps", 1), ("steps", None), ("seed", 2**63 - 1), ("consistency", {}),
    ("consistency.staleness", "async"), ("consistency.staleness", 0), ("consistency.staleness", 1), ("consistency.staleness", 1000000), ("consistency.backup_workers", 0), ("consistency.backup_workers", 0.0),
    ("consistency.workers", None), ("partitioner", None), ("partitioner", {"class_name": "MinSizePartitioner"}),
    ("partitioner", {"class_name": "FixedShardsPartitioner", "config": {"num_shards": 2}}),
    ("partitioner", {"class_name": "MaxSizePartitioner", "config": {"max_shard_bytes": 1000, "max_shards": 0}}),
    ("data.train", {"format": "csv", "features": "f.csv", "label": "y"}),
    ("data.eval", {"format": "csv", "features": "f.csv.gz", "label": 3, "header": False, "missing": -1.5}),
    ("data.eval", {"features": {"a": "f", "b": "g"}, "labels": {"y": "l"}, "sample_weights": "w"}),
    ("data.eval", {"format": "csv", "features": "f", "label": {"y": ["a", 1]}, "inputs": {"a": ["b", 2]}, "sample_weight": 3}),
    ("data.eval", {"format": "csv", "features": "f", "label": ["a", "b"], "columns": [1], "separator": "tab"}),
    ("replicas", 0), ("replicas", 2), ("checkpoint.dir", None), ("checkpoint.dir", "/ckpt"), ("checkpoint.every_steps", 1),
    ("checkpoint.every_seconds", 1.5), ("checkpoint.keep", 1), ("checkpoint.max_bytes_per_second", 1), ("checkpoint.resume", True), ("checkpoint.local", False), ("checkpoint.local", True),
    ("callbacks", []), ("callbacks", [{"class_name": "TerminateOnNaN"}]),
    ("callbacks", [{"class_name": "EarlyStopping", "config": {"patience": 0, "baseline": None, "mode": "max"}}]),
    ("callbacks", [{"class_name": "CSVLogger", "config": {"filename": "f", "separator": ";", "append": True}}]),
    ("class_weight", None), ("class_weight", {"0": 1, "7": 2.5}), ("eval.every", None), ("eval.every", "epoch"), ("eval.every", 100), ("eval.final_timeout", 0), ("cluster.heartbeat_ms", 10), ("cluster.lease_ms", 600000),
    ("output.dir", "."), ("compile.metrics", ["accuracy"]), ("compile.anything", {"of": ["Keras"]}),
]
REFUSED = [
    ("name", ""), ("name", "x" * 201), ("name", 7), ("name", None), ("model", None), ("model", ""), ("compile", []), ("compile", {}),
    ("compile.loss", None), ("compile.optimizer", None), ("data", []), ("data.train", None), ("data.eval", {}), ("data.eval", False),
    ("data.train", {"format": "csv", "features": "f.csv"}), ("data.train", {"features": "f", "labels": "l", "label": "y"}),
    ("data.train", {"format": "csv", "features": "f.csv", "label": 0, "labels": "l"}), ("data.train.header", True),
    ("data.eval", {"format": "csv", "features": {"a": "f"}, "label": 1}), ("data.train.sample_weight", "w"),
    ("data.eval", {"format": "csv", "features": "f", "label": 1, "columns": [1], "inputs": {"a": 1}}),
    ("data.eval", {"format": "csv", "features": "f", "label": 1, "separator": ":"}),
    ("data.eval", {"format": "csv", "features": "f.csv", "label": -1}), ("data.eval", {"features": "f"}),
    ("data.test", {}), ("data.train.format", "csv"), ("data.train.format", "parquet"), ("data.train.features", None),
    ("data.train.shufle", True), ("data.train.shuffle", 1), ("data.eval", {"features": "f", "labels": "l", "shuffle": True}),
    ("batch_size", 0), ("batch_size", 1048577), ("batch_size", "64"), ("batch_size", 64.5), ("batch_size", True),
    ("batch_size", None), ("epochs", 0), ("epochs", 1.5), ("epochs", None), ("steps", 0), ("steps", "all"), ("seed", -1),
    ("seed", None), ("consistency", None), ("consistency.staleness", -1), ("consistency.staleness", 1.5),
    ("consistency.staleness", "sync"), ("consistency.backup_workers", -1), ("consistency.workers", 0),
    ("consistency.accumulate_steps", 0), ("consistency.accumulate_steps", 65537), ("partitioner", {}), ("partitioner", "MinSizePartitioner"),
    ("partitioner", {"class_name": "MinSize"}), ("partitioner", {"class_name": "FixedShardsPartitioner"}),
    ("partitioner", {"class_name": "FixedShardsPartitioner", "config": {"num_shards": 0}}),
    ("partitioner", {"class_name": "FixedShardsPartitioner", "config": {"num_shards": 2, "max_shards": 2}}),
    ("partitioner", {"class_name": "MinSizePartitioner", "config": {"max_shards": 0}}),
    ("partitioner", {"class_name": "MinSizePartitioner", "config": None}),
    ("partitioner", {"class_name": "MaxSizePartitioner", "config": {}}),
    ("partitioner", {"class_name": "MaxSizePartitioner", "config": {"max_shard_bytes": 0}}),
    ("partitioner", {"class_name": "MinSizePartitioner", "name": "p"}), ("replicas", 3), ("replicas", -1), ("replicas", None), ("replicas", False),
    ("checkpoint", None), ("checkpoint.dir", ""), ("checkpoint.every_steps", 0), ("checkpoint.every_seconds", 0.5),
    ("checkpoint.keep", 0), ("checkpoint.resume", "yes"), ("checkpoint.local", "yes"), ("checkpoint.max_bytes_per_second", 0),
    ("eval.every", "step"), ("eval.every", 0), ("eval.final_timeout", -1), ("eval.final_timeout", None),
    ("cluster.heartbeat_ms", 9), ("cluster.heartbeat_ms", 60001), ("cluster.lease_ms", 49), ("output", "run"), ("output.dir", None),
    ("output.directory", "run"), ("init_from", 1), ("output.keras", "yes"), ("callbacks", {}), ("callbacks", [1]), ("callbacks", [{}]),
    ("callbacks", [{"class_name": "TensorBoard"}]), ("callbacks", [{"class_name": "CSVLogger"}]),
    ("callbacks", [{"class_name": "EarlyStopping", "config": {"patience": -1}}]),
    ("callbacks", [{"class_name": "EarlyStopping", "config": {"mode": "least"}}]), ("class_weight", [1.0]), ("security", {}),
    ("batchsize", 64), ("Name", "x"),
]


def name_of(entry):
    return f"{entry[0]}={json.dumps(entry[1])[:40]}"


@pytest.mark.parametrize("path, value", ACCEPTED, ids=map(name_of, ACCEPTED))
def test_both_accept(parse_job, path, value):
    job = with_key(path, value)
    VALIDATOR.validate(job)
    resolved, said = parse_job(job)
    assert resolved, said


@pytest.mark.parametrize("path, value", REFUSED, ids=map(name_of, REFUSED))
def test_both_refuse(parse_job, path, value):
    job = with_key(path, value)
    assert not VALIDATOR.is_valid(job)
    resolved, said = parse_job(job)
    assert resolved is None
    assert path.split(".")[0] in said and said.startswith("muster: job.json"), said


@pytest.mark.parametrize("path", ["name", "model", "compile", "compile.optimizer", "compile.loss", "data", "data.train",
                                  "data.train.features", "data.train.labels"])
def test_both_want(parse_job, path):
    job = without_key(path)
    assert not VALIDATOR.is_valid(job)
    resolved, said = parse_job(job)
    assert resolved is None and path in said, said


@pytest.mark.parametrize("pair, is_right", [({"epochs": 2, "steps": 5}, False), ({"epochs": 2, "steps": None}, True),
                                            ({"epochs": None, "steps": 5}, True), ({"epochs": None, "steps": None}, False),
                                            ({"epochs": None}, False), ({"steps": 5}, True), ({"steps": None}, True)],
                         ids=json.dumps)
def test_epochs_or_steps(parse_job, pair, is_right):
    job = {**MINIMAL, **pair}
    assert VALIDATOR.is_valid(job) == is_right
    assert (parse_job(job)[0] is not None) == is_right


@pytest.mark.parametrize("job", [[], None, 7, "job", True], ids=json.dumps)
def test_both_want_an_object(parse_job, job):
    assert not VALIDATOR.is_valid(job)
    assert "must be a JSON object" in parse_job(job)[1]


def test_sets_are_shown(config, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "job.json").write_text(json.dumps(MINIMAL))
    code, output, said = config("folder/job.json", "--no-model", "--set", "steps=100", "--set", "output.dir=out", "--set", "name=a=b")
    assert code == 0, said
    job = json.loads(output)["job"]
    assert (job["steps"], job["epochs"], job["name"]) == (100, None, "a=b")
    assert job["output"]["dir"] == str(tmp_path / "out")
    assert job["checkpoint"]["dir"] == str(tmp_path / "out" / "ckpt")
    assert job["model"] == str(tmp_path / "folder" / "model.json")


@pytest.mark.parametrize("arguments, sentence", [
    (["nowhere.json"], "nowhere.json: cannot be opened: No such file or directory"),
    ([".", ], ".: cannot be read: Is a directory"),
    (["--set", "name=x"], "--set name=x changes a job, but no JOB is given"),
    (["--task-typ", "ps"], "unknown option --task-typ; did you mean --task-type? ('muster config --help')"),
    (["--task-type", "ps", "--task-type", "worker"], "--task-type is given twice; give it once"),
    (["a.json", "b.json"], "muster config takes one [JOB]; 'b.json' is one too many"),
], ids=["no file", "folder", "set without a job", "misspelt", "twice", "two jobs"])
def test_wrong_arguments(config, arguments, sentence):
    assert config(*arguments) == (CONFIGURATION, "", f"muster: {sentence}\n")


def test_output_that_cannot_be_written(binary):
    with open("/dev/full", "w") as full:
        ended = subprocess.run([binary, "config"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert ended.returncode == 138
    assert ended.stderr.decode() == "muster: the configuration cannot be written: No space left on device\n"
