#!/usr/bin/env python3
"""Dumps what Keras computes of models that are graphs: layers and their options, shared and nested layers, several
inputs and outputs, regularizers, frozen layers; for test_golden_graphs.c:

    python3 -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
    venv/bin/python tests/golden/generate_layers.py

Each model is built by both keras and tf_keras where both have its layers, so that the JSON of both is read; what it
computes is Keras 3's.
"""
import json

import numpy as np
import tf_keras

from generate import Dump, keras, tf

N = 7


def flat(k, x, units=3):
    return k.layers.Dense(units, name="last")(k.layers.Flatten(name="flat")(x) if len(x.shape) > 2 else x)


def one(stack, shape=(6,), bias=True):
    """A model of one input: Dense layers around what is looked at, so that gradients go through it. A batch
    normalization, and a softmax over other axes, takes away what a bias adds, whose gradient is then 0."""
    def build(k):
        x = k.Input(shape, name="x")
        y = k.layers.Dense(5, use_bias=bias, name="first")(x)
        for layer in stack(k.layers):
            y = layer(y)
        return k.Model(x, flat(k, y))
    return build


def two(join, a_shape=(6,), b_shape=(4,), units=(5, 5)):
    def build(k):
        a, b = k.Input(a_shape, name="a"), k.Input(b_shape, name="b")
        x, y = k.layers.Dense(units[0], name="left")(a), k.layers.Dense(units[1], name="right")(b)
        return k.Model([a, b], flat(k, join(k, x, y)))
    return build


def merges():
    for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
        yield f"merge_{name}", two(lambda k, x, y, name=name: getattr(k.layers, name)()([x, y]))
        yield f"merge_{name}_repeats", two(lambda k, x, y, name=name: getattr(k.layers, name)()([x, y]),
                                           (2, 6), (3, 1, 4), (5, 5))
        if name != "Subtract":
            yield f"merge_{name}_three", two(lambda k, x, y, name=name: getattr(k.layers, name)()([x, y, x]))
    yield "concatenate", two(lambda k, x, y: k.layers.Concatenate()([x, y]), units=(5, 2))
    yield "concatenate_first", two(lambda k, x, y: k.layers.Concatenate(axis=1)([x, y, x]), (2, 6), (3, 4))
    yield "concatenate_middle", two(lambda k, x, y: k.layers.Concatenate(axis=-2)([x, y]), (2, 3, 6), (2, 1, 4))
    yield "dot_vectors", two(lambda k, x, y: k.layers.Dot(axes=1)([x, y]))
    yield "dot_rows", two(lambda k, x, y: k.layers.Dot(axes=2)([x, y]), (3, 6), (2, 4))
    yield "dot_columns", two(lambda k, x, y: k.layers.Dot(axes=1)([x, y]), (3, 6), (3, 4), (5, 2))
    yield "dot_plain", two(lambda k, x, y: k.layers.Dot(axes=(2, 1))([x, y]), (3, 6), (5, 4), (5, 2))
    yield "dot_matrix_vector", two(lambda k, x, y: k.layers.Dot(axes=(2, 1))([x, y]), (3, 6), (4,))
    yield "dot_turned_vector", two(lambda k, x, y: k.layers.Dot(axes=1)([x, y]), (3, 6), (4,), (5, 3))
    yield "dot_vector_matrix", two(lambda k, x, y: k.layers.Dot(axes=(1, 2))([x, y]), (6,), (3, 4))
    yield "dot_cosine", two(lambda k, x, y: k.layers.Dot(axes=1, normalize=True)([x, y]))
    yield "dot_cosines", two(lambda k, x, y: k.layers.Dot(axes=2, normalize=True)([x, y]), (3, 6), (2, 4))
    yield "dot_cosine_vector", two(lambda k, x, y: k.layers.Dot(axes=(2, 1), normalize=True)([x, y]), (3, 6), (4,))
    yield "operators", two(lambda k, x, y: ((x + y) * 0.5 - y * x + 1.0) / 4.0 + (2.0 - x))


def shapes():
    yield "reshape", one(lambda l: [l.Reshape((5, 1)), l.Dense(2), l.Reshape((-1,)), l.Dense(4)])
    yield "reshape_free", one(lambda l: [l.Reshape((2, -1, 5)), l.Dense(2)], (4, 6))
    yield "permute", one(lambda l: [l.Permute((2, 1)), l.Dense(2)], (4, 6))
    yield "permute_three", one(lambda l: [l.Permute((3, 1, 2)), l.Dense(3)], (2, 4, 6))
    yield "repeat", one(lambda l: [l.RepeatVector(3), l.Dense(4, activation="tanh")])
    yield "average_1d", one(lambda l: [l.GlobalAveragePooling1D(), l.Activation("tanh")], (4, 6))
    yield "average_2d", one(lambda l: [l.GlobalAveragePooling2D()], (3, 2, 6))
    yield "identity", one(lambda l: [l.Identity()])


def norms():
    yield "batch_norm", one(lambda l: [l.BatchNormalization(momentum=0.5), l.Activation("relu")], bias=False)
    yield "batch_norm_bare", one(lambda l: [l.BatchNormalization(momentum=0.5, center=False, scale=False, epsilon=0.1)],
                                 bias=False)
    yield "batch_norm_first", one(lambda l: [l.BatchNormalization(momentum=0.5, axis=1)], (4, 6))
    yield "batch_norm_images", one(lambda l: [l.BatchNormalization(momentum=0.5, axis=-1)], (2, 3, 6), bias=False)
    yield "batch_norm_frozen", one(lambda l: [l.BatchNormalization(momentum=0.5, trainable=False)])
    yield "layer_norm", one(lambda l: [l.LayerNormalization()])
    yield "layer_norm_bare", one(lambda l: [l.LayerNormalization(center=False, scale=False, epsilon=0.1)], (4, 6))
    yield "layer_norm_two_axes", one(lambda l: [l.LayerNormalization(axis=[1, 2])], (4, 6))
    yield "rms_norm", one(lambda l: [l.RMSNormalization()])
    yield "unit_norm", one(lambda l: [l.UnitNormalization()], (4, 6))
    yield "normalization", one(lambda l: [l.Normalization(axis=-1)])
    yield "normalization_given", one(lambda l: [
        l.Normalization(mean=[0.1, 0.2, -0.3, 0.4, 0.5], variance=[1.0, 0.5, 2.0, 0.25, 3.0])])
    yield "normalization_scalar", one(lambda l: [l.Normalization(axis=None, mean=0.25, variance=2.0)], (4, 6))
    yield "normalization_inverted", one(lambda l: [
        l.Normalization(mean=[0.1, 0.2, -0.3, 0.4, 0.5], variance=[1.0, 0.5, 2.0, 0.25, 3.0], invert=True)])


def regularizers():
    yield "kernel_l2", lambda k: one(lambda l: [l.Dense(4, kernel_regularizer=k.regularizers.L2(0.03))])(k)
    yield "bias_l1", lambda k: one(lambda l: [l.Dense(4, bias_regularizer=k.regularizers.L1(0.05))])(k)
    yield "both_l1l2", lambda k: one(lambda l: [
        l.Dense(4, kernel_regularizer=k.regularizers.L1L2(0.01, 0.02), bias_regularizer="l2", activation="tanh")])(k)
    yield "activity", lambda k: one(lambda l: [
        l.Dense(4, activity_regularizer=k.regularizers.L1L2(0.1, 0.2), activation="relu")])(k)
    # Keras 2 leaves it out of the JSON of layers that do not mention it; tf_keras has no ops.
    yield "activity_of_any", lambda k: one(lambda l: [
        l.Dense(4, activity_regularizer="l1", activation="relu"),
        l.Activation("tanh", activity_regularizer=k.ops and "l2"),
        l.Reshape((2, 2), activity_regularizer="l1")])(k)
    yield "gamma", lambda k: one(lambda l: [
        l.BatchNormalization(momentum=0.5, gamma_regularizer=k.regularizers.L2(0.2),
                             beta_regularizer=k.regularizers.L1(0.1))], bias=False)(k)
    yield "frozen_l2", lambda k: one(lambda l: [
        l.Dense(4, kernel_regularizer=k.regularizers.L2(0.03), trainable=False)])(k)


def graphs():
    def shared(k):
        a, b = k.Input((6,), name="a"), k.Input((6,), name="b")
        d = k.layers.Dense(6, activation="tanh", name="d", kernel_regularizer="l2")
        x = k.layers.Add(name="sum")([d(d(a)), d(b)])
        return k.Model({"b": b, "a": a}, flat(k, x))
    yield "shared", shared

    def diamond(k):
        a = k.Input((6,), name="a")
        x = k.layers.Dense(5, activation="relu", name="d")(a)
        y, z = k.layers.Dense(5, name="e")(x), k.layers.Activation("sigmoid", name="s")(x)
        w = k.layers.Multiply(name="m")([k.layers.Reshape((5,), name="r")(x), y, z])
        return k.Model(a, [flat(k, w), k.layers.Activation("tanh", name="t")(w)])
    yield "diamond", diamond

    def nested(k):
        x = k.Input((5,), name="x")
        deep = k.Sequential([k.Input((5,), name="i"), k.layers.Dense(5, name="d"), k.layers.LayerNormalization(name="n")],
                            name="deep")
        inner = k.Model(x, [deep(k.layers.Dense(5, name="d")(x)), k.layers.Dense(2, name="e")(x)], name="inner")
        a = k.Input((5,), name="a")
        p, q = inner(a)
        r, s = inner(p)
        out = k.layers.Concatenate(name="c")([r, q, s])
        return k.Model(a, [flat(k, out), q], name="outer")
    yield "nested", nested

    def unused_branch(k):
        x = k.Input((5,), name="x")
        inner = k.Model(x, [k.layers.Dense(4, name="d")(x), k.layers.Dense(2, name="e")(x)], name="inner")
        a = k.Input((5,), name="a")
        return k.Model(a, flat(k, inner(a)[0]))
    yield "unused_branch", unused_branch

    def stacked(k):
        inner = k.Sequential([k.Input((5,), name="i"), k.layers.Dense(4, activation="relu", name="d")], name="inner")
        return k.Sequential([k.Input((5,), name="i"), inner, k.layers.Dense(3, name="d")])
    yield "stacked", stacked

    def frozen_inside(k):
        inner = k.Sequential([k.Input((5,), name="i"), k.layers.Dense(4, name="d"),
                              k.layers.BatchNormalization(momentum=0.5, name="n")], name="inner")
        inner.trainable = False
        a = k.Input((5,), name="a")
        return k.Model(a, flat(k, inner(k.layers.Dense(5, name="e")(a))))
    yield "frozen_inside", frozen_inside

    def softmax_read_twice(k):
        a = k.Input((6,), name="a")
        p = k.layers.Dense(4, activation="softmax", name="p")(a)
        return k.Model(a, [p, k.layers.Dense(2, name="q")(p)])
    yield "softmax_read_twice", softmax_read_twice

    def same_output_twice(k):
        a = k.Input((6,), name="a")
        p = k.layers.Dense(4, name="p")(a)
        return k.Model(a, [p, k.layers.Identity(name="q")(p)])
    yield "same_output_twice", same_output_twice


def embedding(k):
    ids, x = k.Input((3,), dtype="int32", name="ids"), k.Input((4,), name="x")
    table = k.layers.Embedding(11, 5, name="table", embeddings_regularizer="l2")
    y = k.layers.Concatenate(name="c")([k.layers.Flatten(name="f")(table(ids)), k.layers.Dense(3, name="d")(x)])
    return k.Model([ids, x], flat(k, y))


def embedding_shared(k):
    ids, more = k.Input((3,), dtype="int32", name="ids"), k.Input((2,), dtype="int64", name="more")
    table = k.layers.Embedding(11, 5, name="table")
    return k.Model([ids, more], flat(k, k.layers.Concatenate(axis=1, name="c")([table(ids), table(more)])))


def activations():
    yield "softmax_first", one(lambda l: [l.Softmax(axis=1)], (4, 6), bias=False)
    yield "softmax_middle", one(lambda l: [l.Softmax(axis=-2)], (2, 4, 6), bias=False)
    yield "softmax_last", one(lambda l: [l.Softmax(axis=2)], (4, 6))
    yield "prelu", one(lambda l: [l.PReLU(alpha_regularizer="l2")])
    yield "prelu_shared", one(lambda l: [l.PReLU(shared_axes=[1])], (4, 6))
    yield "prelu_all_shared", one(lambda l: [l.PReLU(shared_axes=[1, 2])], (4, 6))


def cases():
    yield from merges()
    yield from shapes()
    yield from norms()
    yield from regularizers()
    yield from graphs()
    yield "embedding", embedding
    yield "embedding_shared", embedding_shared
    yield from activations()


def variables(model, prefix=""):
    """Variables by the names that Muster gives them: the way through the models, the layer, Keras's own name."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from variables(layer, f"{prefix}{layer.name}/")
        else:
            for v in layer.variables:
                yield f"{prefix}{layer.name}/{v.name}", layer, v


def total(model, losses, y, outputs):
    return sum(loss(t, o) for loss, t, o in zip(losses, y, outputs)) + sum(model.losses)


def as_list(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]


def run(dump, name, build):
    keras.backend.clear_session()
    model = build(keras)
    rng = np.random.default_rng([17, len(dump.cases)])
    known = list(variables(model))
    for path, _, v in known:
        scale = 0.5 if len(v.shape) > 1 else 0.3
        if path.endswith("variance"):
            v.assign(rng.uniform(0.5, 2, v.shape).astype("float32"))
        elif not path.endswith("count"):
            v.assign(rng.normal(1 if path.endswith(("gamma", "scale")) else 0, scale, v.shape).astype("float32"))
        dump.add(f"{name}.w.{path}", np.asarray(v).astype("float32"))
    x = [(rng.integers(0, 11, (N, *i.shape[1:])) if i.dtype.startswith("int") else
          rng.normal(0, 1, (N, *i.shape[1:]))).astype(i.dtype) for i in model.inputs]
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    names = [o.name for o in model.inputs]
    given = dict(zip(names, x)) if isinstance(getattr(model, "_inputs_struct", None), dict) else x if len(x) > 1 else x[0]
    outputs = as_list(model(given, training=False))
    logits = name == "softmax_read_twice"
    losses = [keras.losses.CategoricalCrossentropy() if logits and i == 0 else keras.losses.MeanSquaredError()
              for i in range(len(outputs))]
    y = [(rng.dirichlet(np.ones(o.shape[1]), N) if logits and i == 0 else
          rng.normal(0, 1, o.shape)).astype("float32") for i, o in enumerate(outputs)]
    for i, array in enumerate(x):
        dump.add(f"{name}.x.{i}", array.astype("float32"))
    for i, (target, output) in enumerate(zip(y, outputs)):
        dump.add(f"{name}.y.{i}", target)
        dump.add(f"{name}.output.{i}", output)
    dump.add(f"{name}.evaluated", total(model, losses, y, outputs))
    before = {path: np.asarray(v).astype("float64") for path, _, v in known}
    trained = [(path, v) for path, _, v in known if v.trainable]
    with tf.GradientTape() as tape:
        value = total(model, losses, y, as_list(model(given, training=True)))
    grads = tape.gradient(value, [v.value for _, v in trained])
    dump.add(f"{name}.loss", value)
    for (path, v), grad in zip(trained, grads):
        if grad is not None:
            dump.add(f"{name}.g.{path}", tf.convert_to_tensor(grad))
    for path, layer, v in known:
        if "moving_" in path and layer.trainable:
            statistic = (np.asarray(v).astype("float64") - layer.momentum * before[path]) / (1 - layer.momentum)
            dump.add(f"{name}.g.{path}", statistic.astype("float32"))
    texts = [json.loads(model.to_json())]
    try:
        tf_keras.backend.clear_session()
        texts.append(json.loads(build(tf_keras).to_json()))
    except AttributeError as e:
        print(f"{name}: Keras 3 alone: {e}")
    loss = [keras.saving.serialize_keras_object(l) for l in losses]
    dump.cases.append({"name": name, "models": texts, "compile": {"loss": loss if len(loss) > 1 else loss[0]}})


def main():
    dump = Dump("graphs")
    for name, build in cases():
        run(dump, name, build)
    dump.write()


if __name__ == "__main__":
    main()
