"""Random models (random_models.py) in Keras and here: outputs, losses, metrics, gradients, moving averages, and
`.keras` archives both ways.

A difference is counted by the largest element of its tensor and may be 1e-5. Where float32 itself is worse, Keras in
float64 decides: what is computed here may be four times as far from it as Keras in float32 is, or as what each layer's
values, off by 2e-7, make of it; and a small gradient, the sum of large ones that cancel out, may be off by 1e-6 of the
model's largest.

MUSTER_BUILD names the build (tests/interop/run sets it); without it or without Keras the tests are skipped.
MUSTER_TEST_SEED is the first seed, MUSTER_RANDOM_MODELS the number of models of each dialect.
"""
import contextlib
import json
import os
import shutil
import subprocess

import pytest

np = pytest.importorskip("numpy")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")

import random_models
from random_models import Recipe

SEED = int(os.environ.get("MUSTER_TEST_SEED", "1"))
NUMBERS = {"keras": 150, "tf_keras": 50} | ({d: int(os.environ["MUSTER_RANDOM_MODELS"]) for d in ("keras", "tf_keras")}
                                          if "MUSTER_RANDOM_MODELS" in os.environ else {})
DIALECTS = {"keras": keras, "tf_keras": tf_keras}
N = 6
TOLERANCE = 1e-5
NOISE = 1e-6


class Difference(AssertionError):
    pass


class Tool:
    """batch_tool: one request, one answer."""

    def __init__(self, build):
        environment = os.environ | {"MUSTER_MODULE_DIR": f"{build}/lib/muster"}
        self.process = subprocess.Popen([f"{build}/tests/unit/batch_tool"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Difference(f"batch_tool ended with {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Difference(answer["error"])
        return answer

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0, "leaks or worse: see its stderr"
        self.process.stdout.close()


@pytest.fixture(scope="module")
def tool():
    if "MUSTER_BUILD" not in os.environ:
        pytest.skip("MUSTER_BUILD does not name the build")
    tool = Tool(os.environ["MUSTER_BUILD"])
    yield tool
    tool.close()


def as_list(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]


def variables(model, prefix=""):
    """Variables by the names that Muster gives them: the way through the models, the layer, Keras's own name."""
    for layer in model.layers:
        if isinstance(layer, (keras.Model, tf_keras.Model)):
            yield from variables(layer, f"{prefix}{layer.name}/")
        else:
            for v in (v for v in layer.variables if "seed_generator" not in v.name):
                yield f"{prefix}{layer.name}/{v.name.split('/')[-1].split(':')[0]}", layer, v


class Batch:
    """What a model of a recipe is computed with."""

    def __init__(self, grown, recipe):
        rng = np.random.default_rng([recipe.seed, 3])
        self.weights = {path: random_models.values_of(v, path, rng).astype("float32")
                        for path, _, v in variables(grown.model)}
        self.inputs = [rng.integers(0, 7, (N, *i.shape[1:])).astype("int32") if "int" in str(i.dtype) else
                       rng.normal(0, 1, (N, *i.shape[1:])).astype("float32") for i in grown.model.inputs]
        self.targets = [random_models.targets_of(head, N, rng) for head in grown.heads]
        self.example_weights = rng.uniform(0.2, 3, N).astype("float32") if grown.has_sample_weights else None


def shake(model):
    """Lets each layer be wrong as float32 makes it: by 2e-7, a few units of the last place."""
    rng = np.random.default_rng(4)

    def shaken(call):
        def shaking(*arguments, **keywords):
            y = call(*arguments, **keywords)
            return y * tf.constant(1 + rng.normal(0, 2e-7, y.shape), y.dtype)
        return shaking
    for layer in model._flatten_layers():
        if not hasattr(layer, "layers") and "InputLayer" not in type(layer).__name__:
            layer.call = shaken(layer.call)


def compile_model(k, grown):
    heads = grown.heads
    grown.model.compile("sgd", loss=[h.loss for h in heads], loss_weights=grown.loss_weights, run_eagerly=True,
                        metrics=[h.metrics for h in heads], weighted_metrics=[h.weighted_metrics for h in heads])


def compile_json(k, grown):
    def serialise(x):
        if not isinstance(x, k.metrics.Metric if isinstance(x, k.metrics.Metric) else k.losses.Loss):
            return x
        return json.loads(json.dumps(k.saving.serialize_keras_object(x), default=float))
    out = {"loss": [serialise(h.loss) for h in grown.heads],
           "metrics": [[serialise(m) for m in h.metrics] for h in grown.heads],
           "weighted_metrics": [[serialise(m) for m in h.weighted_metrics] for h in grown.heads]}
    if len(grown.heads) == 1:
        out = {key: value[0] for key, value in out.items()}
    return out | ({"loss_weights": grown.loss_weights} if grown.loss_weights else {})


class Computed:
    """What Keras computes of a recipe's model in float32 or float64."""

    def __init__(self, recipe, floatx, batch=None, change=None):
        self.k = k = DIALECTS[recipe.dialect]
        k.backend.clear_session()
        k.backend.set_floatx(floatx)
        k.utils.set_random_seed(recipe.seed)
        try:
            self.grown = random_models.grow(k, recipe)
            self.batch = batch or Batch(self.grown, recipe)
            self.assign(floatx)
            self.json = compile_json(k, self.grown)
            if floatx == "float64":  # which not all metrics take
                for head in self.grown.heads:
                    head.metrics = head.weighted_metrics = []
            if change:
                change(self.grown.model)
            compile_model(k, self.grown)
            self.compute(floatx)
            self.assign(floatx)  # what the training moved
        finally:
            k.backend.set_floatx("float32")

    def assign(self, floatx):
        for path, _, v in variables(self.grown.model):
            v.assign(self.batch.weights[path].astype(floatx))
        for layer in self.grown.model._flatten_layers():
            if isinstance(layer, (keras.layers.Normalization, tf_keras.layers.Normalization)):
                layer.finalize_state()

    def compute(self, floatx):
        self.apart = set()
        model, batch = self.grown.model, self.batch
        x = [tf.constant(i.astype(floatx) if i.dtype == np.float32 else i) for i in batch.inputs]
        y = [tf.constant(t.astype(floatx) if t.dtype == np.float32 else t) for t in batch.targets]
        w = None if batch.example_weights is None else tf.constant(batch.example_weights.astype(floatx))
        weights = w if w is None or len(y) == 1 else [w] * len(y)
        x, y = (a if len(a) > 1 else a[0] for a in (x, y))
        self.out = {f"output {i}": np.asarray(o) for i, o in enumerate(as_list(model(x, training=False)))}
        if self.k is keras:
            for name, value in model.test_on_batch(x, y, weights, return_dict=True).items():
                self.out[f"evaluated {name}"] = np.asarray(value, dtype=floatx)
        if self.grown.drops:
            return
        before = {path: np.asarray(v) for path, _, v in variables(model)}
        trained = [(path, v) for path, _, v in variables(model) if any(v is t for t in model.trainable_variables)]
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x, y, outputs, weights)
        grads = tape.gradient(loss, [v.value if self.k is keras else v for _, v in trained])
        self.out["trained loss"] = np.asarray(loss)
        for (path, v), g in zip(trained, grads):
            self.out[f"gradient of {path}"] = np.zeros(v.shape) if g is None else np.asarray(tf.convert_to_tensor(g))
            if g is None:  # no loss depends on it
                self.apart.add(f"gradient of {path}")
        for path, layer, v in variables(model):
            if "moving_" in path and layer.trainable:
                self.out[f"pushed {path}"] = np.asarray(v)
                self.out[f"momentum {path}"] = (before[path], layer.momentum)


def ask(tool, recipe, computed, folder):
    """The same from Muster, by the same names, with the weights of Keras's archive or of TensorFlow's checkpoint."""
    model, batch = computed.grown.model, computed.batch
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    out = str(folder) + "/"
    model.save(folder / "m.keras")
    dtypes = {"float32": "f32", "int32": "i32"}
    request = {"model": out + "m.keras", "same": model.to_json(), "copy": out + "copy.keras", "compile": computed.json,
               "train": not computed.grown.drops, "n": N, "inputs": [], "targets": [], "out": out}
    # Of the checkpoints of Keras 3 the names are read, which do not tell where within a nested model a layer is.
    is_nested = any(hasattr(layer, "layers") for layer in model.layers)
    if recipe.seed % 4 == 0 and not (is_nested and recipe.dialect == "keras"):
        request["weights"] = tf.train.Checkpoint(model=model).write(out + "checkpoint")
    for i, array in enumerate(batch.inputs):
        array.tofile(out + f"x{i}")
        request["inputs"].append([dtypes[array.dtype.name], out + f"x{i}"])
    for i, (array, head) in enumerate(zip(batch.targets, computed.grown.heads)):
        labels = array.argmax(-1).astype("int32") if head.as_labels and head.units > 1 else array
        labels.tofile(out + f"y{i}")
        kind = "labels" if labels.dtype == np.int32 else "values"
        request["targets"].append([kind, out + f"y{i}"] if head.loss else None)
    if batch.example_weights is not None:
        batch.example_weights.tofile(out + "weights")
        request["example_weights"] = out + "weights"
    answer = tool.ask(request)
    got = {f"evaluated {name}": np.float32(v) for name, v in answer["evaluated"].items()} if computed.k is keras else {}
    for name, value in computed.out.items():
        if name.startswith("output "):
            got[name] = np.fromfile(out + name.replace(" ", "."), "float32").reshape(value.shape)
    if computed.grown.drops:
        return got
    got["trained loss"] = np.float32(answer["trained"]["loss"])
    for v, path in enumerate(answer["variables"]):
        if not os.path.exists(out + f"grad.{v}"):
            continue  # frozen
        if f"gradient of {path}" in computed.out:
            shape = computed.out[f"gradient of {path}"].shape
            got[f"gradient of {path}"] = np.fromfile(out + f"grad.{v}", "float32").reshape(shape)
        elif f"pushed {path}" in computed.out:
            old, momentum = computed.out[f"momentum {path}"]
            got[f"pushed {path}"] = old * momentum + np.fromfile(out + f"grad.{v}", "float32") * (1 - momentum)
    return got


def distance(a, b):
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    return float(np.max(np.abs(a - b), initial=0)), float(np.max(np.abs(b), initial=0))


def compare(recipe, computed, got):
    """The worst difference that float32 does not explain, and how many it explains."""
    wanted = {name: value for name, value in computed.out.items() if not name.startswith("momentum ")}
    got = {name: np.zeros(1) for name in computed.apart} | got
    if set(wanted) != set(got):
        raise Difference(f"Keras alone has {sorted(set(wanted) - set(got))}, "
                         f"Muster alone {sorted(set(got) - set(wanted))}")
    worst, exact, shaken, n_explained = 0.0, None, None, 0
    for name, value in wanted.items():
        error, largest = distance(got[name], value)
        if error <= TOLERANCE * largest or (error == 0 and largest == 0):
            worst = max(worst, error / largest if largest else 0)
            continue
        exact = exact or Computed(recipe, "float64", computed.batch).out
        shaken = shaken or Computed(recipe, "float64", computed.batch, shake).out
        if name not in exact:
            raise Difference(f"{name}: here {got[name]}, Keras {value}")
        ours, size = distance(got[name], exact[name])
        keras_own, _ = distance(value, exact[name])
        trembling, _ = distance(shaken[name], exact[name])
        everything = max([distance(g, g)[1] for n, g in exact.items() if n.startswith("gradient")] or [0])
        cancelled = NOISE * everything if name.startswith("gradient") else 0
        if ours > max(4 * keras_own, 4 * trembling, TOLERANCE * size, cancelled):
            raise Difference(f"{name}: {error:.2g} of {largest:.2g} from Keras; from float64 {ours:.2g}, "
                             f"Keras {keras_own:.2g}, shaken {trembling:.2g}\n"
                             f"here  {got[name]}\nKeras {value}\nexact {exact[name]}")
        n_explained += 1
    return worst, n_explained


def load_copy(computed, folder):
    loaded = computed.k.models.load_model(folder / "copy.keras", compile=False)
    before = {path: np.asarray(v) for path, _, v in variables(loaded)}
    if set(before) != set(computed.batch.weights):
        raise Difference(f"the archive that Muster wrote has {sorted(before)}")
    for path, value in before.items():
        if not np.array_equal(value, computed.batch.weights[path]):
            raise Difference(f"{path} is another in the archive that Muster wrote")


def is_finite(computed):
    return all(np.all(np.isfinite(v)) for name, v in computed.out.items() if not name.startswith("momentum "))


def check(recipe, tool, folder):
    computed = Computed(recipe, "float32")
    if not is_finite(computed):
        return None
    got = ask(tool, recipe, computed, folder)
    result = compare(recipe, computed, got)
    load_copy(computed, folder)
    return result


def difference(recipe, tool, folder):
    try:
        check(recipe, tool, folder)
    except Difference as e:
        return str(e)
    except Exception:  # a smaller recipe that grows into nothing Keras takes
        return None
    return None


def shrink(recipe, tool, folder):
    """The recipe without the steps that the difference does not need."""
    n = len(recipe.steps)
    while n > 0:
        i = 0
        while i < len(recipe.steps):
            smaller = recipe.without(i, n)
            if difference(smaller, tool, folder):
                recipe = smaller
            else:
                i += n
        n //= 2
    return recipe


def report(recipe, tool, folder):
    small = shrink(recipe, tool, folder)
    text = difference(small, tool, folder)
    with contextlib.suppress(Exception):
        computed = Computed(small, "float32")
        return (f"{small}\n{text}\ncompile: {json.dumps(computed.json)}\nmodel: {computed.grown.model.to_json()}")
    return f"{small}\n{text}"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_random_models(tool, tmp_path, dialect):
    print(f"{NUMBERS[dialect]} models of {dialect} from seed {SEED} (MUSTER_TEST_SEED, MUSTER_RANDOM_MODELS)")
    worst, n_explained, n_compared, failures = 0.0, 0, 0, []
    for seed in range(SEED, SEED + NUMBERS[dialect]):
        recipe = Recipe.of_seed(seed, dialect)
        try:
            result = check(recipe, tool, tmp_path / "files")
        except Difference:
            failures.append(f"seed {seed} {report(recipe, tool, tmp_path / 'files')}")
            if len(failures) == 5:
                break
            continue
        if result is not None:
            worst, n_explained, n_compared = max(worst, result[0]), n_explained + result[1], n_compared + 1
    print(f"{n_compared} models compared: worst difference {worst:.2g}; {n_explained} tensors that float64 decided")
    if failures:
        pytest.fail("\n\n".join(failures), pytrace=False)
    assert n_compared >= 0.9 * NUMBERS[dialect], "too many models are not finite"
