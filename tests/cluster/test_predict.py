"""muster predict: its numbers against a forward pass in plain Python, its formats, and what it refuses."""
import gzip
import json
import math
import os
import re
import subprocess

import pytest

import tiny_job
from checkpoint import weights_of


@pytest.fixture
def run(binary, tmp_path):
    """Runs `muster …` to its end; gives (exit code, standard output, standard error)."""
    def to_end(*arguments):
        done = subprocess.run([str(binary), *map(str, arguments)], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return to_end


@pytest.fixture
def trained(job, write_job, muster):
    job["epochs"] = 1
    path = write_job(job)
    muster("run", path).expect(0)
    return path


def expect_sentence(said, code, *words):
    got, out, error = said
    assert got == code and out == "", (out, error)
    assert error.startswith("muster: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, f"it does not say {word!r}: {error}"


def dense(inputs, kernel, bias):
    n = len(bias)
    return [bias[j] + math.fsum(x * kernel[i * n + j] for i, x in enumerate(inputs)) for j in range(n)]


def forward(image, weights):
    hidden = dense([pixel / 255 for pixel in image], weights["dense/kernel"], weights["dense/bias"])
    return dense([max(0.0, value) for value in hidden], weights["dense_1/kernel"], weights["dense_1/bias"])


def expect_predictions(rows, images, weights):
    size = tiny_job.SIDE ** 2
    assert len(rows) == len(images) // size
    for i, row in enumerate(rows):
        wanted = forward(images[i * size:(i + 1) * size], weights)
        assert row == pytest.approx(wanted, rel=1e-4, abs=1e-4), f"example {i}"


def test_numbers_of_the_newest_checkpoint(run, trained, data, tmp_path):
    """400 examples, so several whole batches and a part of one; a gzip file."""
    code, out, error = run("predict", trained, "--input", data / "eval-images.idx.gz")
    assert code == 0 and error == ""
    rows = [[float(number) for number in line.split(",")] for line in out.splitlines()]
    images, labels = tiny_job.examples(tiny_job.EVAL_EXAMPLES, 2)
    expect_predictions(rows, images, weights_of(run, tmp_path, "ckpt/model-125"))
    right = sum(row.index(max(row)) == label for row, label in zip(rows, labels))
    scores = json.loads(run("eval", trained)[1])
    assert right / len(labels) == pytest.approx(scores["accuracy"], abs=1e-6)


def test_a_model_directory_says_the_same(run, trained, data):
    images = data / "eval-images.idx.gz"
    of_job = run("predict", trained, "--input", images)
    of_directory = run("predict", "out/model", "--input", images)
    assert of_job == of_directory and of_job[0] == 0
    assert run("predict", "out/model", "--input", images, "--checkpoint", "ckpt/model-125") == of_job
    assert run("predict", trained, "--input", images, "--threads", "2")[0] == 0


def test_json_lines_to_a_file(run, trained, data, tmp_path):
    images = data / "train-images.idx"
    said = run("predict", trained, "--input", images, "--format", "jsonl", "--output", "p.jsonl")
    assert said == (0, "", "")
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    assert len(lines) == tiny_job.TRAIN_EXAMPLES
    code, csv, error = run("predict", trained, "--input", images)
    for line, other in zip(lines, csv.splitlines(), strict=True):
        assert json.loads(line) == [float(number) for number in other.split(",")]


def test_a_bad_input_leaves_the_old_output(run, trained, data, tmp_path):
    """The file is cut in its last example: no line may come out, and what was there stays."""
    (tmp_path / "p.csv").write_text("old\n")
    whole = gzip.decompress((data / "eval-images.idx.gz").read_bytes())
    (tmp_path / "cut.gz").write_bytes(gzip.compress(whole[:-1]))
    said = run("predict", trained, "--input", "cut.gz", "--output", "p.csv")
    expect_sentence(said, 1, "cut.gz")
    assert (tmp_path / "p.csv").read_text() == "old\n" and not (tmp_path / "p.csv.tmp").exists()
    expect_sentence(run("predict", trained, "--input", "cut.gz"), 1, "cut.gz")


def test_a_full_disk(binary, trained, data):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(binary), "predict", str(trained), "--input", str(data / "train-images.idx")],
                              stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 138 and "cannot be written" in done.stderr


def test_a_reader_that_is_gone(binary, trained, data):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([str(binary), "predict", str(trained), "--input", str(data / "train-images.idx")],
                          stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write_end)
    assert done.returncode == 138 and "cannot be written" in done.stderr


def test_another_shape(run, trained, tmp_path):
    (tmp_path / "flat.idx").write_bytes(tiny_job.idx((2, 64), bytes(128)))
    expect_sentence(run("predict", trained, "--input", "flat.idx"), 2, "flat.idx", "(64,)", "(8, 8)")


def test_torn_weights(run, trained, data, tmp_path):
    path = next(tmp_path.glob("out/model/weights.data-*"))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    expect_sentence(run("predict", "out/model", "--input", data / "train-images.idx"), 1, "checksum", "weights")


def test_refusals(run, job, write_job, data, tmp_path):
    path = write_job(job)
    images = data / "train-images.idx"
    expect_sentence(run("predict", path), 2, "--input")
    expect_sentence(run("predict"), 2, "JOB|MODEL_DIR")
    expect_sentence(run("predict", path, "--input", images), 1, "no checkpoint", "--checkpoint", "model directory")
    expect_sentence(run("predict", path, "--input", images, "--checkpoint", "no/model-1"), 1, "no/model-1")
    expect_sentence(run("predict", path, "--input", images, "--format", "xml"), 2, "'xml'", "csv", "jsonl")
    expect_sentence(run("predict", ".", "--input", images), 1, "model.json")
    expect_sentence(run("predict", "model.json", "--input", images), 2, "model.json: this is a Keras model; a job is")
    expect_sentence(run("predict", ".", "--input", images, "--set", "epochs=1"), 2, "--set epochs=1", "model directory")
    expect_sentence(run("predict", path, "--input", images, "--checkpoint", "no/model-1", "--label", "x"), 1, "no/model-1")
    expect_sentence(run("predict", "nowhere.json", "--input", images), 2, "nowhere.json")


def test_the_input_by_its_name(run, trained, data):
    images = data / "eval-images.idx.gz"
    plain = run("predict", trained, "--input", images)
    model = json.loads((trained.parent / "model.json").read_text())
    name = model["config"]["layers"][0]["config"]["name"]
    assert run("predict", trained, "--input", f"{name}={images}") == plain and plain[0] == 0
    expect_sentence(run("predict", trained, "--input", images, "--input", images), 2, "without a name", name)
    expect_sentence(run("predict", trained, "--input", images, "--label", "x"), 2, "--label is for CSV")


def test_slips(run, trained, data, tmp_path):
    """What comes first to mind, and is answered with what to write instead."""
    images = data / "train-images.idx"
    expect_sentence(run("predict", "out", "--input", images), 1, "out is the output of a job", "give out/model")
    expect_sentence(run("predict", trained, "--input", images, "--output", "out"), 2, "--output: out is a directory")
    assert not (tmp_path / "out.tmp").exists()
    expect_sentence(run("predict", trained, "--input", images, "--checkpoint", "no/model-1"), 1,
                    "neither no/model-1 nor no/model-1.index is there", "muster ckpt ls")
    expect_sentence(run("top", "ps-0", "--once"), 2, "'ps-0' is no address of a role", "HOST:PORT")


def test_no_such_input(run, trained):
    expect_sentence(run("predict", trained, "--input", "none.idx", "--output", "p.csv"), 1, "none.idx")


def test_help(run):
    code, out, error = run("predict", "--help")
    assert code == 0 and error == "" and out.startswith("usage: muster predict JOB|MODEL_DIR|FILE.keras ")
    assert "\nexamples:\n" in out and re.search(r"--output FILE", out)
    assert all(len(line) <= 100 for line in out.splitlines())
