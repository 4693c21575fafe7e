"""Dumps what real Keras computes, for the golden tests; run by hand when a case is added, never by the build.

    python3 -m venv /tmp/keras && /tmp/keras/bin/pip install -r tests/golden/requirements.txt
    /tmp/keras/bin/python tests/golden/generate.py            # writes tests/golden/dumps/*.golden

A dump is one line of JSON (its tensors with shapes and offsets in floats, and whatever else the test needs), then raw
little-endian float32. Integers (labels, bytes of images) are stored as floats that hold them exactly. Large tensors are
not stored: an input is a formula (mix below, and golden_file.c), of a result every `stride`-th element is kept. The
numbers come from the TensorFlow backend on a CPU, eagerly, in float32; those of `evaluate` from Keras's graph.
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

    def add(self, name, value, stride=1):
        value = np.ascontiguousarray(np.asarray(value, dtype="<f4"))
        entry = {"name": name, "shape": list(value.shape), "offset": self.at}
        if stride > 1:
            value = np.ascontiguousarray(value.reshape(-1)[::stride])
            entry["stride"] = stride
        self.tensors.append(entry)
        self.blobs.append(value.tobytes())
        self.at += value.size

    def formula(self, name, shape, seed, scale, kind):
        """A tensor that both sides compute: whole numbers below scale, or floats between -scale and scale."""
        words = mix(np.arange(int(np.prod(shape)), dtype=np.uint64), seed).reshape(shape)
        if kind == "whole":
            value = (words * np.uint64(scale)) >> np.uint64(32)
        else:
            value = ((words >> np.uint64(8)).astype("float64") * 2.0**-23 - 1.0) * scale
        self.tensors.append({"name": name, "shape": list(shape), "seed": seed, "scale": scale, "kind": kind})
        return value.astype("float32")

    def write(self):
        self.path.parent.mkdir(exist_ok=True)
        header = {"keras": keras.__version__, "cases": self.cases, "tensors": self.tensors}
        text = json.dumps(header, separators=(",", ":"))
        self.path.write_bytes(text.encode() + b"\n" + b"".join(self.blobs))
        print(f"{self.path.name}: {len(self.cases)} cases, {self.path.stat().st_size} bytes")


def mix(i, seed):
    """A 32-bit word for each index: two rounds of multiply and shift."""
    mask = np.uint64(0xFFFFFFFF)
    h = (i * np.uint64(0x9E3779B1) + np.uint64(seed)) & mask
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        h = ((h ^ (h >> np.uint64(15))) * np.uint64(factor)) & mask
    return h ^ (h >> np.uint64(16))


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


def measured(model, loss, metrics, x, y):
    """What evaluate returns for one batch, by Keras's names: the loss and the metrics."""
    # Copies: the first evaluate of a model does not reset what metrics counted elsewhere.
    fresh = [m if isinstance(m, str) else keras.saving.deserialize_keras_object(serialise(m)) for m in metrics]
    model.compile(optimizer="sgd", loss=loss, metrics=fresh)
    return model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)


def targets_of(loss, labels, n_outputs, rng):
    name = loss if isinstance(loss, str) else loss.name
    if name in ("mse", "mean_squared_error"):
        return rng.normal(0, 1, (len(labels), n_outputs)).astype("float32")
    if name == "categorical_crossentropy":
        return np.eye(n_outputs, dtype="float32")[labels]
    return labels.astype("int32")


def gradients(dump, name, model, loss, x, y, metrics=()):
    """Loss, output and gradients of one batch, and what evaluate says of it."""
    metrics = list(metrics)
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
                       "compile": {"loss": serialise(loss), "metrics": [serialise(m) for m in metrics]}})
    for key, number in measured(model, loss, metrics, x, y).items():
        dump.add(f"{name}.evaluated.{key}", number)


ACTIVATIONS = ["linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "log_softmax", "elu", "selu", "softplus",
               "softsign", "gelu", "silu", "leaky_relu", "exponential", "hard_sigmoid", "hard_silu", "mish", "celu",
               "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "log_sigmoid", "squareplus", "sparse_plus",
               "sparse_sigmoid"]


def points():
    """Where formulas change, their neighbours, a grid, and far out."""
    kinks = np.array([0.5, 1, 2, 3, 6, 20, 1e-3, 1e-6, 9, 15, 40, 80], "float32")
    kinks = np.concatenate([kinks, np.nextafter(kinks, np.float32(0)), np.nextafter(kinks, np.float32(100))])
    grid = np.linspace(0.03, 11, 100, dtype="float32")
    return np.concatenate([[0.0, -0.0], kinks, -kinks, grid, -grid]).astype("float32")


def dump_activations():
    """Each function on points() and its slope, elements apart."""
    dump = Dump("activations")
    x = tf.constant(points())
    dump.add("x", x)
    for name in ACTIVATIONS:
        if name.endswith("softmax"):
            continue
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = keras.activations.get(name)(x)
        slope = tape.gradient(y, x)
        dump.add(f"{name}.y", y)
        dump.add(f"{name}.slope", tf.convert_to_tensor(slope))
        dump.cases.append({"name": name})
    dump.write()


def activation_layers():
    return [("layer_relu", layers.ReLU()), ("layer_relu_max", layers.ReLU(max_value=1.0)),
            ("layer_relu_slope", layers.ReLU(negative_slope=0.25)),
            ("layer_relu_threshold", layers.ReLU(threshold=0.5)),
            ("layer_relu_all", layers.ReLU(max_value=2.0, negative_slope=0.125, threshold=0.25)),
            ("layer_relu_six", layers.ReLU(max_value=6.0)), ("layer_leaky_relu", layers.LeakyReLU()),
            ("layer_leaky_relu_slope", layers.LeakyReLU(negative_slope=0.05)), ("layer_elu", layers.ELU()),
            ("layer_elu_alpha", layers.ELU(alpha=0.7)), ("layer_softmax", layers.Softmax()),
            ("layer_activation", layers.Activation("tanh")), ("layer_activation_gelu", layers.Activation("gelu")),
            ("layer_dropout", layers.Dropout(0.4)), ("layer_dropout_none", layers.Dropout(0.0))]


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


def loss_cases():
    """name, loss, activation of the last Dense, metrics"""
    sparse, plain = keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy
    m = keras.metrics
    cases = []
    for from_logits in (False, True):
        for activation in ("linear", "softmax", "sigmoid", "softplus"):
            if activation == "linear" and not from_logits:
                continue  # negative "probabilities"
            word = "logits" if from_logits else "probabilities"
            cases.append((f"sparse_{word}_{activation}", sparse(from_logits=from_logits), activation, ["accuracy"]))
            cases.append((f"plain_{word}_{activation}", plain(from_logits=from_logits), activation, ["accuracy"]))
    return cases + [
        ("sparse_text_softmax", "sparse_categorical_crossentropy", "softmax",
         ["sparse_categorical_accuracy", "sparse_categorical_crossentropy"]),
        ("plain_text_softmax", "categorical_crossentropy", "softmax",
         [m.CategoricalAccuracy(name="hits"), m.CategoricalCrossentropy()]),
        ("mse_text", "mse", "linear", ["accuracy", "mse"]),
        ("mse_object", keras.losses.MeanSquaredError(), "tanh", [m.CategoricalAccuracy(), m.MeanSquaredError()])]


def softmax_in_the_way(dump, rng):
    """A softmax or sigmoid whose logits Keras uses in its place, and those that something follows."""
    sparse, plain = keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy
    for name, scale, stack in [
            ("softmax_layer", 20, lambda: [layers.Dense(5), layers.Softmax()]),
            ("sigmoid_layer", 1, lambda: [layers.Dense(5), layers.Activation("sigmoid")]),
            ("sigmoid_saturated_layer", 20, lambda: [layers.Dense(5), layers.Activation("sigmoid")]),
            ("softmax_then_linear", 20, lambda: [layers.Dense(5, activation="softmax"), layers.Activation("linear")]),
            ("sigmoid_then_dropout", 1, lambda: [layers.Dense(5, activation="sigmoid"), layers.Dropout(0.5)]),
            ("sigmoid_then_dropout_none", 1, lambda: [layers.Dense(5, activation="sigmoid"), layers.Dropout(0.0)]),
            ("sigmoid_then_flatten", 1, lambda: [layers.Dense(5, activation="sigmoid"), layers.Flatten()]),
            ("after_softmax", 1, lambda: [layers.Dense(5, activation="softmax"), layers.Rescaling(0.5, 0.1)])]:
        for kind, loss in (("sparse", sparse()), ("plain", plain())):
            model = keras.Sequential([keras.Input((6,)), *stack()])
            randomise(model, rng)
            x = (scale * rng.normal(0, 1, (16, 6))).astype("float32")
            y = targets_of(loss, rng.integers(0, 5, 16), 5, rng)
            gradients(dump, f"{kind}_{name}", model, loss, x, y, ["accuracy"])


def dump_losses():
    dump = Dump("losses")
    rng = np.random.default_rng(2)
    for name, loss, activation, metrics in loss_cases():
        for suffix, scale in (("", 1.0), ("_saturated", 40.0)):
            if suffix and name.startswith("mse"):
                continue  # 1 - tanh^2 keeps no digit there: nothing to compare
            model = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation=activation)])
            randomise(model, rng)
            x = (scale * rng.normal(0, 1, (16, 6))).astype("float32")
            y = targets_of(loss, rng.integers(0, 5, 16), 5, rng)
            gradients(dump, name + suffix, model, loss, x, y, metrics)
    softmax_in_the_way(dump, rng)
    # Targets that are no classes: shares that add up to 1, and weights that do not.
    for activation, from_logits in (("linear", True), ("softmax", False), ("softplus", False)):
        loss = keras.losses.CategoricalCrossentropy(from_logits=from_logits)
        for name, total in (("shares", 1.0), ("weights", 2.5)):
            model = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation=activation)])
            randomise(model, rng)
            x = rng.normal(0, 1, (16, 6)).astype("float32")
            y = rng.dirichlet(np.ones(5), 16) * total
            gradients(dump, f"plain_{activation}_{name}", model, loss, x, y.astype("float32"), ["accuracy"])
    # One output: "accuracy" is binary.
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1, activation="sigmoid")])
    randomise(model, rng)
    x = rng.normal(0, 1, (16, 6)).astype("float32")
    y = rng.integers(0, 2, (16, 1)).astype("float32")
    gradients(dump, "mse_one_output", model, "mse", x, y, ["accuracy", "mean_squared_error"])
    dump.write()


def optimizers():
    o = keras.optimizers
    return [("sgd", o.SGD(0.1)), ("momentum", o.SGD(0.05, momentum=0.9)),
            ("nesterov", o.SGD(0.05, momentum=0.9, nesterov=True)), ("adam", o.Adam(0.001)),
            ("adam_other", o.Adam(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-4)),
            ("amsgrad", o.Adam(0.002, amsgrad=True)),
            ("adam_no_epsilon", o.Adam(0.001, beta_1=0.0, epsilon=0.0)), ("adam_late", o.Adam(0.001)),
            ("adam_very_late", o.Adam(0.001)), ("sgd_decay", o.SGD(0.1, weight_decay=0.01)),
            ("sgd_clip", o.SGD(0.1, clipvalue=0.25)),
            ("nesterov_both", o.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.03, clipvalue=0.5)),
            ("adam_decay", o.Adam(0.001, weight_decay=0.01)), ("adamw", o.AdamW()),
            ("adamw_other", o.AdamW(0.01, weight_decay=0.1, beta_1=0.8, amsgrad=True, clipvalue=1.0)),
            ("adagrad", o.Adagrad()), ("adagrad_other", o.Adagrad(0.05, initial_accumulator_value=0.0, epsilon=1e-3)),
            ("rmsprop", o.RMSprop()), ("rmsprop_momentum", o.RMSprop(0.002, rho=0.8, momentum=0.9, epsilon=1e-5)),
            ("rmsprop_centered", o.RMSprop(0.003, centered=True, weight_decay=0.02)),
            ("rmsprop_both", o.RMSprop(0.001, momentum=0.5, centered=True)), ("lion", o.Lion()),
            ("lion_other", o.Lion(0.003, beta_1=0.8, beta_2=0.95, weight_decay=0.1)), ("adamax", o.Adamax()),
            ("adamax_late", o.Adamax(0.01, beta_1=0.95, beta_2=0.9)), ("ftrl", o.Ftrl(0.05)),
            ("adadelta", o.Adadelta()), ("adadelta_other", o.Adadelta(1.0, rho=0.9, epsilon=1e-4, weight_decay=0.01)),
            ("ftrl_other", o.Ftrl(0.1, initial_accumulator_value=0.5, l1_regularization_strength=0.3,
                                  l2_regularization_strength=0.02, l2_shrinkage_regularization_strength=0.01,
                                  beta=0.7)),
            ("ftrl_power", o.Ftrl(0.05, learning_rate_power=-0.3)),
            ("ftrl_power_other", o.Ftrl(0.1, learning_rate_power=-0.8, initial_accumulator_value=0.5, beta=0.7,
                                        l1_regularization_strength=0.3, l2_regularization_strength=0.02)),
            ("ftrl_power_none", o.Ftrl(0.05, learning_rate_power=0.0)), ("nadam", o.Nadam()),
            ("nadam_other", o.Nadam(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-4, weight_decay=0.01, clipvalue=2.0)),
            ("sgd_clipnorm", o.SGD(0.1, clipnorm=3.0)), ("nadam_global_clipnorm", o.Nadam(global_clipnorm=5.0)),
            ("sgd_scheduled", o.SGD(schedules()["exponential"], momentum=0.9)),
            ("adam_scheduled", o.Adam(schedules()["cosine_warmup"])),
            ("adamw_scheduled", o.AdamW(schedules()["cosine"], weight_decay=0.1)),
            ("adagrad_scheduled", o.Adagrad(schedules()["piecewise"]))]


def schedules():
    s = keras.optimizers.schedules
    return {"exponential": s.ExponentialDecay(0.1, 30, 0.9),
            "exponential_stairs": s.ExponentialDecay(0.01, 7, 0.5, True),
            "inverse_time": s.InverseTimeDecay(0.1, 13, 0.7), "inverse_stairs": s.InverseTimeDecay(0.3, 10, 0.5, True),
            "polynomial": s.PolynomialDecay(0.1, 150), "polynomial_root": s.PolynomialDecay(0.2, 170, 0.01, power=0.5),
            "polynomial_cycle": s.PolynomialDecay(0.1, 37, 0.001, power=2.0, cycle=True),
            "cosine": s.CosineDecay(0.1, 40), "cosine_alpha": s.CosineDecay(0.03, 230, alpha=0.1),
            "cosine_warmup": s.CosineDecay(0.0, 150, alpha=0.05, warmup_target=0.02, warmup_steps=20),
            "restarts": s.CosineDecayRestarts(0.1, 10), "restarts_even": s.CosineDecayRestarts(0.1, 16, t_mul=1.0),
            "restarts_other": s.CosineDecayRestarts(0.05, 9, t_mul=1.5, m_mul=0.8, alpha=0.02),
            "piecewise": s.PiecewiseConstantDecay([10, 25, 200], [0.1, 0.05, 0.2, 0.01])}


def dump_schedules():
    """Learning rates of the first 300 updates and of some late ones."""
    dump = Dump("schedules")
    steps = [*range(300), 1000, 4095, 65_537, 1_000_000]
    dump.add("steps", steps)
    for name, schedule in schedules().items():
        dump.add(f"{name}.rates", [np.asarray(schedule(tf.constant(step, "int64"))) for step in steps])
        dump.cases.append({"name": name, "schedule": serialise(schedule)})
    dump.write()


# Updates that came before the first dumped one, for the correction of Adam's bias.
BEFORE = {"adam_late": 990, "adam_very_late": 999_950, "adamax_late": 400}


def dump_optimizers():
    dump = Dump("optimizers")
    for name, optimizer in optimizers():
        rng = np.random.default_rng(3)
        v = keras.Variable(rng.normal(0, 1, (9, 11)).astype("float32"), name="kernel")
        if not dump.cases:
            dump.add("w.0", v)  # the same for all
        optimizer.build([v])
        before = BEFORE.get(name, 0)
        optimizer.iterations.assign(before)
        config = serialise(optimizer)
        grads = (rng.normal(0, 1, (50, 9, 11)) * np.exp(rng.normal(0, 2, (1, 9, 11)))).astype("float32")
        if not dump.cases:
            dump.add("grads", grads)
        for step, grad in enumerate(grads, 1):
            optimizer.apply([tf.constant(grad)], [v])
            if step % 10 == 0:
                dump.add(f"{name}.w.{step}", v)
        slots = [s for s in optimizer.variables if tuple(s.shape) == tuple(v.shape)]
        for slot in slots:
            dump.add(f"{name}.slot.{slot.name}", slot)
        dump.cases.append({"name": name, "optimizer": config, "before": before,
                           "slots": [s.name for s in slots]})
    dump.write()


def dense_model():
    return keras.Sequential([keras.Input((12,)), layers.Dense(24, activation="relu"),
                             layers.Dense(16, activation="relu"), layers.Dense(5)])


def clipped_models():
    o, s = keras.optimizers, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return [("clipnorm", dense_model, o.SGD(0.05, clipnorm=0.2), s, False),
            ("global_clipnorm", dense_model, o.SGD(0.05, global_clipnorm=0.4), s, False),
            ("clipnorm_adam", dense_model, o.Adam(0.001, clipnorm=0.1), s, False)]


def trajectory_models():
    o, s = keras.optimizers, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    dense = dense_model
    image = lambda: keras.Sequential([keras.Input((6, 6)), layers.Rescaling(1 / 255), layers.Flatten(),  # noqa: E731
                                      layers.Dense(20, activation="tanh"), layers.Dense(5, activation="softmax")])
    regress = lambda: keras.Sequential([keras.Input((12,)), layers.Dense(16, activation="gelu"),  # noqa: E731
                                        layers.Dense(8), layers.LeakyReLU(), layers.Dense(3)])
    binary = lambda: keras.Sequential([keras.Input((12,)), layers.Dense(16, activation="silu"),  # noqa: E731
                                       layers.Dense(1, activation="sigmoid")])
    return [("dense_sgd", dense, o.SGD(0.05), s, False), ("dense_momentum", dense, o.SGD(0.01, momentum=0.9), s, False),
            ("dense_nesterov", dense, o.SGD(0.01, momentum=0.9, nesterov=True), s, False),
            ("dense_adam", dense, o.Adam(0.001), s, False),
            ("image_sgd", image, o.SGD(0.1), "sparse_categorical_crossentropy", True),
            ("image_adam", image, o.Adam(0.001), "categorical_crossentropy", True),
            ("regress_sgd", regress, o.SGD(0.02), "mse", False), ("regress_adam", regress, o.Adam(0.001), "mse", False),
            ("dense_amsgrad", dense, o.Adam(0.001, amsgrad=True), s, False),
            ("binary_nesterov", binary, o.SGD(0.05, momentum=0.9, nesterov=True), "mse", False)]


def dump_trajectories(file, models):
    dump = Dump(file)
    for name, make, optimizer, loss, is_image in models:
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
        if n_outputs == 1:
            y = (x[:, :1] > 0.1).astype("float32")
        metrics = [] if loss == "mse" and n_outputs > 1 else ["accuracy"]
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
        for key, number in model.evaluate(x, y, batch_size=24, verbose=0, return_dict=True).items():
            dump.add(f"{name}.evaluated.{key}", number)
        dump.cases.append({"name": name, "model": json.loads(model.to_json()) | {"compile_config": {}},
                           "compile": {"optimizer": config, "loss": serialise(loss), "metrics": metrics},
                           "steps": steps, "batch": batch, "is_image": is_image})
    dump.write()


def dump_example():
    """examples/fashion-mnist's model on made-up images: 50 steps of 64, too large to store whole."""
    dump = Dump("example")
    steps, batch, stride = 50, 64, 101
    for name, optimizer in (("example_sgd", keras.optimizers.SGD(0.01)),
                            ("example_adam", keras.optimizers.Adam(0.001))):
        model = keras.Sequential([keras.Input((28, 28)), layers.Flatten(), layers.Rescaling(1 / 255),
                                  layers.Dense(300, activation="relu"), layers.Dense(100, activation="relu"),
                                  layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], run_eagerly=True)
        x = dump.formula(f"{name}.x", (steps * batch, 28, 28), 1, 256, "whole")
        y = dump.formula(f"{name}.y", (steps * batch,), 2, 10, "whole").astype("int32")
        for seed, (variable, v) in enumerate(variables(model), 3):
            scale = 0.05 if len(v.shape) > 1 else 0.01
            v.assign(dump.formula(f"{name}.w.0.{variable}", tuple(v.shape), seed, scale, "float"))
        with tf.GradientTape() as tape:
            output = model(x[:batch], training=False)
            value = loss(y[:batch], output)
        grads = tape.gradient(value, [v.value for _, v in variables(model)])
        dump.add(f"{name}.output", output)
        dump.add(f"{name}.loss", value)
        for (variable, _), grad in zip(variables(model), grads):
            dump.add(f"{name}.g.{variable}", tf.convert_to_tensor(grad), stride)
        config = serialise(optimizer)
        for step in range(1, steps + 1):
            rows = slice((step - 1) * batch, step * batch)
            model.train_on_batch(x[rows], y[rows])
            if step % 10 == 0:
                for variable, v in variables(model):
                    dump.add(f"{name}.w.{step}.{variable}", v, stride)
        dump.cases.append({"name": name, "model": json.loads(model.to_json()) | {"compile_config": {}},
                           "compile": {"optimizer": config, "loss": serialise(loss), "metrics": ["accuracy"]},
                           "steps": steps, "batch": batch, "is_image": True})
    dump.write()


def initializers():
    i = keras.initializers
    matrix, kernel, vector = (400, 250), (3, 5, 80, 83), (100_000,)
    scaling = [i.VarianceScaling(scale=scale, mode=mode, distribution=distribution)
               for scale, mode, distribution in ((1.0, "fan_in", "truncated_normal"), (0.5, "fan_out", "uniform"),
                                                 (3.0, "fan_avg", "untruncated_normal"))]
    return [(make, shape) for make in (i.GlorotUniform(), i.GlorotNormal(), i.HeUniform(), i.HeNormal(),
                                       i.LecunUniform(), i.LecunNormal(), *scaling) for shape in (matrix, kernel)] + [
        (i.GlorotUniform(), vector), (i.HeNormal(), vector), (i.RandomNormal(), matrix),
        (i.RandomNormal(0.5, 0.2), matrix), (i.RandomUniform(), matrix), (i.RandomUniform(-1.0, 3.0), matrix),
        (i.TruncatedNormal(), matrix),
        (i.TruncatedNormal(-2.0, 0.25), matrix), (i.Zeros(), matrix), (i.Ones(), matrix), (i.Constant(0.3), matrix),
        (i.Identity(), (300, 333))]  # Keras does not serialise a gain


def dump_initializers():
    """Of each sample the 201 quantiles: enough to tell two distributions apart."""
    dump = Dump("initializers")
    keras.utils.set_random_seed(6)
    for number, (initializer, shape) in enumerate(initializers()):
        config = serialise(initializer)
        name = f"{number}_{type(initializer).__name__}"
        sample = np.sort(np.asarray(initializer(shape)).reshape(-1))
        dump.add(f"{name}.quantiles", sample[np.round(np.linspace(0, sample.size - 1, 201)).astype(int)])
        dump.cases.append({"name": name, "initializer": config, "shape": list(shape)})
    dump.write()


if __name__ == "__main__":
    dump_activations()
    dump_layers()
    dump_losses()
    dump_optimizers()
    dump_schedules()
    dump_trajectories("trajectories", trajectory_models())
    dump_trajectories("clipped", clipped_models())
    dump_example()
    dump_initializers()
