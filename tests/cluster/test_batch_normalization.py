"""BatchNormalization over a cluster: its averages lie on the parameter servers, and any placing gives the same bits."""
import json
import subprocess

import pytest

import tiny_job
from checkpoint import weights_of

AVERAGES = ["norm/moving_mean", "norm/moving_variance"]


@pytest.fixture
def inspect(binary, tmp_path):
    def run(*arguments):
        done = subprocess.run([str(binary), *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return run


@pytest.fixture
def write_normalized(write_job, tmp_path):
    """The tiny job with a BatchNormalization after its first Dense."""
    def write(job):
        path = write_job(job)
        model = tiny_job.model()
        model["config"]["layers"].insert(4, tiny_job.layer("BatchNormalization", {"name": "norm", "momentum": 0.9}))
        (tmp_path / "model.json").write_text(json.dumps(model))
        return path
    return write


PLACES = {"one process": ("run",), "two servers": ("local", "--workers", "1", "--ps", "2"),
          "five servers": ("local", "--workers", "1", "--ps", "5")}


def train(muster, inspect, write_normalized, tmp_path, job, name, command):
    job["output"]["dir"] = str(tmp_path / name)
    job["checkpoint"]["dir"] = str(tmp_path / f"ckpt-{name}")
    muster(*command, write_normalized(job)).expect(0)
    return weights_of(inspect, tmp_path, f"{name}/model/weights")


def test_any_placing_gives_the_same_bits(muster, inspect, write_normalized, tmp_path, job):
    job["epochs"] = 1
    all_weights = [train(muster, inspect, write_normalized, tmp_path, job, f"run-{i}", command)
                   for i, command in enumerate(PLACES.values())]
    first = all_weights[0]
    for name, initial in zip(AVERAGES, (0.0, 1.0)):
        assert len(first[name]) == 32 and any(value != initial for value in first[name]), name
    for name, weights in zip(PLACES, all_weights):
        assert weights == first, name


def test_averages_are_resumed(muster, inspect, write_normalized, tmp_path, job):
    """With other servers, and a learning rate of 0 from then on: what moves is the averages, from where they were."""
    job["epochs"] = 1
    before = train(muster, inspect, write_normalized, tmp_path, job, "first", PLACES["two servers"])
    job["compile"]["optimizer"]["config"]["learning_rate"] = 0.0
    job["checkpoint"].update(resume=True)
    job.pop("epochs")
    job["steps"] = 126  # one more
    job["output"]["dir"] = str(tmp_path / "second")
    muster(*PLACES["five servers"], write_normalized(job)).expect(0)
    after = weights_of(inspect, tmp_path, "second/model/weights")
    for name in before:
        assert (before[name] == after[name]) == (name not in AVERAGES), name
    for name in AVERAGES:
        assert all(abs(a - b) <= 0.2 * abs(b) + 1.0 for a, b in zip(after[name], before[name])), name


def test_two_workers_learn(muster, inspect, write_normalized, tmp_path, job):
    job["epochs"] = 4
    train(muster, inspect, write_normalized, tmp_path, job, "two", ("local", "--workers", "2", "--ps", "2"))
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert result["eval"]["accuracy"] > 0.9, result
