"""A model of two outputs over a cluster: losses, their weights, metrics and sample weights, in numbers that one process
would give."""
import json
import pathlib
import random
import re

import pytest
import tiny_job

CENTRES = [(0.0, 0.0, 3.0), (3.0, 0.0, 0.0), (0.0, 3.0, 0.0)]
N_TRAIN, N_EVAL = 1200, 320


def rows(n, seed):
    """Features, kind, size and weight of an example; some weigh nothing."""
    noise = random.Random(seed)
    made = []
    for _ in range(n):
        kind = noise.randrange(len(CENTRES))
        features = [round(at + noise.uniform(-1.5, 1.5), 3) for at in CENTRES[kind]]
        made.append((*features, kind, round(0.5 * sum(features) + noise.uniform(-0.2, 0.2), 3),
                     noise.choice((0, 0.5, 1, 2.5))))
    return made


def write_csv(path, made):
    path.write_text("a,b,c,kind,size,weight\n" + "".join(",".join(map(str, row)) + "\n" for row in made))


def model():
    """Two outputs on one trunk, as Keras 3 serialises a Functional."""
    def call(source, units):
        return [{"args": [{"class_name": "__keras_tensor__", "config": {"shape": [None, units], "dtype": "float32",
                                                                      "keras_history": [source, 0, 0]}}], "kwargs": {}}]
    layers = [tiny_job.layer("InputLayer", {"batch_shape": [None, 3], "dtype": "float32", "sparse": False, "name": "x"}),
              tiny_job.dense("trunk", 8, "relu", 3), tiny_job.dense("kind", len(CENTRES), "softmax", 8),
              tiny_job.dense("size", 1, "linear", 8)]
    for layer, inbound in zip(layers, ([], call("x", 3), call("trunk", 8), call("trunk", 8))):
        layer |= {"name": layer["config"]["name"], "inbound_nodes": inbound}
    return {"module": "keras", "class_name": "Functional", "registered_name": "Functional",
            "config": {"name": "two", "trainable": True, "layers": layers, "input_layers": [["x", 0, 0]],
                       "output_layers": [["kind", 0, 0], ["size", 0, 0]]}}


@pytest.fixture
def two_outputs(job, write_job, tmp_path):
    """Writes data, model and job; gives the job's path."""
    def write(**keys):
        made = {"train": rows(N_TRAIN, 1), "eval": rows(N_EVAL, 2)}
        for part, examples in made.items():
            write_csv(tmp_path / f"{part}.csv", examples)
            job["data"][part] = {"format": "csv", "features": str(tmp_path / f"{part}.csv"), "columns": ["a", "b", "c"],
                                 "label": {"kind": "kind", "size": "size"}, "sample_weight": "weight"}
        job["compile"] |= {"loss": {"kind": "sparse_categorical_crossentropy", "size": "mae"},
                           "loss_weights": {"kind": 2.0, "size": 0.5},
                           "metrics": {"kind": "accuracy", "size": ["mse", "RootMeanSquaredError"]},
                           "weighted_metrics": {"kind": ["accuracy"], "size": ["mae"]}}
        job.update(keys)
        path = write_job(job)
        pathlib.Path(job["model"]).write_text(json.dumps(model()))
        return path
    return write


def test_weighted_numbers(cluster, job, two_outputs, muster, tmp_path):
    path = two_outputs()
    running = cluster(path)
    running.start_all()
    running.expect_all(0)
    result = json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())
    names = ["loss", "kind_loss", "size_loss", "kind_accuracy", "size_mse", "size_RootMeanSquaredError",
             "kind_weighted_accuracy", "size_mae"]
    assert list(result["train"]) == names and list(result["eval"]) == names
    assert result["train"]["loss"] > 0 and result["train"]["kind_weighted_accuracy"] > 0.5
    scores = result["eval"]
    assert scores["size_RootMeanSquaredError"] == pytest.approx(scores["size_mse"] ** 0.5, rel=1e-6)
    # By hand, from what the trained model predicts.
    features = tmp_path / "features.csv"
    examples = rows(N_EVAL, 2)
    features.write_text("a,b,c\n" + "".join(",".join(map(str, row[:3])) + "\n" for row in examples))
    lines = tmp_path / "predictions.jsonl"
    muster("predict", path, "--input", str(features), "--format", "jsonl", "--output", str(lines)).expect(0)
    predicted = [json.loads(line) for line in lines.read_text().splitlines()]
    weights = [row[5] for row in examples]
    right = [max(range(3), key=p["kind"].__getitem__) == row[3] for p, row in zip(predicted, examples)]
    sizes = [p["size"][0] if isinstance(p["size"], list) else p["size"] for p in predicted]
    errors = [abs(size - row[4]) for size, row in zip(sizes, examples)]
    assert scores["kind_accuracy"] == pytest.approx(sum(right) / N_EVAL)
    assert scores["kind_weighted_accuracy"] == pytest.approx(
        sum(w for w, r in zip(weights, right) if r) / sum(weights), rel=1e-5)
    assert scores["size_mae"] == pytest.approx(sum(w * e for w, e in zip(weights, errors)) / sum(weights), rel=1e-4)
    assert scores["size_loss"] == pytest.approx(sum(w * e for w, e in zip(weights, errors)) / N_EVAL, rel=1e-4)
    assert scores["loss"] == pytest.approx(2 * scores["kind_loss"] + 0.5 * scores["size_loss"], rel=1e-5)
    again = muster("eval", path)
    again.expect(0)
    alone = json.loads(re.search(r"^\{.*\}", again.log(), re.MULTILINE | re.DOTALL).group(0))
    for name in names:
        assert alone[name] == pytest.approx(scores[name], rel=1e-6), name


def test_class_weights_want_one_output(muster, two_outputs):
    refused = muster("local", two_outputs(class_weight={"0": 2}), "--workers", "1", "--ps", "1")
    refused.expect(2)
    assert "class_weight is for models of one output, as in Keras; this one has 2" in refused.log()
