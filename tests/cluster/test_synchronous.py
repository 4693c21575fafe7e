"""Synchronous rounds: N workers give the bits of one process that accumulates the same N micro-batches in worker order, over any
number of parameter servers and with any partitioner."""
import itertools
import json
import subprocess

import pytest

import tiny_job
from checkpoint import weights_of

BATCH = 8
EXAMPLES = 600  # of the tiny job's, so that there are several epochs, each with a partial batch and a partial round


@pytest.fixture
def inspect(binary, tmp_path):
    def run(*arguments):
        done = subprocess.run([str(binary), *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return run


def sgd(**config):
    return {"class_name": "SGD", "config": {"learning_rate": 0.05} | config}


def adam(**config):
    return {"class_name": "Adam", "config": {"learning_rate": 0.002} | config}


def with_noise(layers):
    """BatchNormalization and Dropout behind the first Dense."""
    layers[4:4] = [tiny_job.layer("BatchNormalization", {"name": "norm", "momentum": 0.9}),
                   tiny_job.layer("Dropout", {"name": "dropout", "rate": 0.3, "seed": None, "noise_shape": None})]


def plain(layers):
    del layers


def partitioner(class_name, **config):
    return {"class_name": class_name, "config": config}


PARTITIONERS = {"whole": None, "in two": partitioner("FixedShardsPartitioner", num_shards=2),
                "in three": partitioner("FixedShardsPartitioner", num_shards=3),
                "by least size": partitioner("MinSizePartitioner", min_shard_bytes=256, max_shards=5),
                "by most size": partitioner("MaxSizePartitioner", max_shard_bytes=1000)}


@pytest.fixture
def train(muster, inspect, job, write_job, tmp_path):
    """Trains a synchronous job; gives all variables and slots of its last checkpoint, and result.json."""
    counter = itertools.count()

    def run(command, consistency, optimizer, change_model=plain, **keys):
        number = next(counter)
        described = job | keys | {"output": {"dir": str(tmp_path / f"out-{number}"), "keras": False},
                                  "checkpoint": {"dir": str(tmp_path / f"ckpt-{number}")},
                                  "compile": job["compile"] | {"optimizer": optimizer},
                                  "consistency": consistency}
        described["data"] = {"train": job["data"]["train"]}
        if "steps" in keys:
            described.pop("epochs", None)
        path = write_job(described)
        model = tiny_job.model()
        change_model(model["config"]["layers"])
        (tmp_path / "model.json").write_text(json.dumps(model))
        muster(*command, path).expect(0)
        result = json.loads((tmp_path / f"out-{number}" / "result.json").read_text())
        assert result["status"] == "finished"
        return weights_of(inspect, tmp_path, f"ckpt-{number}/model-{result['steps']}"), result
    return run


@pytest.fixture
def small(job, tmp_path):
    """The job on fewer examples, 75 batches an epoch with the last one short."""
    n = EXAMPLES - 3
    images, labels = tiny_job.examples(n, 1)
    (tmp_path / "images.idx").write_bytes(tiny_job.idx((n, tiny_job.SIDE, tiny_job.SIDE), images))
    (tmp_path / "labels.idx").write_bytes(tiny_job.idx((n,), labels))
    job["data"]["train"].update(features=str(tmp_path / "images.idx"), labels=str(tmp_path / "labels.idx"))
    job["batch_size"] = BATCH
    return n


def one_process(n):
    return ("run",), {"staleness": 0, "workers": 1, "accumulate_steps": n}


def cluster_of(workers, ps):
    return ("local", "--workers", str(workers), "--ps", str(ps)), {"staleness": 0}


def differing(weights, others):
    """The tensors that are not the same bits; there must be some that are not all zero."""
    assert weights.keys() == others.keys() and all(map(any, filter(None, weights.values())))  # iterations has no floats
    return [name for name, values in weights.items() if values != others[name]]


OPTIONS = {"adam": (500, adam(), with_noise), "momentum": (100, sgd(momentum=0.9), plain),
           "clipnorm": (100, sgd(momentum=0.9, clipnorm=0.05), plain),
           "global clipnorm": (500, adam(global_clipnorm=0.05), with_noise)}


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("steps, optimizer, change_model", OPTIONS.values(), ids=OPTIONS)
def test_the_bits_of_one_process(train, small, workers, steps, optimizer, change_model):
    del small
    partitioners = list(PARTITIONERS.items())
    expected, alone = train(*one_process(workers), optimizer, change_model, steps=steps, partitioner=None)
    for ps in (1, 2, 3):
        name, cut = partitioners[(workers + 2 * ps) % len(partitioners)]
        weights, result = train(*cluster_of(workers, ps), optimizer, change_model, steps=steps, partitioner=cut)
        assert not differing(weights, expected), f"{workers} workers, {ps} servers, variables {name}"
        assert (result["steps"], result["examples"], result["torn"]) == (steps, alone["examples"], 0)
        assert result["train"] == pytest.approx(alone["train"], rel=1e-9)
    assert len(expected) >= 8 + (4 if change_model is with_noise else 0), expected.keys()


def test_twice_the_same_bits(train, small):
    runs = [train(*cluster_of(3, 2), adam(global_clipnorm=0.05), with_noise, steps=100, partitioner=PARTITIONERS["in two"])[0]
            for _ in range(2)]
    assert not differing(*runs)
    other, _ = train(*cluster_of(3, 2), adam(global_clipnorm=0.05), with_noise, steps=100, seed=2,
                     partitioner=PARTITIONERS["in two"])
    assert differing(runs[0], other), "another seed gives other bits"


@pytest.mark.parametrize("workers", [2, 3])
def test_as_one_large_batch(train, small, workers):
    """Three steps; and without its last worker's share it would be another step."""
    large, _ = train(*one_process(1), sgd(momentum=0.9), steps=3, batch_size=BATCH * workers)
    weights, _ = train(*cluster_of(workers, 2), sgd(momentum=0.9), steps=3)
    less, _ = train(*cluster_of(workers - 1, 2), sgd(momentum=0.9), steps=3)

    def far(one):
        return max(max(abs(a - b) for a, b in zip(values, large[name])) / max(map(abs, large[name]))
                   for name, values in one.items() if any(large[name]))
    assert far(weights) < 1e-6 and far(less) > 1e-3, (far(weights), far(less))


@pytest.mark.threads
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_whole_epochs(train, small, workers):
    """75 batches, the last one short; with two workers the last round of an epoch is one worker's."""
    rounds = -(-75 // workers)
    expected, _ = train(*one_process(workers), adam(), epochs=3)
    weights, result = train(*cluster_of(workers, 2), adam(), epochs=3)
    assert not differing(weights, expected)
    assert (result["steps"], result["examples"]) == (3 * rounds, 3 * small)


def test_accumulating_workers(train, small):
    """Two workers of two batches a round: every example once an epoch, and near one batch of all four."""
    weights, result = train(("local", "--workers", "2", "--ps", "2"), {"staleness": 0, "accumulate_steps": 2}, sgd(), steps=3)
    large, _ = train(*one_process(1), sgd(), steps=3, batch_size=4 * BATCH)
    assert result["examples"] == 3 * 4 * BATCH
    for name, values in large.items():
        assert values == pytest.approx(weights[name], abs=1e-6 * max(map(abs, values), default=0)), name
    _, result = train(("local", "--workers", "2", "--ps", "1"), {"staleness": 0, "accumulate_steps": 2}, sgd(), epochs=2)
    assert (result["steps"], result["examples"]) == (2 * 19, 2 * small)


def test_more_workers_than_a_round_has(cluster, job, write_job):
    job["consistency"] = {"staleness": 0, "workers": 1}
    running = cluster(write_job(job), n_workers=2)
    running.start_all()
    running["worker-1"].expect(2)
    assert "consistency.workers" in running["worker-1"].log()
    for role in running.roles[:-1]:
        running[role].expect(0)
