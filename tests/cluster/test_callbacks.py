"""Callbacks of a job: training that stops early, and lines for each epoch, in one process and in a cluster; what is refused.

With a learning rate of 0 nothing gets better, so it is known beforehand what each callback decides."""
import csv
import json
import pathlib

import pytest
import tiny_job

MANY = 4000  # epochs: more than are trained before anybody stops them
STEPS_PER_EPOCH = tiny_job.TRAIN_EXAMPLES // 16


def read_result(job):
    return json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())


def early_stopping(**config):
    return {"class_name": "EarlyStopping", "config": config}


def csv_logger(**config):
    return {"class_name": "CSVLogger", "config": config}


def rows_of(path):
    text = pathlib.Path(path).read_bytes().decode()
    assert text.count("\r\n") == text.count("\n")
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture
def still_job(job):
    """A job that learns nothing: the validation of every epoch is the same."""
    job["compile"]["optimizer"]["config"]["learning_rate"] = 0.0
    job["epochs"] = MANY
    job["eval"] = {"every": "epoch"}
    return job


def check_stopped(job, monitor, patience):
    """The first epoch that was looked at is the best one, and as many as patience says came after it."""
    result = read_result(job)
    assert result["status"] == "finished"
    stopped = result["stopped"]
    assert stopped["callback"] == "EarlyStopping" and stopped["monitor"] == monitor
    assert stopped["epoch"] - stopped["best_epoch"] >= patience
    assert stopped["epoch"] * STEPS_PER_EPOCH <= result["steps"] < MANY * STEPS_PER_EPOCH
    assert result["epochs"] >= stopped["epoch"]
    return result


@pytest.mark.threads
def test_one_process_stops(muster, still_job, write_job):
    still_job["callbacks"] = [early_stopping(patience=2), csv_logger(filename="log.csv")]
    job_path = write_job(still_job)
    ran = muster("run", job_path, "--threads", "1")
    ran.expect(0)
    result = check_stopped(still_job, "val_loss", 2)
    assert "stopping early" in ran.log()
    rows = rows_of(job_path.parent / "log.csv")
    assert list(rows[0]) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert [int(row["epoch"]) for row in rows] == list(range(len(rows)))
    stopped = result["stopped"]["epoch"]
    assert len(rows) >= stopped and rows[stopped - 1]["val_loss"] != "NA"
    assert float(rows[stopped - 1]["val_loss"]) == pytest.approx(result["eval"]["loss"], rel=1e-6)
    known = [row["val_loss"] for row in rows[:stopped] if row["val_loss"] != "NA"]
    assert len(known) == 3 and len(set(known)) == 1, "one that is best, and two that are no better"


@pytest.mark.threads
@pytest.mark.parametrize("by", ["role", "chief"])
def test_a_cluster_stops(cluster, still_job, write_job, by):
    still_job["callbacks"] = [early_stopping(monitor="val_accuracy", patience=1, mode="max")]
    running = cluster(write_job(still_job))
    running.start("chief-0")
    if by == "role":
        running.add_evaluator(True)
        running.start("evaluator-0")
        running["chief-0"].wait_log("evaluator admitted")
    for role in running.roles:
        if role not in running.processes:
            running.start(role)
    running.expect_all(0)
    result = check_stopped(still_job, "val_accuracy", 1)
    assert "accuracy" in result["eval"] and "warning" not in result
    events = running.progress("stopped")
    assert [{key: event[key] for key in result["stopped"]} for event in events] == [result["stopped"]]


def test_training_figures_need_no_evaluation(muster, still_job, write_job):
    """What is watched is known at the epoch's end, so the epoch that is decided about does not depend on time."""
    still_job["eval"] = {"every": None}
    still_job["data"]["eval"] = None
    still_job["callbacks"] = [csv_logger(filename="log.csv", separator=";"), early_stopping(monitor="loss", min_delta=0.5)]
    job_path = write_job(still_job)
    muster("run", job_path).expect(0)
    stopped = read_result(still_job)["stopped"]
    assert stopped == {"callback": "EarlyStopping", "monitor": "loss", "epoch": 2, "best_epoch": 1}
    lines = (job_path.parent / "log.csv").read_text().splitlines()
    assert lines[0] == "epoch;accuracy;loss;val_accuracy;val_loss" and lines[1].endswith(";NA;NA")


def test_nothing_stops_a_job_that_gets_better(muster, job, write_job):
    job["callbacks"] = [early_stopping(monitor="loss", patience=1), {"class_name": "TerminateOnNaN"}]
    muster("run", write_job(job)).expect(0)
    result = read_result(job)
    assert result["stopped"] is None and result["epochs"] == 2


def test_lines_are_added_when_told_so(muster, job, write_job):
    job["callbacks"] = [csv_logger(filename="log.csv", append=True)]
    job["checkpoint"]["resume"] = True
    job_path = write_job(job)
    muster("run", job_path).expect(0)
    muster("run", job_path, "--set", "epochs=4").expect(0)
    assert [int(row["epoch"]) for row in rows_of(job_path.parent / "log.csv")] == [0, 1, 2, 3]


def test_a_file_that_cannot_be_written_costs_no_job(muster, job, write_job):
    job_path = write_job(job)
    (job_path.parent / "log.csv").mkdir()
    job["callbacks"] = [csv_logger(filename="log.csv")]
    ran = muster("run", write_job(job))
    ran.expect(0)
    assert ran.log().count("csv not written") == 1


@pytest.mark.parametrize("callbacks, eval_every, sentence", [
    ([early_stopping(monitor="val_acc")], "epoch",
     'callbacks[0]: config.monitor is "val_acc", must be one of: loss, accuracy, val_loss, val_accuracy'),
    ([early_stopping()], None, 'callbacks[0]: config.monitor is "val_loss", which needs data.eval and eval.every "epoch"'),
    ([early_stopping(monitor="loss"), early_stopping()], 50,
     'callbacks[1]: config.monitor is "val_loss", which needs data.eval and eval.every "epoch"'),
    ([early_stopping(monitor="loss", patience=-1)], None, "callbacks[0]: config.patience is -1, must be from 0"),
], ids=["unknown monitor", "not evaluated", "by steps", "patience"])
def test_refused_by_all(muster, job, write_job, callbacks, eval_every, sentence):
    job["callbacks"] = callbacks
    job["eval"] = {"every": eval_every}
    ran = muster("run", write_job(job))
    ran.expect(2)
    assert sentence in ran.log()
