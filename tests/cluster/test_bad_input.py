"""What people get wrong: one sentence that names the file, key or layer, the exit code, and nothing half-written."""
import gzip
import json
import pathlib

import pytest
import tiny_job

PERMANENT, CONFIGURATION = 1, 2


def set_key(job, path, value):
    """Sets a.b.c in the job."""
    *folders, last = path.split(".")
    for folder in folders:
        job = job.setdefault(folder, {})
    job[last] = value


def expect_refusal(process, code, *words):
    """It ends with the code and says each of the words, in one sentence without a crash."""
    process.expect(code)
    said = process.log()
    for word in words:
        assert word in said, f"it does not say {word!r}:\n{said}"
    sentences = [line for line in said.splitlines() if line.startswith("muster: ")]
    assert len(sentences) == 1, f"one sentence is expected:\n{said}"
    assert "ssertion" not in said and "Sanitizer" not in said, said


def expect_nothing_written(job):
    output = pathlib.Path(job["output"]["dir"])
    assert not (output / "result.json").exists()
    left = [str(path) for path in output.glob("**/*") if path.is_file() and "logs" not in path.parts]
    assert not left, f"half-written files: {left}"


BAD_KEYS = [
    ("data.train.shufle", True, ["data.train.shufle", "shuffle"]),
    ("batch_size", "64", ["batch_size"]),
    ("batch_size", 0, ["batch_size"]),
    ("batch_size", -1, ["batch_size"]),
    ("epochs", 1.5, ["epochs"]),
    ("compile.optimizer", "Adamm", ["Adamm", "Adam"]),
    ("compile.optimizer", {"class_name": "SGD", "config": {"learning_rate": "fast"}}, ["learning_rate"]),
    ("compile.loss", "hinge_of_doom", ["hinge_of_doom"]),
    ("compile.metrics", ["acuracy"], ["acuracy"]),
    ("data.train.format", "parquet", ["data.train.format", "parquet"]),
    ("partitioner", {"class_name": "MinSize", "config": {}}, ["MinSize"]),
    ("replicas", 1, ["replicas"]),
    ("consistency", {"staleness": -1}, ["staleness"]),
    ("consistency", {"backup_workers": 1}, ["backup_workers"]),
    ("model", "no-such-model.json", ["no-such-model.json"]),
]


@pytest.mark.parametrize("key, value, words", BAD_KEYS, ids=[f"{key}={json.dumps(value)[:30]}" for key, value, _ in BAD_KEYS])
def test_bad_key(muster, job, write_job, key, value, words):
    set_key(job, key, value)
    expect_refusal(muster("run", write_job(job)), CONFIGURATION, *words)
    expect_nothing_written(job)


@pytest.mark.parametrize("text, words", [
    ('{"name": "tiny",\n "model": }', ["job.json:2"]),
    ('{"name": "tiny", "name": "twice"}', ["name", "job.json"]),
    ("", ["job.json"]),
    ("[]", ["job.json"]),
    ("{}", ["job.json", "model"]),
], ids=["syntax", "duplicate", "empty", "array", "nothing in it"])
def test_broken_job_file(muster, tmp_path, text, words):
    path = tmp_path / "job.json"
    path.write_text(text)
    expect_refusal(muster("run", path), CONFIGURATION, *words)


def test_missing_job_file(muster, tmp_path):
    expect_refusal(muster("run", tmp_path / "nowhere.json"), CONFIGURATION, "nowhere.json")


@pytest.mark.parametrize("arguments, words", [
    (["run", "--wrokers", "2", "job.json"], ["--wrokers"]),
    (["trian", "job.json"], ["trian"]),
    (["run"], ["JOB"]),
    (["local", "job.json", "--workers", "-3"], ["--workers", "-3"]),
    (["run", "job.json", "--set", "epochs"], ["epochs"]),
    (["run", "job.json", "--log-level", "rpc=loud"], ["rpc=loud"]),
], ids=["option", "command", "no job", "count", "set", "log level"])
def test_bad_arguments(muster, job, write_job, arguments, words):
    write_job(job)
    expect_refusal(muster(*arguments), CONFIGURATION, *words)


def change_layer(index, **config):
    def change(model):
        model["config"]["layers"][index]["config"].update(config)
    return change


def other_data_shape(model):
    """A model that agrees with itself, but is for other images than the data's."""
    change_layer(0, batch_shape=[None, 9, 9])(model)
    model["config"]["build_input_shape"] = model["build_config"]["input_shape"] = [None, 9, 9]
    for layer in model["config"]["layers"]:
        layer.pop("build_config", None)


def rename_layer(index, class_name):
    def change(model):
        model["config"]["layers"][index]["class_name"] = class_name
    return change


@pytest.mark.parametrize("change, words", [
    (rename_layer(3, "Dens"), ["Dens", "Dense", "dense"]),
    (rename_layer(3, "LSTM"), ["LSTM", "Dense"]),
    (change_layer(3, activation="rleu"), ["rleu", "dense"]),
    (change_layer(3, units=0), ["units", "dense"]),
    (change_layer(3, units="many"), ["units", "dense"]),
    (change_layer(3, kernel_regularizer={"class_name": "Orthogonal", "config": {}}), ["kernel_regularizer", "dense"]),
    (change_layer(0, batch_shape=[None, 9, 9]), ["rescaling", "9, 9", "8, 8"]),
    (other_data_shape, ["9", "train-images.idx"]),
    (lambda model: model.update(class_name="Functional"), ["Functional"]),
], ids=["misspelt layer", "unknown layer", "activation", "no units", "units of text", "regularizer", "built shape", "shape", "Functional"])
def test_bad_model(muster, job, write_job, tmp_path, change, words):
    path = write_job(job)
    model = tiny_job.model()
    change(model)
    (tmp_path / "model.json").write_text(json.dumps(model))
    expect_refusal(muster("run", path), CONFIGURATION, *words)
    expect_nothing_written(job)


IMAGES = tiny_job.idx((tiny_job.TRAIN_EXAMPLES, tiny_job.SIDE, tiny_job.SIDE), bytes(tiny_job.TRAIN_EXAMPLES * tiny_job.SIDE ** 2))
LABELS = tiny_job.idx((tiny_job.TRAIN_EXAMPLES,), bytes(tiny_job.TRAIN_EXAMPLES))
BAD_DATA = {
    "missing": ("features", None),
    "empty": ("features", b""),
    "truncated": ("features", IMAGES[:-100]),
    "wrong magic": ("features", b"PNG\x00" + IMAGES[4:]),
    "another dtype": ("features", IMAGES[:2] + b"\x77" + IMAGES[3:]),
    "hostile dimensions": ("features", IMAGES[:4] + b"\xff" * 12 + IMAGES[16:]),
    "truncated gzip": ("features", gzip.compress(IMAGES)[:-20]),
    "fewer labels": ("labels", tiny_job.idx((5,), bytes(5))),
    "label outside the classes": ("labels", LABELS[:-1] + bytes([tiny_job.CLASSES + 3])),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data(muster, job, write_job, tmp_path, kind):
    key, content = BAD_DATA[kind]
    path = tmp_path / "broken.idx"
    if content is not None:
        path.write_bytes(content)
    job["data"]["train"][key] = str(path)
    process = muster("run", write_job(job))
    expect_refusal(process, PERMANENT, "broken.idx")
    if kind == "label outside the classes":
        assert str(tiny_job.CLASSES + 3) in process.log()
    expect_nothing_written(job)


@pytest.mark.parametrize("tf_config, words", [
    ("{", ["TF_CONFIG"]),
    ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "worker", "index": 0}}', ["worker"]),
    ('{"cluster": {"chief": ["a:1", "b:1"], "worker": ["c:1"], "ps": ["d:1"]}, "task": {"type": "worker", "index": 0}}', ["chief"]),
    ('{"cluster": {"worker": ["c:1"], "ps": ["d:1"]}, "task": {"type": "worker", "index": 7}}', ["7"]),
    ('{"cluster": {"worker": ["c:1"], "ps": ["d:1"]}, "task": {"type": "wroker", "index": 0}}', ["wroker"]),
], ids=["syntax", "own type missing", "two chiefs", "index", "type"])
def test_bad_tf_config(muster, job, write_job, tf_config, words):
    process = muster("run", write_job(job), environment={"TF_CONFIG": tf_config})
    expect_refusal(process, CONFIGURATION, *words)


@pytest.mark.parametrize("command", [["run"], ["local", "--workers", "2", "--ps", "2"]], ids=["run", "local"])
def test_loss_that_is_no_number_stops_the_job(muster, job, write_job, command):
    job["compile"]["optimizer"] = {"class_name": "SGD", "config": {"learning_rate": 1e30}}
    process = muster(*command, write_job(job))
    process.expect(PERMANENT)
    said = process.log()
    assert "step" in said and "dense" in said, f"it does not name step and layer:\n{said}"
    assert not (pathlib.Path(job["output"]["dir"]) / "result.json").exists()


def test_bad_data_ends_a_cluster(muster, job, write_job, tmp_path):
    """The worker that finds it ends with 1 and so does the whole local cluster, which shows why."""
    path = tmp_path / "broken.idx"
    path.write_bytes(LABELS[:-1] + bytes([tiny_job.CLASSES + 3]))
    job["data"]["train"]["labels"] = str(path)
    process = muster("local", write_job(job), "--workers", "2", "--ps", "1")
    process.expect(PERMANENT)
    assert "broken.idx" in process.log()


def test_output_that_cannot_be_written(muster, job, write_job, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    job["output"]["dir"] = str(tmp_path / "file" / "out")
    process = muster("run", write_job(job))
    assert process.wait() != 0
    assert str(tmp_path / "file") in process.log()
