"""A classifier of two classes with one output: labels 0 and 1 are its targets, and its metrics are exact over a cluster."""
import gzip
import json
import pathlib
import re

import pytest
import tiny_job

BINARY_METRICS = ["accuracy", "binary_crossentropy", "mse",
                  {"class_name": "BinaryAccuracy", "config": {"name": "sure", "threshold": 0.9}}]


def read_result(job):
    return json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())


def described(units, activation):
    """The tiny network with another last layer."""
    model = tiny_job.model()
    last = tiny_job.dense("dense_1", units, activation, 32)
    model["config"]["layers"][-1] = last
    return model


def write_two_classes(job, folder):
    """Even kinds against odd ones, in files of the test's own."""
    for part, n, seed in (("train", tiny_job.TRAIN_EXAMPLES, 1), ("eval", tiny_job.EVAL_EXAMPLES, 2)):
        labels = bytes(label % 2 for label in tiny_job.examples(n, seed)[1])
        path = folder / f"{part}-two.idx.gz"
        path.write_bytes(gzip.compress(tiny_job.idx((n,), labels)))
        job["data"][part]["labels"] = str(path)


@pytest.fixture
def write_binary_job(job, write_job, tmp_path):
    """Writes the job with one sigmoid output under binary cross-entropy."""
    def write(**compile_keys):
        job["compile"] |= {"loss": "binary_crossentropy", "metrics": BINARY_METRICS} | compile_keys
        path = write_job(job)
        pathlib.Path(job["model"]).write_text(json.dumps(described(1, "sigmoid")))
        return path
    return write


def check_learnt(result):
    scores = result["eval"]
    assert result["status"] == "finished" and result["examples"] == 2 * tiny_job.TRAIN_EXAMPLES
    assert scores["accuracy"] > 0.9, "chance is 0.5"
    assert scores["binary_crossentropy"] == scores["loss"] < 0.5
    assert 0 < scores["mse"] < 0.2 and scores["sure"] <= scores["accuracy"]
    return scores


def test_binary_classifier(cluster, job, write_binary_job, muster, tmp_path):
    write_two_classes(job, tmp_path)
    path = write_binary_job()
    running = cluster(path)
    running.start_all()
    running.expect_all(0)
    scores = check_learnt(read_result(job))
    again = muster("eval", path)
    again.expect(0)
    alone = json.loads(re.search(r"^\{.*\}", again.log(), re.MULTILINE | re.DOTALL).group(0))
    for name in ("loss", "accuracy", "binary_crossentropy", "mse", "sure"):
        assert alone[name] == pytest.approx(scores[name], rel=1e-6), name


COUNTING_METRICS = ["AUC", {"class_name": "AUC", "config": {"name": "pr", "curve": "PR", "num_thresholds": 40}},
                    "Precision", "Recall", {"class_name": "TruePositives", "config": {}},
                    {"class_name": "FalsePositives", "config": {"thresholds": 0.2}},
                    {"class_name": "F1Score", "config": {"threshold": 0.5}}, "RootMeanSquaredError"]


def counted(predictions, labels):
    """What these metrics are of all predictions together, by their definitions."""
    positive = [p for p, label in zip(predictions, labels) if label]
    negative = [p for p, label in zip(predictions, labels) if not label]
    tp, fp = sum(p > 0.5 for p in positive), sum(p > 0.5 for p in negative)
    precision, recall = tp / (tp + fp), tp / len(positive)
    rates = [(sum(p > t for p in negative) / len(negative), sum(p > t for p in positive) / len(positive))
             for t in [-1] + [i / 199 for i in range(1, 199)] + [2]]
    area = sum((a[0] - b[0]) * (a[1] + b[1]) / 2 for a, b in zip(rates, rates[1:]))
    squares = [(p - label) ** 2 for p, label in zip(predictions, labels)]
    return {"Precision": precision, "Recall": recall, "true_positives": tp,
            "false_positives": sum(p > 0.2 for p in negative), "f1_score": 2 * precision * recall / (precision + recall),
            "RootMeanSquaredError": (sum(squares) / len(squares)) ** 0.5, "AUC": area}


def test_counts_are_merged(cluster, job, write_binary_job, muster, tmp_path):
    """What two workers and the evaluation count is what one counts over all predictions."""
    write_two_classes(job, tmp_path)
    job["class_weight"] = {"0": 0.5, "1": 2}
    path = write_binary_job(metrics=COUNTING_METRICS)
    running = cluster(path)
    running.start_all()
    running.expect_all(0)
    result = read_result(job)
    train, scores = result["train"], result["eval"]
    labels = [label % 2 for label in tiny_job.examples(tiny_job.TRAIN_EXAMPLES, 1)[1]]
    assert train["true_positives"] == round(train["Recall"] * sum(labels)), "all positives of the epoch are counted once"
    assert 0.9 < train["AUC"] <= 1 and 0.9 < train["pr"] <= 1
    csv = tmp_path / "predictions.csv"
    predict = muster("predict", path, "--input", job["data"]["eval"]["features"], "--output", str(csv))
    predict.expect(0)
    predictions = [float(line) for line in csv.read_text().split()]
    labels = [label % 2 for label in tiny_job.examples(tiny_job.EVAL_EXAMPLES, 2)[1]]
    assert len(predictions) == len(labels)
    for name, value in counted(predictions, labels).items():
        assert scores[name] == pytest.approx(value, rel=1e-5), name


def test_class_weights_change_what_is_learnt(muster, job, write_binary_job, tmp_path):
    """A class that counts nothing is not learnt; without weights it is."""
    write_two_classes(job, tmp_path)
    job["class_weight"] = {"1": 0}
    path = write_binary_job(metrics=["accuracy", "Recall"], weighted_metrics=["accuracy"])
    trained = muster("local", path, "--workers", "1", "--ps", "1")
    trained.expect(0)
    result = read_result(job)
    assert result["eval"]["Recall"] == 0, "nothing is said to be of class 1"
    assert result["train"]["weighted_accuracy"] > 0.95 and result["train"]["accuracy"] < 0.7
    job["class_weight"] = {"one": 1}
    refused = muster("local", write_binary_job(), "--workers", "1", "--ps", "1")
    refused.expect(2)
    assert "class_weight: 'one' is no class; classes are whole numbers" in refused.log()


def test_class_weights_and_sample_weights(muster, job, write_job):
    job["class_weight"] = {"0": 2}
    job["data"]["train"]["sample_weights"] = "weights.idx"
    refused = muster("local", write_job(job), "--workers", "1", "--ps", "1")
    refused.expect(2)
    assert "class_weight and data.train.sample_weights cannot be used at the same time" in refused.log()


def test_a_third_class_is_refused(muster, job, write_binary_job):
    """The tiny job's own labels are 0 to 3."""
    refused = muster("local", write_binary_job(), "--workers", "1", "--ps", "1")
    refused.expect(1)
    assert "train-labels.idx: the label of example " in refused.log()
    assert "outside 0 to 1: the model has 2 classes" in refused.log()


def test_a_loss_against_values_wants_one_output(muster, job, write_job):
    job["compile"] |= {"loss": "poisson", "metrics": []}
    refused = muster("local", write_job(job), "--workers", "1", "--ps", "1")
    refused.expect(2)
    assert "Poisson against one label an example needs a model of 1 output, this one has 4" in refused.log()


@pytest.mark.parametrize("kind, compiled", [("losses", {"loss": "no_such_loss"}), ("metrics", {"metrics": ["no_such_metric"]})])
def test_the_page_names_all(muster, job, write_job, kind, compiled):
    """What the refusal of a stranger lists is what docs/losses.md describes."""
    job["compile"] |= compiled
    refused = muster("local", write_job(job), "--workers", "1", "--ps", "1")
    refused.expect(2)
    listed = re.search(rf"the {kind} built are ([\w, ]+)", refused.log()).group(1).split(", ")
    page = (pathlib.Path(__file__).parents[2] / "docs" / "losses.md").read_text()
    assert len(listed) > 10
    for name in listed:
        assert f"`{name}`" in page, name
