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
