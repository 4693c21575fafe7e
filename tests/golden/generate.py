"""Dumps what real Keras computes, for the golden tests; run by hand when a case is added, never by the build.

    python3 -m venv /tmp/keras && /tmp/keras/bin/pip install -r tests/golden/requirements.txt
    /tmp/keras/bin/python tests/golden/generate.py            # writes tests/golden/dumps/*.golden

A dump is one line of JSON (its tensors with shapes and offsets in floats, and whatever else the test needs), then raw
little-endian float32. Integers (labels, bytes of images) are stored as floats that hold them exactly. The numbers come from
the TensorFlow backend on a CPU, eagerly, in float32.
"""

import json
import os
import pathlib

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


class Dump:
    """One file: a header and its tensors, in the order they were added."""

    def __init__(self, name):
        self.path = HERE / "dumps" / (name + ".golden")
        self.tensors, self.blobs, self.at, self.cases = [], [], 0, []

    def add(self, name, value):
        value = np.ascontiguousarray(np.asarray(value, dtype="<f4"))
        self.tensors.append({"name": name, "shape": list(value.shape), "offset": self.at})
        self.blobs.append(value.tobytes())
        self.at += value.size

    def write(self):
        self.path.parent.mkdir(exist_ok=True)
        header = {"keras": keras.__version__, "cases": self.cases, "tensors": self.tensors}
        text = json.dumps(header, separators=(",", ":"))
        self.path.write_bytes(text.encode() + b"\n" + b"".join(self.blobs))
        print(f"{self.path.name}: {len(self.cases)} cases, {self.path.stat().st_size} bytes")


def variables(model):
    """Trained variables in layer order, named as in a checkpoint."""
    return [(f"{layer.name}/{v.name}", v) for layer in model.layers for v in layer.trainable_variables]


def randomise(model, rng):
    """Biases that are not zero, so that a test of them can fail."""
    for _, v in variables(model):
        scale = 0.5 if len(v.shape) > 1 else 0.3
        v.assign(rng.normal(0, scale, v.shape).astype("float32"))


def serialise(obj):
    return obj if isinstance(obj, str) else keras.saving.serialize_keras_object(obj)


def targets_of(loss, labels, n_outputs, rng):
    name = loss if isinstance(loss, str) else loss.name
    if name in ("mse", "mean_squared_error"):
        return rng.normal(0, 1, (len(labels), n_outputs)).astype("float32")
    if name == "categorical_crossentropy":
        return np.eye(n_outputs, dtype="float32")[labels]
    return labels.astype("int32")


def gradients(dump, name, model, loss, x, y):
    """Loss, output and gradients of one batch."""
    loss_object = keras.losses.get(loss)
    if not isinstance(loss_object, keras.losses.Loss):
        function = loss_object
        loss_object = lambda t, p: tf.reduce_mean(function(t, p))  # noqa: E731
    with tf.GradientTape() as tape:
        output = model(x, training=False)
        value = loss_object(y, output)
    grads = tape.gradient(value, [v.value for _, v in variables(model)])
    dump.add(f"{name}.x", x)
    dump.add(f"{name}.y", y)
    dump.add(f"{name}.output", output)
    dump.add(f"{name}.loss", value)
    for (variable, v), grad in zip(variables(model), grads):
        dump.add(f"{name}.w.{variable}", v)
        dump.add(f"{name}.g.{variable}", tf.convert_to_tensor(grad))
    dump.cases.append({"name": name, "model": json.loads(model.to_json()),
                       "compile": {"loss": serialise(loss)}})


ACTIVATIONS = ["linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "log_softmax", "elu", "selu", "softplus",
               "softsign", "gelu", "silu", "leaky_relu", "exponential", "hard_sigmoid", "hard_silu", "mish"]


def activation_layers():
    return [("layer_relu", layers.ReLU()), ("layer_relu_max", layers.ReLU(max_value=1.0)),
            ("layer_relu_slope", layers.ReLU(negative_slope=0.25)), ("layer_leaky_relu", layers.LeakyReLU()),
            ("layer_leaky_relu_slope", layers.LeakyReLU(negative_slope=0.05)), ("layer_elu", layers.ELU()),
            ("layer_elu_alpha", layers.ELU(alpha=0.7)), ("layer_softmax", layers.Softmax()),
            ("layer_activation", layers.Activation("tanh")), ("layer_dropout", layers.Dropout(0.4))]


def dump_layers():
    dump = Dump("layers")
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1.5, (9, 6)).astype("float32")
    for activation in ACTIVATIONS:
        model = keras.Sequential([keras.Input((6,)), layers.Dense(11, activation=activation), layers.Dense(3)])
        randomise(model, rng)
        gradients(dump, f"hidden_{activation}", model, "mse", x, targets_of("mse", np.zeros(9, int), 3, rng))
        model = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation=activation)])
        randomise(model, rng)
        gradients(dump, f"last_{activation}", model, "mse", x, targets_of("mse", np.zeros(9, int), 5, rng))
    for name, layer in activation_layers():
        model = keras.Sequential([keras.Input((6,)), layers.Dense(7), layer, layers.Dense(4, use_bias=False)])
        randomise(model, rng)
        gradients(dump, name, model, "mse", x, targets_of("mse", np.zeros(9, int), 4, rng))
    images = rng.integers(0, 256, (9, 4, 3)).astype("float32")
    for name, stack in [("rescaling_flatten", [layers.Rescaling(1 / 255), layers.Flatten()]),
                        ("flatten_rescaling", [layers.Flatten(), layers.Rescaling(1 / 127.5, offset=-1.0)]),
                        ("rescaling_twice", [layers.Rescaling(1 / 16), layers.Rescaling(0.25, 0.5), layers.Flatten()])]:
        model = keras.Sequential([keras.Input((4, 3)), *stack, layers.Dense(8, activation="relu"), layers.Dense(3)])
        randomise(model, rng)
        gradients(dump, name, model, "mse", images, targets_of("mse", np.zeros(9, int), 3, rng))
    # Dense on more than one axis works on the last.
    model = keras.Sequential([keras.Input((4, 3)), layers.Dense(5, activation="tanh"), layers.Flatten(),
                              layers.Rescaling(0.5, 0.25), layers.Dense(2)])
    randomise(model, rng)
    gradients(dump, "dense_on_two_axes", model, "mse", images / 100, targets_of("mse", np.zeros(9, int), 2, rng))
    dump.write()


def dump_losses():
    dump = Dump("losses")
    rng = np.random.default_rng(2)
    sparse, plain = keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy
    cases = []
    for from_logits in (False, True):
        for activation in ("linear", "softmax", "sigmoid"):
            if activation == "linear" and not from_logits:
                continue  # negative "probabilities"
            word = "logits" if from_logits else "probabilities"
            cases.append((f"sparse_{word}_{activation}", sparse(from_logits=from_logits), activation))
            cases.append((f"plain_{word}_{activation}", plain(from_logits=from_logits), activation))
    cases += [("sparse_text_softmax", "sparse_categorical_crossentropy", "softmax"),
              ("plain_text_softmax", "categorical_crossentropy", "softmax"), ("mse_text", "mse", "linear"),
              ("mse_object", keras.losses.MeanSquaredError(), "tanh")]
    for name, loss, activation in cases:
        for suffix, scale in (("", 1.0), ("_saturated", 40.0)):
            model = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation=activation)])
            randomise(model, rng)
            x = (scale * rng.normal(0, 1, (16, 6))).astype("float32")
            y = targets_of(loss, rng.integers(0, 5, 16), 5, rng)
            gradients(dump, name + suffix, model, loss, x, y)
    # The softmax of a layer, and one that something follows.
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.Softmax()])
    randomise(model, rng)
    x = (20 * rng.normal(0, 1, (16, 6))).astype("float32")
    gradients(dump, "sparse_softmax_layer", model, sparse(), x, targets_of(sparse(), rng.integers(0, 5, 16), 5, rng))
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="softmax"), layers.Rescaling(0.5, 0.1)])
    randomise(model, rng)
    x = rng.normal(0, 1, (16, 6)).astype("float32")
    gradients(dump, "sparse_after_softmax", model, sparse(), x, targets_of(sparse(), rng.integers(0, 5, 16), 5, rng))
    gradients(dump, "plain_after_softmax", model, plain(), x, targets_of(plain(), rng.integers(0, 5, 16), 5, rng))
    dump.write()


def optimizers():
    o = keras.optimizers
    return [("sgd", o.SGD(0.1)), ("momentum", o.SGD(0.05, momentum=0.9)),
            ("nesterov", o.SGD(0.05, momentum=0.9, nesterov=True)), ("adam", o.Adam(0.001)),
            ("adam_other", o.Adam(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-4)), ("amsgrad", o.Adam(0.002, amsgrad=True))]


def dump_optimizers():
    dump = Dump("optimizers")
    for name, optimizer in optimizers():
        rng = np.random.default_rng(3)
        v = keras.Variable(rng.normal(0, 1, (9, 11)).astype("float32"), name="kernel")
        dump.add(f"{name}.w.0", v)
        optimizer.build([v])
        config = serialise(optimizer)
        grads = (rng.normal(0, 1, (50, 9, 11)) * np.exp(rng.normal(0, 2, (1, 9, 11)))).astype("float32")
        dump.add(f"{name}.grads", grads)
        for step, grad in enumerate(grads, 1):
            optimizer.apply([tf.constant(grad)], [v])
            if step % 10 == 0:
                dump.add(f"{name}.w.{step}", v)
        slots = [s for s in optimizer.variables if tuple(s.shape) == tuple(v.shape)]
        for slot in slots:
            dump.add(f"{name}.slot.{slot.name}", slot)
        dump.cases.append({"name": name, "optimizer": config, "slots": [s.name for s in slots]})
    dump.write()


def trajectory_models():
    o, s = keras.optimizers, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    dense = lambda: keras.Sequential([keras.Input((12,)), layers.Dense(24, activation="relu"),  # noqa: E731
                                      layers.Dense(16, activation="relu"), layers.Dense(5)])
    image = lambda: keras.Sequential([keras.Input((6, 6)), layers.Rescaling(1 / 255), layers.Flatten(),  # noqa: E731
                                      layers.Dense(20, activation="tanh"), layers.Dense(5, activation="softmax")])
    regress = lambda: keras.Sequential([keras.Input((12,)), layers.Dense(16, activation="gelu"),  # noqa: E731
                                        layers.Dense(8), layers.LeakyReLU(), layers.Dense(3)])
    return [("dense_sgd", dense, o.SGD(0.05), s, False), ("dense_momentum", dense, o.SGD(0.01, momentum=0.9), s, False),
            ("dense_nesterov", dense, o.SGD(0.01, momentum=0.9, nesterov=True), s, False),
            ("dense_adam", dense, o.Adam(0.001), s, False),
            ("image_sgd", image, o.SGD(0.1), "sparse_categorical_crossentropy", True),
            ("image_adam", image, o.Adam(0.001), "categorical_crossentropy", True),
            ("regress_sgd", regress, o.SGD(0.02), "mse", False), ("regress_adam", regress, o.Adam(0.001), "mse", False)]


def dump_trajectories():
    dump = Dump("trajectories")
    for name, make, optimizer, loss, is_image in trajectory_models():
        rng = np.random.default_rng(4)
        keras.utils.set_random_seed(5)
        model = make()
        n_outputs = model.output_shape[-1]
        steps, batch = 50, 16
        shape = (steps * batch, *model.input_shape[1:])
        x = rng.integers(0, 256, shape) if is_image else rng.normal(0, 1, shape)
        x = x.astype("float32")
        labels = (np.abs(x.reshape(len(x), -1) @ rng.normal(0, 1, (int(np.prod(shape[1:])), n_outputs)))).argmax(-1)
        y = targets_of(loss, labels, n_outputs, rng)
        metrics = [] if loss == "mse" else ["accuracy"]
        model.compile(optimizer=optimizer, loss=loss, metrics=metrics, run_eagerly=True)
        config = serialise(optimizer)
        dump.add(f"{name}.x", x)
        dump.add(f"{name}.y", y)
        for variable, v in variables(model):
            dump.add(f"{name}.w.0.{variable}", v)
        losses = []
        for step in range(1, steps + 1):
            rows = slice((step - 1) * batch, step * batch)
            logs = model.train_on_batch(x[rows], y[rows], return_dict=True)
            losses.append(logs["loss"])
            if step % 10 == 0:
                for variable, v in variables(model):
                    dump.add(f"{name}.w.{step}.{variable}", v)
        results = model.evaluate(x, y, batch_size=24, verbose=0, return_dict=True)
        dump.add(f"{name}.evaluated", [results["loss"]] + [results[m] for m in metrics])
        dump.cases.append({"name": name, "model": json.loads(model.to_json()) | {"compile_config": {}},
                           "compile": {"optimizer": config, "loss": serialise(loss), "metrics": metrics},
                           "steps": steps, "batch": batch, "is_image": is_image})
    dump.write()


if __name__ == "__main__":
    dump_layers()
    dump_losses()
    dump_optimizers()
    dump_trajectories()
