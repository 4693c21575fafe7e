#!/usr/bin/env python3
"""Dumps what Keras computes of the losses and metrics beyond generate.py's, for test_golden_more_losses.c:

    python3 -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
    venv/bin/python tests/golden/generate_losses.py
"""
import numpy as np

from generate import Dump, gradients, keras, layers, randomise


def sequential(rng, n_outputs, activation):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(n_outputs, activation=activation)])
    randomise(model, rng)
    return model


def targets(kind, rng, n_outputs):
    shape = (16, n_outputs)
    if kind == "bits":
        return rng.integers(0, 2, shape).astype("float32")
    if kind == "signs":
        return (2.0 * rng.integers(0, 2, shape) - 1.0).astype("float32")
    if kind == "one_hot":
        return np.eye(n_outputs, dtype="float32")[rng.integers(0, n_outputs, 16)]
    if kind == "shares":
        return rng.dirichlet(np.ones(n_outputs), 16).astype("float32")
    if kind == "counts":
        return rng.integers(0, 9, shape).astype("float32")
    return rng.normal(0, 1, shape).astype("float32")


def cases():
    """Name, loss, activation, outputs, targets, metrics, scale of the features."""
    k, m = keras.losses, keras.metrics
    binary = ["accuracy", m.BinaryAccuracy(name="at_0.3", threshold=0.3), "binary_crossentropy", "mse", "mae"]
    # A probability near 0 or 1 that was not made from logits has few digits to compare: hence 0.3.
    for activation, scale in (("sigmoid", 1), ("softmax", 1), ("hard_sigmoid", 0.3)):
        for outputs, kind in ((1, "bits"), (5, "bits"), (5, "one_hot"), (5, "shares")):
            yield f"bce_{activation}_{outputs}_{kind}", "binary_crossentropy", activation, outputs, kind, binary, scale
    yield "bce_sigmoid_saturated", k.BinaryCrossentropy(), "sigmoid", 3, "bits", binary, 40
    yield "bce_clipped", k.BinaryCrossentropy(), "relu6", 3, "bits", binary[:2], 1
    yield "bce_logits", k.BinaryCrossentropy(from_logits=True), "linear", 1, "bits", binary[:2] + [
        m.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)], 1
    yield "bce_logits_saturated", k.BinaryCrossentropy(from_logits=True), "linear", 4, "bits", ["accuracy"], 40
    yield "bce_smooth", k.BinaryCrossentropy(label_smoothing=0.2), "sigmoid", 3, "bits", binary, 1
    yield "bce_smooth_logits", k.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), "tanh", 1, "bits", [
        "accuracy"], 1
    for activation, from_logits in (("softmax", False), ("linear", True), ("softplus", False)):
        yield (f"cce_smooth_{activation}", k.CategoricalCrossentropy(from_logits=from_logits, label_smoothing=0.1),
               activation, 5, "one_hot", ["accuracy", m.TopKCategoricalAccuracy(k=2), "mse", "kl_divergence"], 1)
    values = ["mae", "mape", "msle", m.LogCoshError(), m.KLDivergence()]
    for name in ("mae", "mape", "msle", "huber", "log_cosh"):
        yield f"{name}_1", name, "tanh", 1, "values", values, 1
        yield f"{name}_5", name, "softplus", 5, "values", values + ["poisson"], 1
    yield "mae_object", k.MeanAbsoluteError(), "linear", 3, "values", [m.MeanAbsoluteError()], 1
    yield "huber_wide", k.Huber(), "linear", 3, "values", [], 4
    yield "log_cosh_far", k.LogCosh(), "linear", 3, "values", [], 40
    # With targets of both signs cosines cancel in the mean, with one output they have no slope.
    yield "cosine_counts", "cosine_similarity", "softplus", 5, "counts", ["cosine_similarity", "mae"], 1
    yield "cosine_classes", k.CosineSimilarity(), "sigmoid", 5, "one_hot", ["accuracy", m.CosineSimilarity()], 1
    hinges = ["accuracy", "hinge", "squared_hinge", m.CategoricalHinge(), "mse"]
    for name in ("hinge", "squared_hinge", "categorical_hinge"):
        for outputs, kind in ((1, "signs"), (1, "bits"), (5, "one_hot"), (5, "values")):
            yield f"{name}_{outputs}_{kind}", name, "linear", outputs, kind, hinges, 1
    for activation in ("softmax", "sigmoid", "softplus"):
        yield (f"kld_{activation}", "kl_divergence", activation, 5, "shares",
               ["accuracy", "kl_divergence", "cosine_similarity", "categorical_crossentropy", "binary_crossentropy"], 1)
    yield "kld_layer", k.KLDivergence(), "layer", 5, "shares", ["categorical_crossentropy"], 20
    yield "poisson", k.Poisson(), "exponential", 3, "counts", ["poisson", "mse"], 1
    yield "poisson_one", "poisson", "softplus", 1, "counts", ["mae"], 1
    yield ("sparse_top_k", "sparse_categorical_crossentropy", "softmax", 7, "classes",
           ["accuracy", m.SparseTopKCategoricalAccuracy(k=3, name="top_3"), "sparse_top_k_categorical_accuracy"], 1)
    yield ("top_k", "categorical_crossentropy", "sigmoid", 7, "one_hot",
           ["top_k_categorical_accuracy", m.TopKCategoricalAccuracy(k=1, name="top_1"), "binary_accuracy"], 1)


def main():
    dump = Dump("more_losses")
    for number, (name, loss, activation, outputs, kind, metrics, scale) in enumerate(cases()):
        rng = np.random.default_rng([11, number])
        if activation == "layer":
            model = keras.Sequential([keras.Input((6,)), layers.Dense(outputs), layers.Softmax()])
            randomise(model, rng)
        else:
            model = sequential(rng, outputs, activation)
        x = (scale * rng.normal(0, 1, (400, 6))).astype("float32")
        if name == "bce_sigmoid_saturated":
            # What lies between has few digits: a sum of six large products that nearly cancel.
            p = np.asarray(model(x))
            x = x[((p < 1e-4) | (p > 1 - 1e-4)).all(-1)]
        x = x[:16]
        y = rng.integers(0, outputs, 16).astype("int32") if kind == "classes" else targets(kind, rng, outputs)
        gradients(dump, name, model, loss, x, y, metrics)
    # Keras 3 leaves delta out of a Huber's config; it still reads one.
    model = sequential(rng, 3, "linear")
    x = rng.normal(0, 1, (16, 6)).astype("float32")
    gradients(dump, "huber_delta", model, keras.losses.Huber(delta=0.4), x, targets("values", rng, 3))
    dump.cases[-1]["compile"]["loss"]["config"]["delta"] = 0.4
    dump.write()


if __name__ == "__main__":
    main()
