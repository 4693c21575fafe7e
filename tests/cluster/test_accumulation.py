"""consistency.accumulate_steps: several batches make one push, whose gradient is that of one batch of all their examples."""
import json
import pathlib
import random
import subprocess

import pytest

import tiny_job
from checkpoint import weights_of

COMMANDS = {"one process": ("run",), "two servers": ("local", "--workers", "1", "--ps", "2")}


@pytest.fixture
def inspect(binary, tmp_path):
    def run(*arguments):
        done = subprocess.run([str(binary), *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return run


@pytest.fixture
def train(muster, inspect, job, write_job, tmp_path):
    """Trains the job with these keys; gives all variables and slots of its last checkpoint, and result.json."""
    def run(name, command, change_model=lambda layers: None, **keys):
        described = job | keys | {"output": {"dir": str(tmp_path / f"out-{name}")},
                                  "checkpoint": {"dir": str(tmp_path / f"ckpt-{name}")}}
        described.pop("epochs" if "steps" in keys else "steps", None)
        path = write_job(described)
        model = tiny_job.model()
        change_model(model["config"]["layers"])
        (tmp_path / "model.json").write_text(json.dumps(model))
        muster(*command, path).expect(0)
        result = json.loads((tmp_path / f"out-{name}" / "result.json").read_text())
        return weights_of(inspect, tmp_path, f"ckpt-{name}/model-{result['steps']}"), result
    return run


def far(weights, others):
    """How far the furthest element is off, by the largest of its tensor."""
    assert weights.keys() == others.keys()
    return max(max(abs(a - b) for a, b in zip(values, others[name])) / max(map(abs, others[name]))
               for name, values in weights.items() if any(others[name]))


def weigh(job, tmp_path):
    """The tiny job with sample weights from a file, some of them 0, as the divisor of its loss."""
    noise = random.Random(3)
    weights = bytes(noise.choice((0, 1, 2, 5)) for _ in range(tiny_job.TRAIN_EXAMPLES))
    (tmp_path / "weights.idx").write_bytes(tiny_job.idx((tiny_job.TRAIN_EXAMPLES,), weights))
    job["data"]["train"]["sample_weights"] = str(tmp_path / "weights.idx")
    job["compile"]["loss"]["config"]["reduction"] = "mean_with_sample_weight"


@pytest.mark.parametrize("is_weighted", [False, True], ids=["examples", "weights"])
def test_as_one_large_batch(train, job, tmp_path, is_weighted):
    job["compile"]["optimizer"] = {"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.9}}
    if is_weighted:
        weigh(job, tmp_path)
    large, _ = train("large", ("run",), steps=3, batch_size=20)
    small = [train(f"small-{i}", command, steps=3, batch_size=5, consistency={"accumulate_steps": 4})
             for i, command in enumerate(COMMANDS.values())]
    assert small[0][0] == small[1][0], "the placing changes bits"
    assert 0 < far(small[0][0], large) < 1e-6
    assert small[0][1]["examples"] == 60
    single, _ = train("single", ("run",), steps=3, batch_size=5)
    assert far(single, large) > 1e-3, "it is the others of its batches that make the difference"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_end_of_an_epoch(train, command):
    """42 batches, the last of 32 examples: 11 steps an epoch, the last of two batches."""
    _, result = train("tail", command, epochs=2, batch_size=48, consistency={"accumulate_steps": 4})
    assert (result["steps"], result["examples"], result["torn"]) == (22, 2 * tiny_job.TRAIN_EXAMPLES, 0)
    assert result["train"]["accuracy"] > 0.5


def test_clipped_after_the_sum(train, job):
    """One step of rate 1 moves all weights together by the limit, as the mean of the batches is longer."""
    job["compile"]["optimizer"] = {"class_name": "SGD", "config": {"learning_rate": 1.0, "global_clipnorm": 0.05}}
    weights = [train(f"{steps}", ("run",), steps=steps, batch_size=8, consistency={"accumulate_steps": 3})[0]
               for steps in (1, 2)]
    moved = sum((a - b) ** 2 for name in weights[0] if "/" in name for a, b in zip(weights[0][name], weights[1][name]))
    assert moved ** 0.5 == pytest.approx(0.05, rel=1e-3)


def test_averages_are_of_the_mean_statistic(train, job, data):
    """BatchNormalization normalizes each batch by itself; what moves its averages is the mean of the batches' statistics."""
    def normalize(layers):
        layers.insert(3, tiny_job.layer("BatchNormalization", {"name": "norm", "momentum": 0.5}))
    job["data"]["train"]["shuffle"] = False
    weights, _ = train("averages", ("run",), change_model=normalize, steps=1, batch_size=16,
                       consistency={"accumulate_steps": 2})
    content = pathlib.Path(job["data"]["train"]["features"]).read_bytes()[16:]
    n = tiny_job.SIDE ** 2
    rows = [[byte / 255 for byte in content[r * n:(r + 1) * n]] for r in range(32)]
    means = [sum(column) / 32 for column in zip(*rows)]
    variances = [sum(sum((x - sum(half) / 16) ** 2 for x in half) / 16 for half in (column[:16], column[16:])) / 2
                 for column in zip(*rows)]
    assert weights["norm/moving_mean"] == pytest.approx([mean / 2 for mean in means], rel=1e-4)
    assert weights["norm/moving_variance"] == pytest.approx([(1 + variance) / 2 for variance in variances], rel=1e-4)
