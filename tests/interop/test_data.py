"""Several inputs and outputs: Muster trains and predicts from a CSV file and from IDX files as Keras does from arrays.

A functional model takes "wide" (two columns) and "deep" (three, in another order than in the file); it gives a class
and two values. Muster trains it on a file that also holds a column of text, Keras repeats the training from the same
initial values, and both predict the same of the same examples.
"""
import json
import os
import pathlib
import struct
import subprocess

import pytest

np = pytest.importorskip("numpy")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

N, BATCH, EPOCHS = 200, 16, 3
TOLERANCE = 2e-5  # of the largest weight or prediction: 39 steps add up the rounding of their gradients


def keras_model():
    wide, deep = keras.Input((2,), name="wide"), keras.Input((3,), name="deep")
    kind = keras.layers.Dense(4, name="kind")(keras.layers.Dense(8, activation="tanh", name="hidden")(deep))
    value = keras.layers.Dense(2, name="value")(wide)
    return keras.Model([wide, deep], [kind, value], name="two")


def made():
    rng = np.random.default_rng(5)
    wide, deep = rng.normal(size=(N, 2)).round(4).astype("f4"), rng.normal(size=(N, 3)).round(4).astype("f4")
    kind = rng.integers(0, 4, N)
    value = np.stack([wide.sum(1), deep[:, 0] - wide[:, 1]], 1).round(3).astype("f4")
    return wide, deep, kind, value


def weights():
    return np.random.default_rng(6).uniform(0, 3, N).round(3).astype("f4")


def write_csv(path):
    wide, deep, kind, value = made()
    with open(path, "w") as file:
        file.write('w0;d2;note;d0;kind;v1;d1;v0;w1;weight\n')
        for w, d, k, v, weight in zip(wide, deep, kind, value, weights()):
            file.write(";".join(map(str, [w[0], d[2], '"a; ""note"""', d[0], k, v[1], d[1], v[0], w[1], weight])) + "\n")


def write_idx(path, array):
    path.write_bytes(struct.pack(f">HBB{array.ndim}I", 0, 0x0D, array.ndim, *array.shape) + array.astype(">f4").tobytes())


def muster(*words):
    binary = os.environ.get("MUSTER_BINARY")
    if not binary:
        pytest.skip("MUSTER_BINARY is not set: tests/interop/run builds it")
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    done = subprocess.run([binary, *map(str, words)], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_job(folder, is_weighted=False, **changes):
    data = {"format": "csv", "features": "train.csv", "separator": ";", "shuffle": False,
            "inputs": {"deep": ["d0", "d1", "d2"], "wide": ["w0", "w1"]},
            "label": {"value": ["v0", "v1"], "kind": "kind"}}
    if is_weighted:
        data["sample_weight"] = "weight"
    job = {"name": "two", "model": "model.json", "batch_size": BATCH, "epochs": EPOCHS, "seed": 3,
           "compile": {"optimizer": keras.saving.serialize_keras_object(keras.optimizers.SGD(0.05)),
                       "loss": {"kind": {"class_name": "SparseCategoricalCrossentropy", "config": {"from_logits": True}},
                                "value": "mse"}},
           "data": {"train": data}, "output": {"dir": "out"}} | changes
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    (folder / "model.json").write_text(keras_model().to_json())
    return path


def weights_of(folder):
    model = keras.models.model_from_json((pathlib.Path(folder) / "model.json").read_text())
    reader = tf.train.load_checkpoint(str(folder / "weights"))
    for layer in model.layers:
        for variable in layer.trainable_variables:
            variable.assign(reader.get_tensor(f"{layer.name}/{variable.name}"))
    return model


def close(name, got, want):
    error = float(np.max(np.abs(np.asarray(got) - np.asarray(want))))
    assert error <= TOLERANCE * float(np.max(np.abs(want))), f"{name}: off by {error:.3g}"


@pytest.mark.parametrize("is_weighted", [False, True])
def test_keras_repeats_it_and_predicts_the_same(tmp_path, is_weighted):
    wide, deep, kind, value = made()
    write_csv(tmp_path / "train.csv")
    still = keras.saving.serialize_keras_object(keras.optimizers.SGD(0.0))
    path = write_job(tmp_path)
    loss = json.loads(path.read_text())["compile"]["loss"]
    path = write_job(tmp_path, steps=1, epochs=None, compile={"optimizer": still, "loss": loss})
    muster("run", path)
    model = weights_of(tmp_path / "out" / "model")
    model.compile(keras.optimizers.SGD(0.05),
                  loss=[keras.losses.SparseCategoricalCrossentropy(from_logits=True), "mse"])
    model.fit({"wide": wide, "deep": deep}, [kind, value], batch_size=BATCH, epochs=EPOCHS,
              sample_weight=[weights(), weights()] if is_weighted else None, shuffle=False, verbose=0)
    muster("run", write_job(tmp_path, is_weighted, output={"dir": "trained"}))
    trained = weights_of(tmp_path / "trained" / "model")
    for ours, theirs in zip(trained.trainable_variables, model.trainable_variables):
        close(theirs.path, ours.numpy(), theirs.numpy())
    # Predictions of the same file, of a file without labels, and of IDX files by the inputs' names.
    want_kind, want_value = trained.predict({"wide": wide, "deep": deep}, verbose=0)
    of_csv = muster("predict", path, "--set", f"output.dir={tmp_path}/trained", "--input", tmp_path / "train.csv")
    lines = of_csv.splitlines()
    assert lines[0] == "kind_0,kind_1,kind_2,kind_3,value_0,value_1"
    rows = np.array([[float(number) for number in line.split(",")] for line in lines[1:]])
    close("kind", rows[:, :4], want_kind)
    close("value", rows[:, 4:], want_value)
    write_idx(tmp_path / "wide.idx", wide)
    write_idx(tmp_path / "deep.idx", deep)
    of_idx = muster("predict", tmp_path / "trained" / "model", "--input", f"deep={tmp_path}/deep.idx", "--input",
                    f"wide={tmp_path}/wide.idx", "--format", "jsonl")
    objects = [json.loads(line) for line in of_idx.splitlines()]
    close("kind", [row["kind"] for row in objects], want_kind)
    close("value", [row["value"] for row in objects], want_value)
