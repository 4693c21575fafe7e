"""Checkpoints that are damaged, of something else or not there: what a job that resumes goes on from, and what it says."""
import json
import pathlib
import struct

import pytest

from test_bad_input import expect_refusal

PERMANENT, CONFIGURATION = 1, 2


def folder_of(job):
    return pathlib.Path(job["checkpoint"]["dir"])


def steps_of(job):
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder_of(job).glob("model-*.index"))


@pytest.fixture
def trained(job, write_job, muster):
    """A job that left the checkpoints of steps 40, 70 and 100, with resume for the next run."""
    del job["epochs"]
    job["checkpoint"].update(keep=10, resume=True)
    job["compile"]["optimizer"] = {"class_name": "SGD", "config": {"learning_rate": 0.05, "momentum": 0.9}}
    for job["steps"] in (40, 70, 100):
        muster("run", write_job(job)).expect(0)
    assert steps_of(job) == [40, 70, 100]
    job["steps"] = 120
    return job


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def largest_data(job, step):
    return max(folder_of(job).glob(f"model-{step}.data-*"), key=lambda path: path.stat().st_size)


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def varint(content, at):
    value = shift = 0
    while True:
        value |= (content[at] & 0x7F) << shift
        shift += 7
        at += 1
        if content[at - 1] < 0x80:
            return value, at


def make_newer(path):
    """The index says that only readers from version 127 on understand it; its one data block has a good checksum."""
    content = bytearray(path.read_bytes())
    end, _ = varint(content, len(content) - 48)  # the footer begins with where the metaindex block lies
    at = content.index(b"\x1a\x02\x08\x01")      # version {producer: 1}
    content[at:at + 4] = b"\x1a\x02\x10\x7f"      # version {min_consumer: 127}
    value = crc32c(content[:end - 4])             # the block and its type
    masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
    content[end - 4:end] = struct.pack("<I", masked)
    path.write_bytes(content)


DAMAGES = {
    "a turned bit in a data file": (lambda job, step: flip(largest_data(job, step), 100), ".data-", "wrong checksum"),
    "a turned bit in the index": (lambda job, step: flip(folder_of(job) / f"model-{step}.index", 40), ".index", "checksum"),
    "a data file missing": (lambda job, step: largest_data(job, step).unlink(), ".data-", "No such file"),
    "a data file cut off": (lambda job, step: largest_data(job, step).write_bytes(b"short"), ".data-", "truncated"),
    "an index cut off": (lambda job, step: (folder_of(job) / f"model-{step}.index").write_bytes(b"x" * 30), ".index", "table"),
    "a newer format": (lambda job, step: make_newer(folder_of(job) / f"model-{step}.index"), ".index", "newer"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_whole_one_is_taken(trained, write_job, muster, damage):
    break_it, *words = DAMAGES[damage]
    break_it(trained, 100)
    process = muster("run", write_job(trained))
    process.expect(0)
    passed, = [line for line in process.log().splitlines() if "chief: checkpoint passed over" in line]
    for word in (f"prefix={folder_of(trained)}/model-100 ", str(folder_of(trained) / "model-100"), *words):
        assert word in passed, f"it does not say {word!r}: {passed}"
    assert f"chief: resuming prefix={folder_of(trained)}/model-70 steps=70\n" in process.log()
    assert json.loads(pathlib.Path(trained["output"]["dir"], "result.json").read_text())["steps"] == 120


def test_the_newest_is_not_that_of_the_run_before(trained, write_job, muster):
    """A run that began anew has come less far than the one before it, whose checkpoints lie beside its own."""
    trained["checkpoint"]["resume"], trained["steps"] = False, 30
    muster("run", write_job(trained)).expect(0)
    assert steps_of(trained) == [30, 40, 70, 100]
    trained["checkpoint"]["resume"], trained["steps"] = True, 50
    process = muster("run", write_job(trained))
    process.expect(0)
    assert f"chief: resuming prefix={folder_of(trained)}/model-30 steps=30\n" in process.log()
    evaluated = muster("eval", write_job(trained), "--log-level", "all=info")
    evaluated.expect(0)
    assert "model-50" in evaluated.log(), evaluated.log()


def test_two_are_passed_over(trained, write_job, muster):
    flip(largest_data(trained, 100), 7)
    largest_data(trained, 70).unlink()
    process = muster("run", write_job(trained))
    process.expect(0)
    passed = [line for line in process.log().splitlines() if "chief: checkpoint passed over" in line]
    assert len(passed) == 2 and "model-100 " in passed[0] and "model-70 " in passed[1]
    assert "model-40 steps=40\n" in process.log()


def test_none_is_whole(trained, write_job, muster):
    """Never from the beginning without a word: it would be weeks later that somebody saw it."""
    for step in steps_of(trained):
        flip(largest_data(trained, step), 50)
    before = sorted(path.name for path in folder_of(trained).iterdir())
    expect_refusal(muster("run", write_job(trained)), PERMANENT, "none of the 3 checkpoints",
                   str(folder_of(trained)), "model-100.data-", "wrong checksum", "checkpoint.resume false")
    assert sorted(path.name for path in folder_of(trained).iterdir()) == before


def test_none_is_whole_and_the_job_begins_anew(trained, write_job, muster):
    for step in steps_of(trained):
        largest_data(trained, step).unlink()
    trained["checkpoint"]["resume"] = False
    process = muster("run", write_job(trained))
    process.expect(0)
    assert "chief: running term=1 steps=0 of=120" in process.log()


@pytest.mark.parametrize("make", [True, False], ids=["empty", "missing"])
def test_a_directory_without_checkpoints(job, write_job, muster, make):
    if make:
        folder_of(job).mkdir()
    job["checkpoint"]["resume"] = True
    process = muster("run", write_job(job))
    process.expect(0)
    assert f"chief: nothing to resume dir={folder_of(job)}\n" in process.log()


def change_model(folder, change):
    described = json.loads((folder / "model.json").read_text())
    change(described["config"]["layers"])
    (folder / "model.json").write_text(json.dumps(described))


def rename(layers):
    layers[3]["config"]["name"] = "renamed"


def narrow(layers):
    layers[3]["config"]["units"] = 16
    layers[4]["build_config"]["input_shape"] = [None, 16]


@pytest.mark.parametrize("change, words", [
    (rename, ["there is no renamed/kernel", "another model"]),
    (narrow, ["dense/kernel is float32 (64, 32)", "the model's is float32 (64, 16)"]),
], ids=["names", "shapes"])
def test_a_checkpoint_of_another_model(trained, write_job, muster, tmp_path, change, words):
    """It is whole, so it is not passed over: whoever changed the model has to say what he wants."""
    path = write_job(trained)
    change_model(tmp_path, change)
    expect_refusal(muster("run", path), CONFIGURATION, "model-100", *words)
    assert steps_of(trained) == [40, 70, 100]


def test_a_checkpoint_of_another_optimizer(trained, write_job, muster):
    trained["compile"]["optimizer"] = {"class_name": "Adam", "config": {}}
    expect_refusal(muster("run", write_job(trained)), CONFIGURATION, "model-100", "another model or optimizer")


def test_in_a_cluster(trained, write_job, cluster):
    """The same where chief and parameter servers are processes of their own; all end with what the chief ends with."""
    flip(largest_data(trained, 100), 100)
    made = cluster(write_job(trained))
    made.start_all()
    made.expect_all(0)
    assert "model-70 steps=70\n" in made["chief-0"].log()


def test_one_after_the_other_between_rounds(job, write_job, cluster):
    """A synchronous job's cuts follow one another: none is refused because of the one before."""
    del job["epochs"]
    job["steps"] = 600
    job["consistency"] = {"staleness": 0}
    job["checkpoint"]["every_steps"] = 20
    made = cluster(write_job(job))
    made.start_all()
    made.expect_all(0)
    assert len(made.progress("checkpoint")) >= 2 and not made.progress("checkpoint_failed")
    assert "cut given up" not in made["chief-0"].log()
