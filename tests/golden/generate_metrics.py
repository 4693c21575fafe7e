#!/usr/bin/env python3
"""Dumps what Keras reports of metrics, weights and reductions over several batches, for test_golden_metrics.c:

    python3 -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
    venv/bin/python tests/golden/generate_metrics.py
"""
import json

import numpy as np
import tensorflow as tf
from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

from generate import Dump, keras, layers, randomise, variables
from generate_losses import sequential, targets

N, BATCH = 44, 8  # the last batch is half a one
m, k = keras.metrics, keras.losses


def binary():
    """Metrics of one probability."""
    return ["AUC", m.AUC(name="pr", curve="PR"), m.AUC(name="minoring", summation_method="minoring", num_thresholds=20),
            m.AUC(name="majoring", curve="PR", summation_method="majoring", num_thresholds=7),
            m.AUC(name="gain", curve="PRGAIN"), m.AUC(name="two", num_thresholds=2),
            m.AUC(name="listed", thresholds=[0.7, 0.1, 0.35, 0.5]), m.AUC(name="even", thresholds=[0.25, 0.5, 0.75]),
            m.AUC(name="listed_pr", thresholds=[0.2, 0.6], curve="PR"), "Precision", m.Recall(),
            m.Precision(name="p_high", thresholds=0.6), m.Recall(name="r_low", thresholds=[0.4]), m.TruePositives(),
            m.FalsePositives(thresholds=0.3), m.TrueNegatives(), m.FalseNegatives(),
            m.SensitivityAtSpecificity(0.6), m.SpecificityAtSensitivity(0.7, num_thresholds=50),
            m.PrecisionAtRecall(0.5), m.RecallAtPrecision(0.55, num_thresholds=21), m.F1Score(threshold=0.5),
            m.RootMeanSquaredError(), m.R2Score(), m.Accuracy(name="equal"), "accuracy", "mse", m.Hinge()]


def classes():
    """Metrics of several values, of which one or some are right."""
    return ["auc", m.AUC(name="by_label", multi_label=True), m.AUC(name="pr_by_label", multi_label=True, curve="PR"),
            m.Precision(name="p_top", top_k=2), m.Recall(name="r_top", top_k=3),
            m.Precision(name="p_top_high", top_k=2, thresholds=0.4), m.Recall(name="r_3", class_id=3, thresholds=0.2),
            m.Precision(name="p_1_top", class_id=1, top_k=2), m.SensitivityAtSpecificity(0.5, class_id=2),
            m.F1Score(average="macro"), m.F1Score(name="micro", average="micro", threshold=0.3),
            m.FBetaScore(average="weighted", beta=2.0), "categorical_accuracy",
            m.TopKCategoricalAccuracy(name="top_2", k=2), "kl_divergence", m.CosineSimilarity(),
            m.BinaryAccuracy(threshold=0.3)]


def values():
    return [m.RootMeanSquaredError(), m.R2Score(), m.R2Score(name="r2_weighted",
                                                            class_aggregation="variance_weighted_average"),
            "mae", m.LogCoshError(), "mse"]


def copies(metrics):
    return [keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(x))
            if not isinstance(x, str) else x for x in metrics]


def cases():
    """Name, loss, activation, outputs, targets, metrics, weighted metrics, other arguments of compile, weights."""
    few = ["accuracy", "mse", m.AUC(name="a")]
    yield "binary", "bce", "sigmoid", 1, "bits", binary(), None, {}, None
    yield "binary_weighted", "bce", "sigmoid", 1, "bits", few, binary(), {}, "weights"
    yield "binary_hard", "mse", "hard_sigmoid", 1, "bits", binary(), [], {}, None
    yield ("logits", k.BinaryCrossentropy(from_logits=True), "linear", 1, "bits",
           [m.AUC(from_logits=True), m.Precision(thresholds=0), m.BinaryAccuracy(threshold=0)],
           [m.AUC(name="weighted_auc", from_logits=True, curve="PR")], {"loss_weights": 0.25}, "weights")
    yield "classes", "categorical_crossentropy", "softmax", 5, "one_hot", classes(), None, {}, None
    yield ("classes_weighted", k.CategoricalCrossentropy(), "softmax", 5, "one_hot", few[:1], classes(), {}, "weights")
    yield "labels", "bce", "sigmoid", 4, "bits", classes()[:9] + few, few, {}, "weights"
    yield ("sparse", "sparse_categorical_crossentropy", "softmax", 6, "classes", ["accuracy"],
           ["accuracy", m.SparseTopKCategoricalAccuracy(k=2), "sparse_categorical_crossentropy"], {}, "weights")
    yield "sum", k.MeanSquaredError(reduction="sum"), "tanh", 3, "values", values(), values(), {}, "weights"
    yield ("mean_with_sample_weight", k.MeanAbsoluteError(reduction="mean_with_sample_weight"), "linear", 3, "values",
           ["mae"], ["mae"], {"loss_weights": [2.5]}, "weights")
    yield ("mean_with_sample_weight_alone", k.Huber(reduction="mean_with_sample_weight"), "linear", 3, "values",
           ["mse"], None, {}, None)
    yield "mean", k.LogCosh(reduction="mean"), "linear", 1, "values", values()[:4], None, {"loss_weights": [0.5]}, None
    yield ("unweighted", "mae", "linear", 2, "values", ["mae", "mae", m.MeanAbsoluteError()], ["mae"], {}, "weights")
    yield ("class_weight", "sparse_categorical_crossentropy", "softmax", 3, "classes", ["accuracy"], ["accuracy"], {},
           {0: 2.0, 2: 0.25})
    yield "class_weight_rows", "categorical_crossentropy", "softmax", 3, "one_hot", [], None, {}, {1: 3.0, 2: 0.0}
    yield "class_weight_one", "bce", "sigmoid", 1, "bits", ["accuracy"], ["mse"], {}, {0: 1.0, 1: 2.5}


def gradients(dump, name, model, x, y, weights):
    """Of the first batch, as a training step sees it."""
    with tf.GradientTape() as tape:
        value = model.compute_loss(x, y, model(x, training=True), weights)
    grads = tape.gradient(value, [v.value for _, v in variables(model)])
    dump.add(f"{name}.loss", value)
    for (variable, v), grad in zip(variables(model), grads):
        grad = tf.zeros_like(v.value) if grad is None else grad
        dump.add(f"{name}.w.{variable}", v)
        dump.add(f"{name}.g.{variable}", tf.convert_to_tensor(grad))


def several(rng):
    """A model of three outputs, and targets for it."""
    x = keras.Input((6,), name="features")
    trunk = layers.Dense(5, activation="tanh", name="trunk")(x)
    outputs = [layers.Dense(1, activation="sigmoid", name="score")(trunk),
               layers.Dense(4, activation="softmax", name="kind")(trunk), layers.Dense(2, name="value")(trunk)]
    model = keras.Model(x, outputs)
    randomise(model, rng)
    y = [np.concatenate([targets("bits", rng, 1) for _ in range(3)])[:N], rng.integers(0, 4, N).astype("int32"),
         np.concatenate([targets("values", rng, 2) for _ in range(3)])[:N]]
    return model, y


def several_cases():
    """Name, arguments of compile, whether weighted."""
    losses = ["bce", "sparse_categorical_crossentropy", k.Huber()]
    names = ["score", "kind", "value"]
    yield "several_list", {"loss": losses, "loss_weights": [0.5, 2.0, 1.0],
                           "metrics": [["accuracy", m.AUC()], "accuracy", ["mse", "mse", m.R2Score()]]}, False
    yield "several_dict", {"loss": dict(zip(names, losses)), "loss_weights": {"kind": 0.25, "score": 3.0, "value": 1.5},
                           "metrics": {"kind": ["acc", m.SparseTopKCategoricalAccuracy(k=2)], "score": m.Precision()},
                           "weighted_metrics": {"value": ["mae"], "kind": ["acc"]}}, True
    yield "several_one_loss", {"loss": "mse", "loss_weights": 0.5, "metrics": ["mae", None, ["mse"]]}, True
    yield "several_none", {"loss": ["bce", None, "mae"], "metrics": [[m.Recall()], [], ["mae"]]}, True
    yield "several_one_left", {"loss": [None, losses[1], None], "metrics": [None, ["accuracy"], None]}, False


def dump_several(dump):
    for number, (name, arguments, is_weighted) in enumerate(several_cases()):
        rng = np.random.default_rng([17, number])
        model, y = several(rng)
        if arguments["loss"] == "mse":
            y[1] = np.eye(4, dtype="float32")[y[1]]
        x = rng.normal(0, 1, (N, 6)).astype("float32")
        sample = rng.uniform(0, 2, N).astype("float32") if is_weighted else None
        model.compile(optimizer="sgd", **arguments)
        config = {key: value for key, value in model.get_compile_config().items() if key != "optimizer"}
        dump.cases.append({"name": name, "model": json.loads(model.to_json()), "compile": config, "batch": BATCH,
                           "class_weight": None, "is_weighted": is_weighted})
        dump.add(f"{name}.x", x)
        for o, target in enumerate(y):
            if arguments["loss"] == ["bce", None, "mae"] and o == 1 or name == "several_one_left" and o != 1:
                target = np.zeros(model.outputs[o].shape[-1] * N)
            dump.add(f"{name}.y{o or ''}", target)
        if is_weighted:
            dump.add(f"{name}.weights", sample)
        for key, value in model.evaluate(x, y, sample_weight=sample, batch_size=BATCH, verbose=0,
                                         return_dict=True).items():
            dump.add(f"{name}.evaluated.{key}", value)
        gradients(dump, name, model, x[:BATCH], [target[:BATCH] for target in y],
                  sample[:BATCH] if is_weighted else None)


def main():
    dump = Dump("metrics")
    for number, (name, loss, activation, outputs, kind, metrics, weighted, more, weights) in enumerate(cases()):
        rng = np.random.default_rng([13, number])
        model = sequential(rng, outputs, activation)
        x = rng.normal(0, 1, (N, 6)).astype("float32")
        y = (rng.integers(0, outputs, N).astype("int32") if kind == "classes"
             else np.concatenate([targets(kind, rng, outputs) for _ in range(3)])[:N])
        model.compile(optimizer="sgd", loss=loss, metrics=copies(metrics),
                      weighted_metrics=copies(weighted) if weighted is not None else None, **more)
        config = {key: value for key, value in model.get_compile_config().items() if key != "optimizer"}
        case = {"name": name, "model": json.loads(model.to_json()), "compile": config, "batch": BATCH,
                "class_weight": weights if isinstance(weights, dict) else None, "is_weighted": weights == "weights"}
        sample = None
        if isinstance(weights, dict):
            sample = class_weight_to_sample_weights(y, weights)
        elif weights:
            sample = rng.uniform(0, 2, N).astype("float32")
            sample[rng.integers(0, N, 4)] = 0
            dump.add(f"{name}.weights", sample)
        dump.add(f"{name}.x", x)
        dump.add(f"{name}.y", y)
        dump.cases.append(case)
        for key, value in model.evaluate(x, y, sample_weight=sample, batch_size=BATCH, verbose=0,
                                         return_dict=True).items():
            dump.add(f"{name}.evaluated.{key}", value)
        first = None if sample is None else sample[:BATCH]
        gradients(dump, name, model, x[:BATCH], y[:BATCH], first)
    dump_several(dump)
    dump.write()


if __name__ == "__main__":
    main()
