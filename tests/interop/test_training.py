"""A training by Muster, repeated by Keras: the same model, initial values, batches and optimizer give the same weights.

Keras makes the model and prints it, Muster trains it on small IDX files without shuffling, in one process and on a
cluster of one worker and two parameter servers (whose updates come in the order of its batches). Initial values are what
Muster has after a step with learning rate 0. Then Keras trains on the same batches, and weights, slots and evaluation
are compared; all are read by TensorFlow from the files that Muster wrote.

MUSTER_BINARY names the program (tests/interop/run sets it); without it or without Keras the tests are skipped.
"""
import json
import os
import pathlib
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))
import tiny_job  # noqa: E402

BATCH = 24  # 2000 examples: 83 batches and one of 8
EPOCHS = 2
STEPS = EPOCHS * -(-tiny_job.TRAIN_EXAMPLES // BATCH)


def optimizers():
    o = keras.optimizers
    return {"sgd": o.SGD(0.05), "nesterov": o.SGD(0.01, momentum=0.9, nesterov=True), "adam": o.Adam(0.001),
            "amsgrad": o.Adam(0.002, beta_1=0.8, amsgrad=True)}


# Of the largest weight of a variable. 168 steps add up the rounding of their gradients (measured: 5e-7); Adam may move
# a weight whose gradient is lost in rounding by a whole learning rate (tests/golden says more).
TOLERANCE = {"sgd": 1e-5, "nesterov": 1e-5, "adam": 2e-5, "amsgrad": 2e-5}
# Slots hold gradients, which at the end are small differences of large numbers (measured: 2e-5).
SLOT_TOLERANCE = 2e-4

CLUSTERS = {"process": ["run"], "cluster": ["local", "--workers", "1", "--ps", "2"]}


def keras_model():
    return keras.Sequential(
        [keras.Input((tiny_job.SIDE, tiny_job.SIDE)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
         keras.layers.Dense(32, activation="gelu", kernel_initializer="he_normal"), keras.layers.Dense(16),
         keras.layers.ReLU(negative_slope=0.125),
         keras.layers.Dense(tiny_job.CLASSES, activation="softmax", bias_initializer=keras.initializers.Constant(0.1))],
        name="tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_job.write_data(tmp_path_factory.mktemp("data"))


def arrays(n, seed):
    images, labels = tiny_job.examples(n, seed)
    x = np.frombuffer(images, np.uint8).reshape(n, tiny_job.SIDE, tiny_job.SIDE)
    return x.astype("float32"), np.frombuffer(labels, np.uint8).astype("int32")


def muster(command, job, *more):
    binary = os.environ.get("MUSTER_BINARY")
    if not binary:
        pytest.skip("MUSTER_BINARY is not set: tests/interop/run builds it")
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    done = subprocess.run([binary, command[0], str(job), *command[1:], *more], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout


def write_job(data, folder, model, optimizer):
    job = tiny_job.job(data, folder)
    job["model"] = "model.json"
    job["compile"] = {"optimizer": keras.saving.serialize_keras_object(optimizer),
                      "loss": keras.saving.serialize_keras_object(keras.losses.SparseCategoricalCrossentropy()),
                      "metrics": ["accuracy"]}
    job["data"]["train"]["shuffle"] = False
    job |= {"batch_size": BATCH, "epochs": EPOCHS, "seed": 3}
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    (folder / "model.json").write_text(model.to_json())
    return path


def weights_of(folder):
    """A model directory as Keras and TensorFlow read it: the model with its weights."""
    model = keras.models.model_from_json((folder / "model.json").read_text())
    reader = tf.train.load_checkpoint(str(folder / "weights"))
    names = []
    for layer in model.layers:
        for variable in layer.trainable_variables:
            names.append(f"{layer.name}/{variable.name}")
            variable.assign(reader.get_tensor(names[-1]))
    assert sorted(reader.get_variable_to_shape_map()) == sorted(names)
    return model, names


def close(name, got, want, tolerance):
    scale = float(np.max(np.abs(want)))
    error = float(np.max(np.abs(got - want)))
    assert error <= tolerance * scale, f"{name}: off by {error:.3g}, {error / scale:.3g} of the largest"


@pytest.mark.parametrize("cluster", list(CLUSTERS))
@pytest.mark.parametrize("kind", list(TOLERANCE))
def test_keras_repeats_it(tmp_path, data, kind, cluster):
    optimizer = optimizers()[kind]
    job = write_job(data, tmp_path, keras_model(), optimizer)
    still = ["--set", "compile.optimizer.config.learning_rate=0.0", "--set", "steps=1", "--set", "epochs=null"]
    muster(CLUSTERS["process"], job, *still, "--set", f"output.dir={tmp_path / 'start'}",
           "--set", f"checkpoint.dir={tmp_path / 'start-ckpt'}")
    model, names = weights_of(tmp_path / "start" / "model")
    muster(CLUSTERS[cluster], job)
    trained, _ = weights_of(tmp_path / "out" / "model")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["steps"] == STEPS

    x, y = arrays(tiny_job.TRAIN_EXAMPLES, 1)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    for name, got, want in zip(names, trained.trainable_variables, model.trainable_variables):
        close(name, got.numpy(), want.numpy(), TOLERANCE[kind])

    # Evaluation of Muster's own weights, by both.
    trained.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = trained.evaluate(*arrays(tiny_job.EVAL_EXAMPLES, 2), batch_size=50, verbose=0)
    assert result["eval"]["loss"] == pytest.approx(loss, rel=2e-6)  # Keras adds up in float32
    assert result["eval"]["accuracy"] == pytest.approx(accuracy, abs=1e-7)
    assert json.loads(muster(["eval"], job)) | {"checkpoint": None} == {
        "checkpoint": None, "examples": tiny_job.EVAL_EXAMPLES, **result["eval"]}
    check_checkpoint(tmp_path / "ckpt", trained, names, optimizer, kind)


def check_checkpoint(folder, trained, names, optimizer, kind):
    """The last checkpoint: weights as in the model directory, Keras's slots, the number of updates."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder)))
    shapes = reader.get_variable_to_shape_map()
    slots = {"sgd": [], "nesterov": ["momentum"], "adam": ["momentum", "velocity"],
             "amsgrad": ["momentum", "velocity", "velocity_hat"]}[kind]
    assert sorted(shapes) == sorted([*names, *(f"{name}/{slot}" for name in names for slot in slots), "iterations", "chief_state"])
    assert reader.get_tensor("iterations") == STEPS
    # Keras: "<variable's path with _>_<slot>", variables in the model's order
    of_keras = {variable.path.split("/")[-1]: variable.numpy() for variable in optimizer.variables}
    for name, variable in zip(names, trained.trainable_variables):
        np.testing.assert_array_equal(reader.get_tensor(name), variable.numpy(), err_msg=name)
        for slot in slots:
            close(f"{name}/{slot}", reader.get_tensor(f"{name}/{slot}"),
                  of_keras[f"{name.replace('/', '_')}_{slot}"], 20 * TOLERANCE[kind])
