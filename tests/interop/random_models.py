"""Random small Keras models of the layers that Muster reads.

A model is grown from a recipe: the seed of its inputs and its end, and a seed for each step. A step takes tensors that
are there and adds one; without some of its steps a recipe is still one, so a model that fails is made smaller by
leaving out steps. A recipe grows the same model in float32 and in float64.

    random_models.py SEED [keras|tf_keras]        prints the model of a seed as JSON
"""
import dataclasses
import math
import sys

import numpy as np
import tensorflow as tf

ACTIVATIONS = ["linear", "relu", "leaky_relu", "relu6", "sigmoid", "tanh", "softmax", "log_softmax", "elu", "selu",
               "celu", "softplus", "softsign", "gelu", "silu", "exponential", "hard_sigmoid", "hard_silu", "hard_tanh",
               "hard_shrink", "soft_shrink", "tanh_shrink", "mish", "log_sigmoid", "squareplus", "sparse_plus",
               "sparse_sigmoid"]
# hard_sigmoid is another function there.
OF_KERAS_2 = ["linear", "relu", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus", "softsign", "gelu", "swish",
              "exponential", "relu6", "mish"]
INITIALIZERS = ["zeros", "ones", "random_normal", "random_uniform", "truncated_normal", "glorot_uniform",
                "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal",
                "variance_scaling"]
MAX_VALUES, MAX_RANK = 60, 4


@dataclasses.dataclass(frozen=True)
class Recipe:
    seed: int
    dialect: str
    steps: tuple

    @classmethod
    def of_seed(cls, seed, dialect):
        rng = np.random.default_rng([seed, 1])
        return cls(seed, dialect, tuple(int(s) for s in rng.integers(0, 2**31, rng.integers(1, 12))))

    def without(self, i, n):
        return dataclasses.replace(self, steps=self.steps[:i] + self.steps[i + n:])


@dataclasses.dataclass
class Grown:
    model: object
    heads: list           # Head of each output
    loss_weights: object  # None or one number an output
    has_sample_weights: bool
    drops: bool           # a dropout has a rate: no two trainings are the same


@dataclasses.dataclass
class Head:
    loss: object          # None: the output has none
    targets: str          # of what kind
    units: int
    as_labels: bool       # given to Muster as classes where Keras has rows with a single 1
    metrics: list
    weighted_metrics: list


def maybe(rng, p=0.5):
    return rng.random() < p


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def number(rng, low, high):
    return round(float(rng.uniform(low, high)), 3)


def shape_of(tensor):
    return tuple(int(d) for d in tensor.shape[1:])


class Gardener:
    """Makes layers and models in one dialect."""

    def __init__(self, k, dialect):
        self.k, self.dialect, self.layers = k, dialect, k.layers
        self.drops = False
        self.shared = []  # (layer, shapes of its inputs) that may be called again

    # Options

    def regularizer(self, rng, p=0.15):
        if not maybe(rng, p):
            return None
        kind, a, b = pick(rng, ["l1", "l2", "both", "name"]), number(rng, 0.001, 0.1), number(rng, 0.001, 0.1)
        r = self.k.regularizers
        return {"l1": r.L1(a), "l2": r.L2(a), "both": r.L1L2(a, b), "name": "l2"}[kind]

    def activity(self, rng, is_kept=False):
        # tf_keras leaves it out of the JSON of most layers.
        r = self.regularizer(rng, 0.08)
        return {"activity_regularizer": r} if r is not None and (is_kept or self.dialect == "keras") else {}

    def freeze(self, layer):
        # tf_keras goes on counting the regularizers of frozen variables.
        parts = layer._flatten_layers()
        if self.dialect == "keras" or not any(value for part in parts for key, value in vars(part).items()
                                              if key.endswith("regularizer")):
            layer.trainable = False

    def activation(self, rng):
        return pick(rng, ACTIVATIONS if self.dialect == "keras" else OF_KERAS_2)

    def initializer(self, rng):
        i = self.k.initializers
        return pick(rng, [*INITIALIZERS, i.Constant(0.25), i.RandomNormal(0.1, 0.3), i.RandomUniform(-0.4, 0.2, seed=3),
                          i.VarianceScaling(0.7, "fan_avg", "uniform"), i.HeNormal(seed=5)])

    # Layers of one input: each takes (rng, shape) and returns a layer, or None where the shape does not suit it

    def dense(self, rng, shape, units=None, **options):
        units = units or min(int(rng.integers(1, 7)), max(1, MAX_VALUES * shape[-1] // math.prod(shape)))
        options = {"activation": None if maybe(rng, 0.2) else self.activation(rng)} | options
        kernel = self.initializer(rng) if maybe(rng) else "glorot_uniform"
        bias = pick(rng, ["zeros", "ones", "random_normal"])
        return self.layers.Dense(units, use_bias=maybe(rng, 0.8), kernel_initializer=kernel, bias_initializer=bias,
                                 kernel_regularizer=self.regularizer(rng), bias_regularizer=self.regularizer(rng),
                                 **self.activity(rng, is_kept=True), **options)

    def flatten(self, rng, shape):
        return self.layers.Flatten()

    def reshape(self, rng, shape):
        rest, dims = math.prod(shape), []
        for _ in range(int(rng.integers(0, 3))):
            dims.append(pick(rng, [d for d in range(1, rest + 1) if rest % d == 0]))
            rest //= dims[-1]
        dims.insert(int(rng.integers(len(dims) + 1)), -1 if maybe(rng) else rest)
        return self.layers.Reshape(tuple(dims), **self.activity(rng))

    def permute(self, rng, shape):
        return self.layers.Permute(tuple(int(i) + 1 for i in rng.permutation(len(shape))))

    def repeat(self, rng, shape):
        n = int(rng.integers(1, 4))
        return self.layers.RepeatVector(n) if len(shape) == 1 and n * shape[0] <= MAX_VALUES else None

    def activate(self, rng, shape):
        return self.layers.Activation(self.activation(rng), **self.activity(rng))

    def relu(self, rng, shape):
        return self.layers.ReLU(max_value=pick(rng, [None, 0.7, 6.0]), negative_slope=pick(rng, [0.0, 0.2]),
                                threshold=pick(rng, [0.0, 0.3]))

    def leaky(self, rng, shape):
        return self.layers.LeakyReLU(pick(rng, [0.3, 0.05, 0.0]))

    def elu(self, rng, shape):
        return self.layers.ELU(pick(rng, [1.0, 0.4]))

    def softmax(self, rng, shape):
        return self.layers.Softmax(axis=int(rng.integers(1, len(shape) + 1)) if maybe(rng, 0.4) else -1)

    def pool(self, rng, shape):
        kind = {2: "GlobalAveragePooling1D", 3: "GlobalAveragePooling2D"}.get(len(shape))
        return getattr(self.layers, kind)() if kind else None

    def prelu(self, rng, shape):
        axes = [i + 1 for i in range(len(shape)) if maybe(rng, 0.4)]
        return self.layers.PReLU(alpha_initializer=self.initializer(rng) if len(shape) > 1 else "random_normal",
                                 alpha_regularizer=self.regularizer(rng), shared_axes=axes or None)

    def dropout(self, rng, shape):
        rate = pick(rng, [0.0, 0.0, 0.0, 0.0, 0.3])
        self.drops = self.drops or rate > 0
        return self.layers.Dropout(rate)

    def rescale(self, rng, shape):
        return self.layers.Rescaling(number(rng, -2, 2), number(rng, -1, 1))

    def identity(self, rng, shape):
        return self.layers.Identity()

    def batch_norm(self, rng, shape):
        # Of 4 axes tf_keras's variance is the unbiased one.
        if self.dialect != "keras" and len(shape) > 2:
            return None
        axis = int(rng.integers(1, len(shape) + 1)) if maybe(rng, 0.3) else -1
        return self.layers.BatchNormalization(
            axis=axis, momentum=pick(rng, [0.99, 0.5, 0.9]), epsilon=pick(rng, [1e-3, 0.05]), center=maybe(rng, 0.8),
            scale=maybe(rng, 0.8), beta_initializer=pick(rng, ["zeros", "random_normal"]),
            gamma_regularizer=self.regularizer(rng), beta_regularizer=self.regularizer(rng), **self.activity(rng))

    def layer_norm(self, rng, shape):
        axes = list(range(-int(rng.integers(1, len(shape) + 1)), 0))
        more = {"rms_scaling": True} if self.dialect == "keras" and maybe(rng, 0.2) else {}
        return self.layers.LayerNormalization(
            axis=axes if len(axes) > 1 else -1, epsilon=pick(rng, [1e-3, 0.05]), center=maybe(rng, 0.8),
            scale=maybe(rng, 0.8), gamma_regularizer=self.regularizer(rng), beta_regularizer=self.regularizer(rng),
            **more)

    def rms_norm(self, rng, shape):
        if self.dialect != "keras":
            return None
        axes = list(range(-int(rng.integers(1, len(shape) + 1)), 0))
        return self.layers.RMSNormalization(axis=axes if len(axes) > 1 else -1, epsilon=pick(rng, [1e-6, 0.01]))

    def unit_norm(self, rng, shape):
        return self.layers.UnitNormalization(axis=-1)

    def standardize(self, rng, shape):
        axis = pick(rng, [None, -1])
        if maybe(rng, 0.3):  # adapted: its statistics are weights
            return self.layers.Normalization(axis=axis)
        n = 1 if axis is None else shape[-1]
        mean, variance = rng.normal(0, 1, n).round(3), rng.uniform(0.3, 2, n).round(3)
        given = {"mean": mean.tolist(), "variance": variance.tolist()} if n > 1 or axis is not None else {
            "mean": float(mean[0]), "variance": float(variance[0])}
        return self.layers.Normalization(axis=axis, invert=maybe(rng, 0.3), **given)

    SIMPLE = ["dense"] * 6 + ["flatten", "reshape", "permute", "repeat", "activate", "relu", "leaky", "elu", "softmax",
                              "prelu", "pool", "dropout", "rescale", "identity", "batch_norm", "batch_norm",
                              "layer_norm", "rms_norm", "unit_norm", "standardize"]

    def simple(self, rng, shape):
        for _ in range(20):
            kind = pick(rng, self.SIMPLE)
            layer = getattr(self, kind)(rng, shape)
            if layer is not None:
                if maybe(rng, 0.08):
                    self.freeze(layer)
                return layer, kind
        return self.layers.Identity(), "identity"

    # Steps: each takes (rng, pool) and returns a tensor or None

    def step_simple(self, rng, pool):
        x = self.recent(rng, pool)
        layer, kind = self.simple(rng, shape_of(x))
        y = layer(x)
        if kind != "standardize" and (kind != "batch_norm" or not layer.trainable):
            self.shared.append((layer, [shape_of(x)]))
        return y

    def step_again(self, rng, pool):
        """A layer or a model that is there, called again."""
        fitting = [(layer, shapes) for layer, shapes in self.shared
                   if all(any(shape_of(t) == s for t in pool) for s in shapes)]
        if not fitting:
            return None
        layer, shapes = pick(rng, fitting)
        x = [pick(rng, [t for t in pool if shape_of(t) == s]) for s in shapes]
        return self.read(rng, layer, layer(x if len(x) > 1 else x[0]))

    def partner(self, rng, pool, shape):
        """A tensor of this shape: one that is there, or made of one by a Dense."""
        same = [t for t in pool if shape_of(t) == shape]
        if same and maybe(rng, 0.7):
            return pick(rng, same)
        x = self.recent(rng, pool)
        if len(shape_of(x)) > 1:
            x = self.layers.Flatten()(x)
        y = self.dense(rng, shape_of(x), units=math.prod(shape))(x)
        return y if shape_of(y) == shape else self.layers.Reshape(shape)(y)

    def step_merge(self, rng, pool):
        name = pick(rng, ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
        x = self.recent(rng, pool)
        shape = shape_of(x)
        shapes = [shape] * int(rng.integers(1, 4) if name != "Subtract" else 1)
        if maybe(rng, 0.4):  # repeated along some axes, or without the first ones
            small = tuple(1 if maybe(rng, 0.5) else d for d in shape)
            shapes[-1] = small[int(rng.integers(len(shape))):]
        inputs = [x, *(self.partner(rng, pool, s) for s in shapes)]
        if maybe(rng):
            inputs = inputs[::-1]
        return getattr(self.layers, name)(**self.activity(rng))(inputs)

    def step_concatenate(self, rng, pool):
        x = self.recent(rng, pool)
        shape = shape_of(x)
        axis = int(rng.integers(len(shape)))
        inputs = [x]
        for _ in range(int(rng.integers(1, 4))):
            other = list(shape)
            other[axis] = int(rng.integers(1, 4))
            inputs.append(self.partner(rng, pool, tuple(other)))
        if sum(math.prod(shape_of(t)) for t in inputs) > MAX_VALUES:
            return None
        return self.layers.Concatenate(axis=axis + 1 if maybe(rng) else axis - len(shape))(inputs)

    def step_dot(self, rng, pool):
        x = self.recent(rng, pool)
        if len(shape_of(x)) > 2:
            return None
        shape, n = shape_of(x), int(rng.integers(1, 4))
        a = int(rng.integers(len(shape)))
        other, b = pick(rng, [((shape[a],), 0), ((shape[a], n), 0), ((n, shape[a]), 1)])
        if len(shape) == 2 and len(other) == 2 and (a, b) == (0, 1):
            return None
        y = self.partner(rng, pool, other)
        normalizes = a == len(shape) - 1 and b == len(other) - 1 and shape[a] > 1 and maybe(rng, 0.3)
        return self.layers.Dot(axes=(a + 1, b + 1), normalize=normalizes)([x, y])

    def step_operator(self, rng, pool):
        x, c = self.recent(rng, pool), number(rng, 0.3, 2)
        if maybe(rng):
            return pick(rng, [lambda: x + c, lambda: c - x, lambda: x * c, lambda: c * x, lambda: x / c,
                              lambda: x - c])()
        y = self.partner(rng, pool, shape_of(x))
        of = self.k.ops if self.dialect == "keras" else tf
        return pick(rng, [lambda: x + y, lambda: x - y, lambda: x * y, lambda: of.maximum(x, y),
                          lambda: of.minimum(x, y)])()

    def step_nested(self, rng, pool):
        """A model within the model; its parts are its own."""
        x = self.recent(rng, pool)
        inner = Gardener(self.k, self.dialect)
        i = self.k.Input(shape_of(x))
        tensors, before = [i], len(pool)
        chain = []
        if maybe(rng, 0.4):
            last = shape_of(x)
            for _ in range(int(rng.integers(1, 4))):
                layer, _ = inner.simple(rng, last)
                last = tuple(int(d) for d in layer.compute_output_shape((None, *last))[1:])
                chain.append(layer)
            model = self.k.Sequential([self.k.Input(shape_of(x)), *chain])
            has_norm = any("Normalization" in type(layer).__name__ for layer in chain)
        else:
            inner.grow(rng, tensors, int(rng.integers(1, 5)))
            ends = [tensors[-1]] if maybe(rng, 0.7) or len(tensors) < 3 else [tensors[-1], tensors[-2]]
            if tensors[-1] is i:
                return None
            model = self.k.Model(i, ends if len(ends) > 1 else ends[0])
            has_norm = any("Normalization" in type(layer).__name__ for layer in model._flatten_layers())
        self.drops = self.drops or inner.drops
        if maybe(rng, 0.1):
            self.freeze(model)
        y = model(x)
        assert len(pool) == before
        if not has_norm:
            self.shared.append((model, [shape_of(x)]))
        return self.read(rng, model, y)

    def read(self, rng, model, y):
        """One of several outputs; all where Muster leaves out what Keras does on the way to one that nothing reads."""
        if not isinstance(y, (list, tuple)):
            return y
        parts = model._flatten_layers()
        if not any("BatchNorm" in type(part).__name__ or getattr(part, "activity_regularizer", None) for part in parts):
            return pick(rng, y)
        return self.layers.Concatenate()([self.layers.Flatten()(tensor) for tensor in y])

    @staticmethod
    def recent(rng, pool):
        return pool[-1] if maybe(rng, 0.6) else pick(rng, pool)

    STEPS = ["simple"] * 9 + ["again", "again", "merge", "merge", "concatenate", "dot", "operator", "nested"]

    def grow(self, rng, pool, n):
        for _ in range(n):
            self.take_step(rng, pool)

    def take_step(self, rng, pool):
        kind = pick(rng, [s for s in self.STEPS if s != "nested" or len(pool) > 1])
        y = getattr(self, "step_" + kind)(rng, pool)
        if y is not None and 1 <= len(shape_of(y)) <= MAX_RANK and math.prod(shape_of(y)) <= MAX_VALUES:
            pool.append(y)

    # Losses

    def head(self, rng):
        """A head and the activation that goes before it."""
        l, units = self.k.losses, int(rng.integers(1, 6))
        how = {"reduction": pick(rng, ["sum_over_batch_size"] * 4 + ["sum"])}
        logits, smooth = maybe(rng), {"label_smoothing": pick(rng, [0.0, 0.1])}
        of_several = ["sparse", "categorical", "kld", "cosine"]
        of_probabilities = [] if logits else ["AUC"]
        rows, bits = pick(rng, ["one_hot", "soft"]), "bits" if units == 1 or maybe(rng) else "one_hot"
        table = {  # loss, activation, targets, metrics
            "mse": (l.MeanSquaredError(**how), None, "values", ["mae", "cosine_similarity"]),
            "mae": (l.MeanAbsoluteError(**how), None, "values", ["mse", "RootMeanSquaredError"]),
            "mape": (l.MeanAbsolutePercentageError(**how), None, "values", ["mse"]),
            "msle": (l.MeanSquaredLogarithmicError(**how), "softplus", "positive", ["mse", "msle"]),
            "huber": (l.Huber(**how), None, "values", ["mae", "R2Score"]),
            "log_cosh": (l.LogCosh(**how), None, "values", ["RootMeanSquaredError"]),
            "hinge": (l.Hinge(**how), pick(rng, [None, "tanh"]), pick(rng, ["signs", "bits"]), ["hinge"]),
            "squared_hinge": (l.SquaredHinge(**how), None, "signs", ["squared_hinge"]),
            "categorical_hinge": (l.CategoricalHinge(**how), pick(rng, [None, "softmax"]), "one_hot", ["accuracy"]),
            "poisson": (l.Poisson(**how), "softplus", "positive", ["poisson"]),
            "kld": (l.KLDivergence(**how), "softmax", "soft", ["kl_divergence"]),
            "cosine": (l.CosineSimilarity(**how), None, "values", ["cosine_similarity"]),
            "sparse": (l.SparseCategoricalCrossentropy(from_logits=logits, **how), None if logits else "softmax",
                       "labels", ["accuracy", "sparse_top_k_categorical_accuracy"]),
            "categorical": (l.CategoricalCrossentropy(from_logits=logits, **smooth, **how),
                            None if logits else "softmax", rows,
                            ["accuracy", "categorical_crossentropy", "top_k_categorical_accuracy"]
                            + of_probabilities * (rows == "one_hot")),
            "binary": (l.BinaryCrossentropy(from_logits=logits, **smooth, **how), None if logits else "sigmoid", bits,
                       ["accuracy", *of_probabilities, "Precision", "Recall", "binary_crossentropy"]),
        }
        kind = pick(rng, [kind for kind in table if units > 1 or kind not in of_several])
        loss, activation, targets, metrics = table[kind]
        if self.dialect != "keras":
            metrics = [name for name in metrics if name != "R2Score"]

        def some(p):
            return [getattr(self.k.metrics, name)() if name[0].isupper() else name for name in metrics if maybe(rng, p)]
        return Head(loss, targets, units, targets == "one_hot" and maybe(rng), some(0.5), some(0.2)), activation

    def end(self, rng, x):
        head, activation = self.head(rng)
        if len(shape_of(x)) > 1:
            x = self.layers.Flatten()(x)
        if activation is not None and maybe(rng, 0.3):
            y = self.layers.Activation(activation)(self.layers.Dense(head.units)(x))
        else:
            y = self.layers.Dense(head.units, activation=activation, kernel_regularizer=self.regularizer(rng))(x)
        return y, head


def grow_sequential(g, rng, recipe):
    shape = tuple(int(d) for d in rng.integers(1, 5, rng.integers(1, 4)))
    chain, last = [], shape
    for seed in recipe.steps:
        layer, _ = g.simple(np.random.default_rng(seed), last)
        after = tuple(int(d) for d in layer.compute_output_shape((None, *last))[1:])
        if 1 <= len(after) <= MAX_RANK and math.prod(after) <= MAX_VALUES:
            chain.append(layer)
            last = after
    head, activation = g.head(rng)
    if len(last) > 1:
        chain.append(g.layers.Flatten())
    chain.append(g.layers.Dense(head.units, activation=activation))
    return g.k.Sequential([g.k.Input(shape), *chain]), [head]


def grow_functional(g, rng, recipe):
    k, n_inputs = g.k, int(rng.choice([1, 1, 2, 3]))
    inputs, pool = [], []
    for _ in range(n_inputs):
        shape = tuple(int(d) for d in rng.integers(1, 5, rng.integers(1, 4)))
        if maybe(rng, 0.25):
            ids = k.Input(shape[:1], dtype="int32")
            inputs.append(ids)
            pool.append(g.layers.Embedding(7, int(rng.integers(1, 5)), embeddings_initializer=g.initializer(rng),
                                           embeddings_regularizer=g.regularizer(rng))(ids))
        else:
            inputs.append(k.Input(shape))
            pool.append(inputs[-1])
    firsts = list(pool)
    for seed in recipe.steps:
        g.take_step(np.random.default_rng(seed), pool)
    # Every input and the last tensor have a way to an output, and some of the others.
    ends = [pool[-1], *(t for t in firsts if t is not pool[-1]), *(pick(rng, pool) for _ in range(rng.integers(3)))]
    n_outputs = int(rng.choice([1, 1, 2, 3]))
    outputs, heads = [], []
    for i in range(n_outputs):
        mine = ends[i::n_outputs] or [pick(rng, pool)]
        flat = [g.layers.Flatten()(t) if len(shape_of(t)) > 1 else t for t in mine]
        y, head = g.end(rng, g.layers.Concatenate()(flat) if len(flat) > 1 else flat[0])
        outputs.append(y)
        heads.append(head)
    if n_outputs > 1 and maybe(rng, 0.15):
        heads[-1].loss, heads[-1].metrics, heads[-1].weighted_metrics = None, [], []
    return k.Model(inputs if n_inputs > 1 else inputs[0], outputs if n_outputs > 1 else outputs[0]), heads


def grow(k, recipe):
    rng = np.random.default_rng([recipe.seed, 2])
    g = Gardener(k, recipe.dialect)
    model, heads = (grow_sequential if maybe(rng, 0.25) else grow_functional)(g, rng, recipe)
    weights = [number(rng, 0.2, 2) for _ in heads] if len(heads) > 1 and maybe(rng) else None
    return Grown(model, heads, weights, maybe(rng, 0.3), g.drops)


def values_of(v, name, rng):
    """For a variable, so that no gradient is 0 by chance and no two are the same."""
    if name.endswith("count"):
        return np.zeros(v.shape)
    if name.endswith("variance"):
        return rng.uniform(0.5, 2, v.shape)
    return np.asarray(v) * 0.5 + rng.normal(1 if name.endswith(("gamma", "scale")) else 0, 0.4, v.shape)


def targets_of(head, n, rng):
    shape = (n, head.units)
    if head.targets == "labels":
        return rng.integers(0, head.units, n).astype("int32")
    if head.targets == "one_hot":
        return np.eye(head.units, dtype="float32")[rng.integers(0, head.units, n)]
    if head.targets == "soft":
        return rng.dirichlet(np.ones(head.units), n).astype("float32")
    if head.targets == "bits":
        return rng.integers(0, 2, shape).astype("float32")
    if head.targets == "signs":
        return (2 * rng.integers(0, 2, shape) - 1).astype("float32")
    if head.targets == "positive":
        return rng.uniform(0.1, 3, shape).astype("float32")
    return rng.normal(0, 1, shape).astype("float32")


if __name__ == "__main__":
    name = sys.argv[2] if len(sys.argv) > 2 else "keras"
    print(grow(__import__(name), Recipe.of_seed(int(sys.argv[1]), name)).model.to_json(indent=1))
