"""Models as real Keras prints them, for the tests of the model parser; run by hand when one is added, never by the build.

    python3 -m venv /tmp/keras && /tmp/keras/bin/pip install -r tests/golden/requirements.txt
    /tmp/keras/bin/python tests/golden/models/generate.py        # writes tests/golden/models/*.json
"""
import json
import os
import pathlib

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras  # noqa: E402
from keras import layers  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


def small(*stack, shape=(4, 3), name="small"):
    return keras.Sequential([keras.Input(shape), *stack], name=name)


def built_without_input():
    model = keras.Sequential([layers.Flatten(name="flatten"), layers.Dense(2, name="dense")], name="built")
    model.build((None, 4, 3))
    return model


def functional():
    inputs = keras.Input((3,), name="a")
    return keras.Model(inputs, layers.Dense(2, name="dense")(inputs), name="functional")


def frozen():
    model = small(layers.Flatten(), layers.Dense(2, name="frozen"))
    model.layers[-1].trainable = False
    return model


MODELS = {
    # What is built.
    "every-layer": small(
        layers.Rescaling(1 / 255, offset=-0.5, name="rescaling"), layers.Flatten(name="flatten"),
        layers.Dense(8, activation="relu", name="first"), layers.ReLU(max_value=6, negative_slope=0.1, threshold=0.2, name="relu"),
        layers.LeakyReLU(negative_slope=0.2, name="leaky"), layers.ELU(alpha=0.5, name="elu"),
        layers.Dropout(0.25, seed=7, name="dropout"), layers.Activation("tanh", name="activation"),
        layers.Dense(5, use_bias=False, kernel_initializer=keras.initializers.HeNormal(seed=3), name="second"),
        layers.Softmax(name="softmax"), name="every_layer"),
    "initializers": small(*[
        layers.Dense(3, kernel_initializer=initializer, bias_initializer="ones", name=f"dense_{i}")
        for i, initializer in enumerate([
            "zeros", keras.initializers.Constant(0.5), "random_normal", keras.initializers.RandomUniform(-1, 2, seed=1),
            keras.initializers.TruncatedNormal(0.1, 0.2), "variance_scaling", "glorot_normal", "he_uniform", "lecun_normal",
            "lecun_uniform", keras.initializers.VarianceScaling(2.0, "fan_avg", "untruncated_normal"),
            keras.initializers.Identity()])], shape=(3,)),
    "activations": small(*[
        layers.Dense(2, activation=activation, name=f"dense_{activation}")
        for activation in ("linear", "relu", "sigmoid", "tanh", "softmax", "elu", "leaky_relu", "log_softmax")], shape=(2,)),
    "built-without-input": built_without_input(),
    # What is not.
    "functional": functional(),
    "nested": small(keras.Sequential([keras.Input((4, 3)), layers.Flatten()], name="inner"), layers.Dense(2)),
    "convolution": small(layers.Conv1D(2, 2, name="conv"), layers.Flatten(), layers.Dense(2)),
    "normalization": small(layers.Flatten(), layers.BatchNormalization(name="norm"), layers.Dense(2)),
    "recurrent": small(layers.LSTM(2, name="lstm")),
    "regularizer": small(layers.Flatten(), layers.Dense(2, kernel_regularizer="l2", name="dense")),
    "constraint": small(layers.Flatten(), layers.Dense(2, bias_constraint="non_neg", name="dense")),
    "activity-regularizer": small(layers.Flatten(), layers.Dense(2, activity_regularizer="l1", name="dense")),
    "channels-first": small(layers.Flatten(data_format="channels_first", name="flatten"), layers.Dense(2)),
    "softmax-axis": small(layers.Dense(2), layers.Softmax(axis=1, name="softmax"), layers.Flatten(), layers.Dense(2)),
    "noise-shape": small(layers.Dropout(0.5, noise_shape=(None, 1, 3), name="dropout"), layers.Flatten(), layers.Dense(2)),
    "orthogonal": small(layers.Dense(2, kernel_initializer="orthogonal", name="dense")),
    "fixed-batch": keras.Sequential([keras.Input((3,), batch_size=8, name="input"), layers.Dense(2)], name="fixed"),
    "any-length": keras.Sequential([keras.Input((None, 3), name="input"), layers.Dense(2)], name="any"),
    "half": small(layers.Flatten(), layers.Dense(2, dtype="mixed_float16", name="dense")),
    "bytes": keras.Sequential([keras.Input((3,), dtype="uint8", name="input"), layers.Dense(2)], name="bytes"),
    "frozen": frozen(),
    "no-variables": small(layers.Flatten(), layers.ReLU()),
}

for name, model in MODELS.items():
    (HERE / f"{name}.json").write_text(json.dumps(json.loads(model.to_json()), separators=(",", ":")) + "\n")
