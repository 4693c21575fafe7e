"""Frozen layers over a cluster: what the optimizer must not touch stays as it was, wherever it lies, and the rest is trained."""
import json
import pathlib
import subprocess

import pytest

import tiny_job
from checkpoint import weights_of


@pytest.fixture
def inspect(binary, tmp_path):
    def run(*arguments):
        done = subprocess.run([str(binary), *map(str, arguments)], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return run


def freeze(path, *names):
    """Marks layers of the model beside the job as not trainable."""
    model_path = pathlib.Path(path).with_name("model.json")
    model = json.loads(model_path.read_text())
    for layer in model["config"]["layers"]:
        if layer["config"]["name"] in names:
            layer["config"]["trainable"] = False
    model_path.write_text(json.dumps(model))
    return path


def newest(inspect, folder, steps):
    return weights_of(inspect, folder, f"ckpt/model-{steps}")


SHAPES = {"one process": ("run",), "two servers": ("local", "--workers", "1", "--ps", "2"),
          "more servers than parts": ("local", "--workers", "2", "--ps", "5")}


@pytest.mark.parametrize("command", SHAPES.values(), ids=SHAPES)
def test_a_frozen_layer_stays_as_it_was(inspect, muster, job, write_job, tmp_path, command):
    """Adam, so that a slot of what is frozen would show; then the job is resumed, and frozen it stays."""
    job["compile"]["optimizer"] = {"class_name": "Adam", "config": {"weight_decay": 0.1}}
    job["partitioner"] = None
    job.pop("epochs")
    job["steps"] = 1
    muster(*command, freeze(write_job(job), "dense")).expect(0)
    first = newest(inspect, tmp_path, 1)
    assert sorted(first) == sorted(["dense/bias", "dense/kernel", "dense_1/bias", "dense_1/bias/momentum",
                                    "dense_1/bias/velocity", "dense_1/kernel", "dense_1/kernel/momentum",
                                    "dense_1/kernel/velocity", "iterations", "chief_state"])
    job["steps"] = 750
    job["checkpoint"]["resume"] = True
    muster(*command, freeze(write_job(job), "dense")).expect(0)
    last = newest(inspect, tmp_path, 750)
    assert any(first["dense/kernel"]) and first["dense/kernel"] == last["dense/kernel"]
    assert first["dense/bias"] == last["dense/bias"]
    assert first["dense_1/kernel"] != last["dense_1/kernel"]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["eval"]["accuracy"] > 0.9 and result["torn"] == 0, result


def test_a_worker_dies_beside_frozen_buckets(stalled, job, write_job):
    """Progress is what pushed buckets say: a frozen one on every server does not make the dead worker's batches torn."""
    running, _ = stalled(freeze(write_job(job), "dense_1"))
    running["worker-1"].kill()
    for role in running.roles:
        if role != "worker-1":
            running[role].expect(0)
    result = json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())
    assert result["examples"] == 2 * tiny_job.TRAIN_EXAMPLES and result["torn"] <= 2, result


def test_all_frozen_is_refused(muster, job, write_job):
    process = muster("local", freeze(write_job(job), "dense", "dense_1"))
    process.expect(2)
    assert "frozen" in process.log()
