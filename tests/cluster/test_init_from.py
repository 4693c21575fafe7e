"""init_from: a job begins with the weights of another, unless it has a checkpoint of its own to resume."""
import json
import os
import subprocess

import pytest

from checkpoint import weights_of


@pytest.fixture
def weights(binary, tmp_path):
    """The weights of a bundle below the test's folder."""
    def run(*arguments):
        done = subprocess.run([str(binary), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
        return done.returncode, done.stdout, done.stderr
    return lambda prefix: weights_of(run, tmp_path, prefix)


def still(job):
    """The job with a learning rate of 0: it ends with the weights that it began with."""
    job["compile"]["optimizer"] = {"class_name": "Adam", "config": {"learning_rate": 0.0}}
    return job


@pytest.fixture
def first(job, write_job, muster, weights, tmp_path):
    """A trained job, and its weights."""
    job["epochs"] = 1
    job["output"]["dir"] = str(tmp_path / "first")
    job["checkpoint"]["dir"] = str(tmp_path / "first-ckpt")
    muster("run", write_job(job)).expect(0)
    return weights("first/model/weights")


@pytest.mark.parametrize("source", ["first/model", "first-ckpt", "first-ckpt/model-125", "first/model/weights.index",
                                    "first/model.keras"])
@pytest.mark.parametrize("command", [["run"], ["local", "--workers", "2", "--ps", "2"]], ids=["process", "cluster"])
def test_begins_with_them(first, job, write_job, muster, weights, tmp_path, source, command):
    job["init_from"] = str(tmp_path / source)
    job["output"]["dir"] = str(tmp_path / "second")
    job["checkpoint"]["dir"] = str(tmp_path / "second-ckpt")
    muster(command[0], write_job(still(job)), *command[1:]).expect(0)
    assert weights("second/model/weights") == first
    result = json.loads((tmp_path / "second" / "result.json").read_text())
    assert result["steps"] == 125, "the steps of the other job are not counted"


def test_the_model_of_an_archive(first, job, write_job, muster, weights, tmp_path):
    job["model"] = str(tmp_path / "first" / "model.keras")
    job["output"]["dir"] = str(tmp_path / "second")
    job["checkpoint"]["dir"] = str(tmp_path / "second-ckpt")
    muster("run", write_job(still(job))).expect(0)
    assert weights("second/model/weights") == first


def test_a_checkpoint_to_resume_comes_first(first, job, write_job, muster, tmp_path):
    """Started again, the job goes on from its own checkpoint; what it began with may be gone."""
    job["init_from"] = str(tmp_path / "nowhere")
    job["checkpoint"] = {"dir": str(tmp_path / "first-ckpt"), "resume": True}
    job["epochs"] = 2
    muster("run", write_job(job)).expect(0)
    result = json.loads((tmp_path / "first" / "result.json").read_text())
    assert result["steps"] == 250


@pytest.mark.parametrize("command", [["run"], ["local", "--workers", "1", "--ps", "1"]], ids=["process", "cluster"])
def test_statistics_of_adapt_must_be_there(job, write_job, muster, tmp_path, command):
    """The JSON of an adapted model lacks what it learnt; a layer with its own numbers needs nothing."""
    job["epochs"] = 1
    path = write_job(job)
    model = json.loads((tmp_path / "model.json").read_text())
    config = {"name": "scaled", "axis": None, "invert": False, "mean": None, "variance": None}
    model["config"]["layers"].insert(1, {"module": "keras.layers", "class_name": "Normalization", "config": config})
    (tmp_path / "model.json").write_text(json.dumps(model))
    process = muster(command[0], path, *command[1:])
    process.expect(2)
    for words in ('what the layer "scaled" learnt by adapt()', "model.json", 'save("my.keras")'):
        assert words in process.log()
    config.update(mean=100.0, variance=4000.0)
    (tmp_path / "model.json").write_text(json.dumps(model))
    muster(command[0], path, *command[1:]).expect(0)


def test_no_archive_on_request(job, write_job, muster, tmp_path):
    job["epochs"] = 1
    job["output"]["keras"] = False
    muster("run", write_job(job)).expect(0)
    assert not (tmp_path / "out" / "model.keras").exists()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["keras"] is None and "keras_warning" not in result


def test_the_result_names_the_archive_or_says_why_not(job, write_job, binary, tmp_path):
    job["epochs"] = 1
    path = write_job(job)
    for folder, words in ((None, f"for Keras      {tmp_path}/out/model.keras"), (tmp_path, "warning        no ")):
        environment = dict(os.environ, **({"MUSTER_MODULE_DIR": str(folder)} if folder else {}))
        done = subprocess.run([str(binary), "local", str(path)], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and words in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name, content, words", [
    ("nowhere", None, "nowhere"),
    ("nowhere.keras", None, "nowhere.keras"),
    ("text.keras", b"no zip", "is no `.keras` archive"),
    ("my.weights.h5", b"\x89HDF\r\n\x1a\n", "my.weights.h5 is a file of Keras's weights alone or of an older format: give the archive that model.save"),
    ("model-5.data-00000-of-00001", b"x", "is no archive, no model directory and no checkpoint: give"),
    ("empty", "folder", "has neither a whole checkpoint of a job"),
    ("unreadable", "folder of a folder", "unreadable/checkpoint"),
])
def test_what_cannot_be_read(job, write_job, muster, tmp_path, name, content, words):
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content == "folder of a folder":
        (tmp_path / name / "checkpoint").mkdir(parents=True)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    job["init_from"] = str(tmp_path / name)
    process = muster("run", write_job(job))
    assert process.wait() in (1, 2)
    said = process.log()
    assert "init_from" in said and words in said, said


def test_weights_of_another_model(first, job, write_job, muster, tmp_path):
    job["init_from"] = str(tmp_path / "first" / "model.keras")
    path = write_job(job)
    model = json.loads((tmp_path / "model.json").read_text())
    model["config"]["layers"][3]["config"]["units"] = 7
    model["config"]["layers"][4]["build_config"]["input_shape"] = [None, 7]
    (tmp_path / "model.json").write_text(json.dumps(model))
    process = muster("run", path)
    assert process.wait() == 2
    assert "layers/dense/vars/0 has shape (64, 32), but layer 'dense' of this model needs (64, 7)" in process.log()
