"""The curves of a run, read by TensorFlow's and TensorBoard's own readers, against result.json and what was reported.

MUSTER_BINARY names the program (tests/interop/run sets it); without it or without TensorFlow the tests are skipped.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing import event_accumulator  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))
import tiny_job  # noqa: E402

STEPS_AN_EPOCH = tiny_job.TRAIN_EXAMPLES // 16
EPOCHS = 3
RATE = 0.05
TRAIN_TAGS = ["epoch_accuracy", "epoch_loss", "epoch_learning_rate"]  # in this order, as Keras's callback
FILE_NAME = r"events\.out\.tfevents\.\d{10}\.[^/]+\.\d+\.0\.v2"  # time, host, process
EVALUATION_TAGS = ["evaluation_accuracy_vs_iterations", "evaluation_loss_vs_iterations"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_job.write_data(tmp_path_factory.mktemp("data"))


def muster(command, job_path, *more):
    binary = os.environ.get("MUSTER_BINARY")
    if not binary:
        pytest.skip("MUSTER_BINARY is not set: tests/interop/run builds it")
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    done = subprocess.run([binary, command[0], str(job_path), *command[1:], *more], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stderr[-3000:]}"


def written_job(data, folder):
    job = tiny_job.job(data, folder)
    job["epochs"] = EPOCHS
    return tiny_job.write(job, folder)


def files_of(folder, kind):
    """The event files of a kind, oldest first: TensorBoard takes the order of their names."""
    return sorted((folder / "out" / "tensorboard" / kind).iterdir(), key=lambda path: path.stat().st_mtime_ns)


def points(path):
    """[(step, tag, value)] of a file in its order; every event must be of the form that Keras's are."""
    events = list(tf.compat.v1.train.summary_iterator(str(path)))
    assert events[0].file_version == "brain.Event:2"
    assert events[0].source_metadata.writer == "muster"
    found = []
    for event in events[1:]:
        value, = event.summary.value
        if value.tag == "staleness":
            continue  # test_staleness_is_a_histogram
        assert value.metadata.plugin_data.plugin_name == "scalars"
        number = tf.make_ndarray(value.tensor)
        assert number.shape == () and number.dtype == np.float32
        found.append((event.step, value.tag, number[()]))
    times = [event.wall_time for event in events]
    assert times == sorted(times)
    return found


@pytest.mark.parametrize("command", [["run"], ["local", "--workers", "2", "--ps", "2"]], ids=["process", "cluster"])
def test_curves_are_those_of_the_result(tmp_path, data, command):
    muster(command, written_job(data, tmp_path))
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    steps = EPOCHS * STEPS_AN_EPOCH
    assert result["steps"] == steps

    train, = files_of(tmp_path, "train")
    assert re.fullmatch(FILE_NAME, train.name)
    found = points(train)
    assert [(step, tag) for step, tag, _ in found] == [(e, tag) for e in range(EPOCHS) for tag in TRAIN_TAGS]
    losses = [value for _, tag, value in found if tag == "epoch_loss"]
    assert losses == sorted(losses, reverse=True)  # this job learns in every epoch
    assert [value for _, tag, value in found if tag == "epoch_learning_rate"] == [np.float32(RATE)] * EPOCHS
    last = {tag: value for step, tag, value in found if step == EPOCHS - 1}
    for name in ("loss", "accuracy"):
        assert last[f"epoch_{name}"] == pytest.approx(result["train"][name], rel=1e-7)

    validation, = files_of(tmp_path, "validation")
    assert re.fullmatch(FILE_NAME, validation.name)
    found = points(validation)
    assert [(step, tag) for step, tag, _ in found] == [
        *((steps, tag) for tag in EVALUATION_TAGS), *((EPOCHS - 1, tag) for tag in TRAIN_TAGS[:2])]
    for _, tag, value in found:
        name = "loss" if "loss" in tag else "accuracy"
        assert value == pytest.approx(result["eval"][name], rel=1e-7)


def test_tensorboard_shows_them_as_keras(tmp_path, data):
    """The same tags, steps and kinds as the files of Keras's callback, by the reader behind TensorBoard's pages."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    keras = pytest.importorskip("keras")
    muster(["run"], written_job(data, tmp_path))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  metrics=["accuracy"])
    x, y = np.ones((STEPS_AN_EPOCH, 2)), np.zeros(STEPS_AN_EPOCH)
    model.fit(x, y, batch_size=1, epochs=EPOCHS, validation_data=(x, y), verbose=0,
              callbacks=[keras.callbacks.TensorBoard(tmp_path / "keras", write_graph=False)])
    for kind in ("train", "validation"):
        ours = event_accumulator.EventAccumulator(str(tmp_path / "out" / "tensorboard" / kind)).Reload()
        theirs = event_accumulator.EventAccumulator(str(tmp_path / "keras" / kind)).Reload()
        tags = sorted(set(ours.Tags()["tensors"]) - {"staleness"})
        assert tags == sorted(theirs.Tags()["tensors"])
        for tag in tags:
            our_steps = [event.step for event in ours.Tensors(tag)]
            their_steps = [event.step for event in theirs.Tensors(tag)]
            if kind == "validation":
                their_steps = their_steps[-1:]  # Keras evaluates after every epoch, Muster at the end
            assert our_steps == their_steps, tag
            assert ours.SummaryMetadata(tag) == theirs.SummaryMetadata(tag), tag


def test_staleness_is_a_histogram(tmp_path, data):
    """What the reader behind TensorBoard's pages finds is what result.json says of all epochs."""
    muster(["local", "--workers", "2", "--ps", "2"], written_job(data, tmp_path))
    staleness = json.loads((tmp_path / "out" / "result.json").read_text())["staleness"]
    limits, counts = staleness["histogram"]["limits"], staleness["histogram"]["counts"]
    assert limits == [0, 1, 2, 4, 8, 16, 32, 64] and len(counts) == 9
    assert sum(counts) == EPOCHS * STEPS_AN_EPOCH
    read = event_accumulator.EventAccumulator(str(tmp_path / "out" / "tensorboard" / "train")).Reload()
    assert read.SummaryMetadata("staleness").plugin_data.plugin_name == "histograms"
    events = read.Tensors("staleness")
    assert [event.step for event in events] == list(range(EPOCHS))
    bins = [tf.make_ndarray(event.tensor_proto) for event in events]
    for of_epoch in bins:
        assert of_epoch.dtype == np.float64 and of_epoch.shape == (9, 3)
        assert of_epoch[0, 0] == 0 and list(of_epoch[1:, 0]) == list(of_epoch[:-1, 1]) == [n + 1 for n in limits]
    assert list(sum(of_epoch[:, 2] for of_epoch in bins)) == counts


def test_resuming_adds_a_file(tmp_path, data):
    job_path = written_job(data, tmp_path)
    muster(["run"], job_path, "--set", "epochs=1")
    muster(["run"], job_path, "--set", "checkpoint.resume=true")
    first, second = files_of(tmp_path, "train")
    assert [step for step, tag, _ in points(first) if tag == "epoch_loss"] == [0]
    assert [step for step, tag, _ in points(second) if tag == "epoch_loss"] == list(range(1, EPOCHS))
    whole = event_accumulator.EventAccumulator(str(tmp_path / "out" / "tensorboard" / "train")).Reload()
    # Files of one second are read in the order of their process ids as text.
    assert sorted(event.step for event in whole.Tensors("epoch_loss")) == list(range(EPOCHS))
