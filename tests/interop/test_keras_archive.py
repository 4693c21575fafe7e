"""`.keras` archives and TensorFlow's checkpoints, both ways: what Keras 3 and tf_keras saved predicts the same here, and what
a job of ours left predicts the same there.

MUSTER_BINARY names the program (tests/interop/run sets it); without it or without Keras the tests are skipped.
"""
import json
import os
import subprocess

import pytest

np = pytest.importorskip("numpy")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")

N, WIDE, CLASSES = 40, 6, 3
X = np.random.default_rng(1).random((N, WIDE), dtype=np.float32)
Y = np.random.default_rng(2).integers(0, CLASSES, N)


@pytest.fixture
def run(tmp_path):
    if "MUSTER_BINARY" not in os.environ:
        pytest.skip("MUSTER_BINARY does not name the program")

    def to_end(*arguments):
        done = subprocess.run([os.environ["MUSTER_BINARY"], *map(str, arguments)], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return to_end


@pytest.fixture
def data(tmp_path):
    lines = [",".join([f"f{i}" for i in range(WIDE)] + ["kind"])]
    lines += [",".join([*(repr(float(v)) for v in row), str(kind)]) for row, kind in zip(X, Y)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def sequential(k):
    """Two layers of one class with layers between them, so that places are counted by class."""
    layers = k.layers
    model = k.Sequential([layers.Input((WIDE,)), layers.Dense(5, activation="relu"), layers.Dropout(0.2),
                          layers.Dense(4, activation="tanh", use_bias=False), layers.LeakyReLU(),
                          layers.Dense(CLASSES, activation="softmax", name="last")])
    model.compile(k.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    return model


def nested(k):
    """A model within a model, normalized twice, and a Dense in each: one place is counted in each of them."""
    layers = k.layers
    tower = k.Sequential([layers.Input((WIDE,)), layers.Dense(5, activation="relu"), layers.BatchNormalization()],
                         name="tower")
    scaled = layers.Normalization()
    scaled.adapt(X)
    features = layers.Input((WIDE,), name="features")
    joined = layers.Concatenate()([tower(scaled(features)), layers.Dense(4, name="beside")(features)])
    model = k.Model(features, layers.Dense(CLASSES, activation="softmax")(layers.LayerNormalization()(joined)))
    model.compile(k.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0, epochs=3)
    return model


def functional(k):
    """A Functional in a Functional: Keras 3's checkpoints name the layers of the inner one without it."""
    layers = k.layers
    inside = layers.Input((WIDE,))
    inner = k.Model(inside, layers.BatchNormalization(name="norm")(layers.Dense(5, name="deep")(inside)), name="inner")
    features = layers.Input((WIDE,), name="features")
    model = k.Model(features, layers.Dense(CLASSES, activation="softmax", name="top")(inner(features)))
    model.compile(k.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    return model


def write_job(tmp_path, described, **keys):
    (tmp_path / "model.json").write_text(described.to_json())
    job = {"name": "archive", "model": "model.json",
           "compile": {"optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.1}},
                       "loss": "sparse_categorical_crossentropy"},
           "data": {"train": {"format": "csv", "features": "data.csv", "label": "kind"}}, "batch_size": 8, "epochs": 2} | keys
    (tmp_path / "job.json").write_text(json.dumps(job))
    return "job.json"


def expect_predictions(text, model):
    rows = [line.split(",") for line in text.strip().splitlines()]
    if not rows[0][0].lstrip("-")[:1].isdigit():
        rows = rows[1:]
    np.testing.assert_allclose(np.array(rows, dtype=np.float32), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


KERAS = {"keras3": keras, "tf_keras": tf_keras}
MODELS = {"sequential": sequential, "nested": nested}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("k", KERAS.values(), ids=KERAS)
def test_an_archive_of_keras(run, data, tmp_path, k, make):
    model = make(k)
    model.save(tmp_path / "m.keras")
    expect_predictions(run("predict", "m.keras", "--input", data, "--label", "kind"), model)


@pytest.mark.parametrize("k", KERAS.values(), ids=KERAS)
@pytest.mark.parametrize("root, make", [("model", sequential), ("net", sequential), ("model", nested),
                                        ("model", functional)])
def test_a_checkpoint_of_tensorflow(run, data, tmp_path, k, root, make):
    """Whatever the program called the model, and with its optimizer's slots beside it, whose names are like the variables'."""
    model = make(k)
    prefix = tf.train.Checkpoint(**{root: model}, optimizer=model.optimizer).write(str(tmp_path / "ck"))
    expect_predictions(run("predict", write_job(tmp_path, model), "--input", data, "--checkpoint", prefix), model)


def test_layers_named_in_another_session(run, data, tmp_path):
    """The automatic names of Keras 2 count through a session: then only the places tell."""
    model = sequential(tf_keras)
    other = sequential(tf_keras)
    assert model.layers[0].name != other.layers[0].name
    model.save_weights(tmp_path / "weights" / "w", save_format="tf")
    expect_predictions(run("predict", write_job(tmp_path, other), "--input", data, "--checkpoint", tmp_path / "weights"), model)


@pytest.mark.parametrize("k", KERAS.values(), ids=KERAS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("command", [["run"], ["local", "--workers", "2", "--ps", "2"]], ids=["process", "cluster"])
def test_keras_loads_what_a_job_left(run, data, tmp_path, command, make, k):
    model = make(k)
    model.save(tmp_path / "first.keras")  # what a Normalization was adapted to is in no JSON
    partitioner = {"class_name": "FixedShardsPartitioner", "config": {"num_shards": 2}}
    run(command[0], write_job(tmp_path, model, init_from="first.keras", partitioner=partitioner, output={"dir": "out"}), *command[1:])
    loaded = k.models.load_model(tmp_path / "out" / "model.keras")
    assert not np.allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0)), "it was trained"
    expect_predictions(run("predict", "out/model", "--input", data, "--label", "kind"), loaded)
    expect_predictions(run("predict", "out/model.keras", "--input", data, "--label", "kind"), loaded)


def test_an_archive_goes_on_training(run, data, tmp_path):
    """A job whose model is an archive begins with its weights: with a learning rate of 0 they stay."""
    model = sequential(keras)
    model.save(tmp_path / "m.keras")
    still = {"optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.0}}, "loss": "sparse_categorical_crossentropy"}
    run("run", write_job(tmp_path, model, model="m.keras", compile=still, output={"dir": "out"}))
    loaded = keras.models.load_model(tmp_path / "out" / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
