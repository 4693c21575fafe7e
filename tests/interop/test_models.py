"""Random models of the layers that Muster has, by real Keras and by model_tool: outputs, losses, gradients, statistics.

Needs Keras with TensorFlow and model_tool, which the build makes; tests/interop/run has both. MUSTER_BUILD names the
build folder, MUSTER_TEST_SEED the first seed (0), MUSTER_TEST_MODELS how many (200). A model that differs is printed
with its seed, which alone makes it again.
"""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
L = keras.layers
ROOT = pathlib.Path(__file__).resolve().parents[2]
N_EXAMPLES = 5
# Of the largest value: a float has 6e-8, and these models are up to twenty operations deep.
TOLERANCE = 2e-5
ACTIVATIONS = ["linear", "relu", "tanh", "sigmoid", "gelu", "silu", "elu", "softplus", "softmax", "selu", "leaky_relu",
               "hard_sigmoid", "mish"]
JOINS = ["Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract"]


@pytest.fixture(scope="module")
def tool():
    for folder in filter(None, [os.environ.get("MUSTER_BUILD"), ROOT / "build/release", ROOT / "build/debug"]):
        for path in pathlib.Path(folder).glob("**/model_tool"):
            if path.is_file():
                return path
    pytest.skip("model_tool is not built; set MUSTER_BUILD to the build folder")


def dense(rng, x):
    regularizer = lambda: rng.choice([None, None, None, "l1", "l2"])  # noqa: E731
    return L.Dense(int(rng.integers(1, 6)), activation=str(rng.choice(ACTIVATIONS)), use_bias=bool(rng.random() < 0.8),
                   kernel_regularizer=regularizer(), bias_regularizer=regularizer(), activity_regularizer=regularizer(),
                   trainable=bool(rng.random() < 0.85))(x)


def batch_norm(rng, x):
    return L.BatchNormalization(momentum=0.5, trainable=bool(rng.random() < 0.7), center=bool(rng.random() < 0.8),
                                axis=int(rng.integers(1, len(x.shape))))(x)


def nested(rng, x):
    i = keras.Input(x.shape[1:])
    if rng.random() < 0.4:
        return keras.Sequential([i, L.Dense(3, activation="relu"), L.LayerNormalization()])(x)
    y = L.Dense(3, activation="tanh")(i)
    return keras.Model(i, L.Add()([y, L.Dense(3)(i)]) if rng.random() < 0.5 else y)(x)


def operators(rng, x, y):
    if len(x.shape) != len(y.shape):
        raise ValueError("an operator pairs the examples with another axis then")
    return x + y if rng.random() < 0.5 else x * y


# What is made of one tensor; dense more often.
ALONE = [dense] * 4 + [
    batch_norm, nested,
    lambda rng, x: L.Activation(str(rng.choice(ACTIVATIONS)))(x),
    lambda rng, x: L.Flatten()(x),
    lambda rng, x: L.Reshape((-1,) if rng.random() < 0.5 else (1, -1))(x),
    lambda rng, x: L.Permute((2, 1))(x) if len(x.shape) == 3 else L.RepeatVector(3)(x),
    lambda rng, x: L.LayerNormalization()(x),
    lambda rng, x: L.PReLU()(x),
    lambda rng, x: L.Softmax(axis=int(rng.integers(1, len(x.shape))))(x),
    lambda rng, x: L.UnitNormalization()(x),
    lambda rng, x: L.GlobalAveragePooling1D()(x) if len(x.shape) == 3 else L.RMSNormalization()(x),
    lambda rng, x: x * float(rng.normal()) + float(rng.normal())]

# And of two.
TOGETHER = [
    lambda rng, x, y: L.Concatenate(axis=int(rng.integers(1, len(x.shape))))([x, y]),
    lambda rng, x, y: getattr(L, str(rng.choice(JOINS)))()([x, y]),
    operators,
    lambda rng, x, y: L.Dot(axes=(len(x.shape) - 1, len(y.shape) - 1), normalize=bool(rng.random() < 0.3))([x, y])]


def inputs_of(rng):
    shapes = [(int(rng.integers(2, 7)),) if rng.random() < 0.6 else tuple(int(n) for n in rng.integers(2, 6, 2))
              for _ in range(rng.integers(1, 3))]
    inputs = [keras.Input(shape) for shape in shapes]
    return inputs + ([keras.Input((3,), dtype="int32")] if rng.random() < 0.2 else [])


def random_model(rng):
    inputs = inputs_of(rng)
    tensors = [L.Embedding(7, int(rng.integers(2, 5)))(i) if i.dtype == "int32" else i for i in inputs]
    shared = []
    for _ in range(int(rng.integers(3, 10))):
        x, y = (tensors[rng.integers(len(tensors))] for _ in range(2))
        try:
            if rng.random() < 0.25:
                tensors.append(TOGETHER[rng.integers(len(TOGETHER))](rng, x, y))
            elif shared and rng.random() < 0.2:
                layer, shape = shared[rng.integers(len(shared))]
                # A Sequential of Keras takes any shape here, and fails when it is called with numbers.
                if isinstance(layer, L.Dense) or x.shape == shape:
                    tensors.append(layer(x))
            else:
                tensors.append(ALONE[rng.integers(len(ALONE))](rng, x))
                layer = tensors[-1]._keras_history.operation
                shared += [(layer, x.shape)] if isinstance(layer, (L.Dense, keras.Model)) else []
        except ValueError:
            continue  # shapes that do not go together
    ends = [tensors[-1]] + [tensors[rng.integers(len(tensors))] for _ in range(rng.integers(0, 2))]
    outputs = [L.Dense(int(rng.integers(1, 4)))(L.Flatten()(x) if len(x.shape) > 2 else x) for x in ends]
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs if len(outputs) > 1 else outputs[0])


def variables(model, prefix=""):
    """Variables by the names that Muster gives them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from variables(layer, f"{prefix}{layer.name}/")
        else:
            for v in layer.variables:
                yield f"{prefix}{layer.name}/{v.name}", layer, v


def as_list(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]


def numbers(x):
    return keras.ops.convert_to_numpy(tf.convert_to_tensor(x)).astype("float64")


class Wanted:
    """What Keras computes of a model on random numbers."""

    def __init__(self, model, rng):
        known = list(variables(model))
        for path, _, v in known:
            v.assign(rng.uniform(0.5, 2, v.shape) if "variance" in path else rng.normal(0, 0.5, v.shape))
        self.x = [(rng.integers(0, 7, (N_EXAMPLES, *i.shape[1:])) if i.dtype == "int32" else
                   rng.normal(0, 1, (N_EXAMPLES, *i.shape[1:]))).astype(i.dtype) for i in model.inputs]
        given = self.x if len(self.x) > 1 else self.x[0]
        self.outputs = as_list(model(given, training=False))
        self.y = [rng.normal(0, 1, o.shape).astype("float32") for o in self.outputs]
        self.loss_object = keras.losses.MeanSquaredError()
        self.evaluated = self.total(model, self.outputs)
        self.weights = {path: numbers(v.value) for path, _, v in known}
        trained = [(path, v) for path, _, v in known if v.trainable]
        with tf.GradientTape() as tape:
            self.loss = self.total(model, as_list(model(given, training=True)))
        grads = tape.gradient(self.loss, [v.value for _, v in trained])
        self.grads = {path: np.zeros(v.shape) if g is None else numbers(g) for (path, v), g in zip(trained, grads)}
        self.scale = max([np.abs(g).max() for g in self.grads.values()], default=0)
        for path, layer, v in known:
            if "moving_" in path and layer.trainable:
                self.grads[path] = (numbers(v.value) - layer.momentum * self.weights[path]) / (1 - layer.momentum)

    def total(self, model, outputs):
        return sum(self.loss_object(t, o) for t, o in zip(self.y, outputs)) + sum(model.losses)


def run(*command, given=b""):
    done = subprocess.run([str(word) for word in command], input=given, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def compare(tool, folder, model, wanted):
    """The names of what differs."""
    text, compiled = folder / "model.json", folder / "compile.json"
    text.write_text(model.to_json())
    loss = keras.saving.serialize_keras_object(wanted.loss_object)
    compiled.write_text(json.dumps({"loss": [loss] * len(wanted.y) if len(wanted.y) > 1 else loss}))
    described = run(tool, "describe", text).decode()
    ours = [line.split()[1:3] for line in described.splitlines() if line.startswith("variable ")]
    given = [wanted.weights[name] for name, _ in ours] + wanted.x + wanted.y
    blob = b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in given)
    got = np.frombuffer(run(tool, "run", text, compiled, N_EXAMPLES, given=blob), "<f4").astype("float64")
    expected = [(f"output {i}", numbers(o), 0) for i, o in enumerate(wanted.outputs)]
    expected += [("evaluated loss", numbers(wanted.evaluated), 0), ("loss", numbers(wanted.loss), 0)]
    # A gradient that is small beside the others is a difference of large numbers.
    expected += [(name, wanted.grads[name], wanted.scale) for name, update in ours if update != "frozen"]
    assert sum(a.size for _, a, _ in expected) == got.size
    differing, at = [], 0
    for name, value, scale in expected:
        part, at = got[at:at + value.size], at + value.size
        if not np.abs(part - value.ravel()).max(initial=0) <= TOLERANCE * max(np.abs(value).max(initial=0), scale):
            differing.append(name)
    return differing


def test_random_models_are_those_of_keras(tool, tmp_path):
    first, n = int(os.environ.get("MUSTER_TEST_SEED", 0)), int(os.environ.get("MUSTER_TEST_MODELS", 200))
    print(f"seeds {first} to {first + n - 1}")
    n_compared, wrong = 0, []
    for seed in range(first, first + n):
        keras.backend.clear_session()
        rng = np.random.default_rng([23, seed])
        model = random_model(rng)
        if not any(v.trainable for _, _, v in variables(model)):
            continue
        differing = compare(tool, tmp_path, model, Wanted(model, rng))
        n_compared += 1
        if differing:
            wrong.append(f"seed {seed}: {', '.join(differing)}")
    assert not wrong, "\n".join(wrong)
    assert n_compared > 0.9 * n
