"""Callbacks of a job: training that stops early, and lines for each epoch, in one process and in a cluster; what is refused.

With a learning rate of 0 nothing gets better, so it is known beforehand what each callback decides."""
import csv
import json
import pathlib
import zipfile

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


def plateau(**config):
    return {"class_name": "ReduceLROnPlateau", "config": config}


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


@pytest.fixture
def plateau_job(job):
    """Nothing is ever better by so much, so the learning rate is halved after each epoch but the first."""
    job["epochs"] = 5
    job["compile"]["optimizer"]["config"]["learning_rate"] = 0.0625
    job["callbacks"] = [plateau(monitor="loss", min_delta=1e9, patience=1, factor=0.5), csv_logger(filename="log.csv")]
    return job


@pytest.mark.threads
def test_the_learning_rate_is_reduced(cluster, plateau_job, write_job):
    job_path = write_job(plateau_job)
    running = cluster(job_path)
    running.start_all()
    running.expect_all(0)
    rates = [float(row["learning_rate"]) for row in rows_of(job_path.parent / "log.csv")]
    assert rates == [0.0625, 0.0625, 0.03125, 0.015625, 0.0078125], "those that the epochs ended with"
    assert running["chief-0"].log().count("learning rate reduced") == 4
    assert running.progress("progress")[-1]["learning_rate"] == 0.00390625


def test_a_rate_of_nothing_is_what_the_servers_apply(muster, plateau_job, write_job):
    """After the second epoch the rate is 0: whatever comes then changes no weight, also when the job is resumed."""
    plateau_job["callbacks"][0]["config"]["factor"] = 0.0
    plateau_job["checkpoint"].update(resume=True, keep=100)
    plateau_job["epochs"] = 100
    job_path = write_job(plateau_job)
    muster("run", job_path).expect(0)
    first = read_result(plateau_job)
    assert first["eval"]["accuracy"] > 0.9, "before that it learnt"
    ran = muster("run", job_path, "--set", "epochs=130")
    ran.expect(0)
    second = read_result(plateau_job)
    assert second["steps"] == 130 * STEPS_PER_EPOCH and second["eval"] == first["eval"]
    assert [float(row["learning_rate"]) for row in rows_of(job_path.parent / "log.csv")] == [0.0] * 30


def test_what_was_stopped_stays_stopped(muster, still_job, write_job):
    still_job["callbacks"] = [early_stopping(monitor="loss", patience=1)]
    still_job["checkpoint"]["resume"] = True
    job_path = write_job(still_job)
    muster("run", job_path).expect(0)
    first = read_result(still_job)
    again = muster("run", job_path)
    again.expect(0)
    second = read_result(still_job)
    assert "stopped before" in again.log()
    assert (second["steps"], second["stopped"]) == (first["steps"], first["stopped"])
    still_job["callbacks"] = []
    job_path = write_job(still_job)
    longer = str(first["epochs"] + 3)
    muster("run", job_path, "--set", f"epochs={longer}").expect(0)
    assert read_result(still_job)["epochs"] == first["epochs"] + 3, "another list of callbacks begins anew"


def indexes(job):
    return {path.stem for path in pathlib.Path(job["checkpoint"]["dir"]).glob("*.index")}


@pytest.mark.threads
@pytest.mark.parametrize("monitor", ["loss", "val_loss"])
def test_the_best_epoch_is_kept_and_restored(cluster, job, write_job, monitor):
    """That the largest loss is called the best makes the best epoch the first, and the trained model a bad one."""
    job["epochs"] = 40  # so that an early one is evaluated before it is over
    job["checkpoint"]["keep"] = 1
    job["eval"] = {"every": "epoch"}
    watch = {"monitor": monitor, "mode": "max"}
    job["callbacks"] = [early_stopping(patience=100, restore_best_weights=True, **watch),
                        {"class_name": "ModelCheckpoint",
                         "config": {"filepath": "best.keras", "save_best_only": True, **watch}}]
    job_path = write_job(job)
    running = cluster(job_path)
    running.start_all()
    running.expect_all(0)
    result = read_result(job)
    best = result["best"]
    assert [one["callback"] for one in best] == ["EarlyStopping", "ModelCheckpoint"]
    assert best[0]["epoch"] == best[1]["epoch"] < 40 and best[0]["checkpoint"] == best[1]["checkpoint"]
    assert best[1]["file"] == str(job_path.parent / "best.keras") and zipfile.is_zipfile(best[1]["file"])
    kept = pathlib.Path(best[0]["checkpoint"]).name
    assert indexes(job) == {kept, f"model-{40 * STEPS_PER_EPOCH}"}
    assert "best weights restored" in running["chief-0"].log()
    assert result["eval"]["loss"] > result["train"]["loss"] * 1.5, "not the last weights"
    if monitor == "loss":
        assert best[0]["epoch"] == 1


def test_the_best_epoch_is_known_when_resumed(muster, job, write_job):
    job["checkpoint"].update(keep=1, resume=True)
    job["callbacks"] = [early_stopping(monitor="loss", mode="max", patience=100, restore_best_weights=True)]
    job_path = write_job(job)
    muster("run", job_path).expect(0)
    first = read_result(job)
    muster("run", job_path, "--set", "epochs=4").expect(0)
    second = read_result(job)
    assert second["steps"] == 4 * STEPS_PER_EPOCH and second["best"] == first["best"]
    assert second["eval"] == first["eval"], "both times the first epoch's weights"
    assert indexes(job) == {pathlib.Path(first["best"][0]["checkpoint"]).name, f"model-{4 * STEPS_PER_EPOCH}"}


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


def test_a_schedule_is_not_reduced(muster, plateau_job, write_job):
    plateau_job["compile"]["optimizer"]["config"]["learning_rate"] = {
        "class_name": "ExponentialDecay",
        "config": {"initial_learning_rate": 0.1, "decay_steps": 100, "decay_rate": 0.9}}
    ran = muster("run", write_job(plateau_job))
    ran.expect(2)
    assert "callbacks[0]: ReduceLROnPlateau needs a learning_rate that is a number" in ran.log()


@pytest.mark.parametrize("callbacks, eval_every, sentence", [
    ([early_stopping(monitor="val_acc")], "epoch",
     'callbacks[0]: config.monitor is "val_acc", must be one of: loss, accuracy, val_loss, val_accuracy'),
    ([early_stopping()], None, 'callbacks[0]: config.monitor is "val_loss", which needs data.eval and eval.every "epoch"'),
    ([early_stopping(monitor="loss"), early_stopping()], 50,
     'callbacks[1]: config.monitor is "val_loss", which needs data.eval and eval.every "epoch"'),
    ([{"class_name": "ModelCheckpoint", "config": {"filepath": "b.keras", "save_best_only": False}}], "epoch",
     "callbacks[0]: config.save_best_only must be true"),
    ([{"class_name": "ModelCheckpoint", "config": {"filepath": "b{epoch}.keras", "save_best_only": True}}], "epoch",
     "must end in .keras"),
    ([plateau(monitor="loss", factor=1.5)], None, "callbacks[0]: config.factor is 1.5, must be from 0 to 1"),
    ([early_stopping(monitor="loss", patience=-1)], None, "callbacks[0]: config.patience is -1, must be from 0"),
], ids=["unknown monitor", "not evaluated", "by steps", "not only the best", "a file an epoch", "factor", "patience"])
def test_refused_by_all(muster, job, write_job, callbacks, eval_every, sentence):
    job["callbacks"] = callbacks
    job["eval"] = {"every": eval_every}
    ran = muster("run", write_job(job))
    ran.expect(2)
    assert sentence in ran.log()
