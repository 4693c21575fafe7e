"""Curves for TensorBoard: on the disk when the job is over, and never in its way. tests/interop reads their content."""
import json
import pathlib


def output(job):
    return pathlib.Path(job["output"]["dir"])


def test_a_file_of_each_kind(muster, job, write_job):
    muster("local", write_job(job), "--workers", "2", "--ps", "2").expect(0)
    for kind, tags in {"train": [b"epoch_accuracy", b"epoch_loss", b"epoch_learning_rate"],
                       "validation": [b"evaluation_loss_vs_iterations", b"epoch_loss"]}.items():
        file, = (output(job) / "tensorboard" / kind).iterdir()
        content = file.read_bytes()
        for tag in tags:
            assert content.count(b"\n" + bytes([len(tag)]) + tag) == (job["epochs"] if kind == "train" else 1), tag


def test_a_disk_that_refuses_is_told_once(muster, job, write_job):
    output(job).mkdir()
    (output(job) / "tensorboard").write_text("a file in the folder's place")
    muster("local", write_job(job), "--workers", "2", "--ps", "2").expect(0)
    assert json.loads((output(job) / "result.json").read_text())["status"] == "finished"
    assert (output(job) / "logs" / "chief-0.log").read_text().count("chief: curves not written") == 1
    assert (output(job) / "tensorboard").is_file()
