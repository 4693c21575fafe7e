#!/usr/bin/env python3
"""Writes tools/keras/names.json, what Keras has, which tools/check-keras holds against what Muster reads:

    python3 -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
    venv/bin/python tests/golden/generate_keras_names.py

Of each class its other names and the keys of its config; of an activation its other names.
"""
import inspect
import json

from generate import HERE, keras

OUT = HERE.parent.parent / "tools" / "keras" / "names.json"
# Bases, and what only wraps something else of the list.
ABSTRACT = {"Layer", "Wrapper", "Loss", "Metric", "MeanMetricWrapper", "Optimizer", "Initializer", "Regularizer", "Constraint",
            "LearningRateSchedule", "OptimizerMap"}
# What a constructor cannot do without, to see the config that it makes.
ARGUMENTS = {
    "activation": "relu", "axes": 1, "bin_boundaries": [1.0], "boundaries": [1], "decay_rate": 0.5, "decay_steps": 1, "dims": (1,),
    "equation": "ab,bc->ac", "factor": 0.1, "filters": 1, "first_decay_steps": 1, "height": 1, "height_factor": 0.1, "head_dim": 1,
    "initial_learning_rate": 0.1, "input_dim": 1, "kernel_size": 1, "key_dim": 1, "n": 1, "name": "x", "num_bins": 2,
    "num_classes": 2, "num_heads": 1, "num_key_value_heads": 1, "num_query_heads": 1, "num_tokens": 2, "output_dim": 1,
    "output_shape": (1,), "output_size": 1, "precision": 0.5, "rate": 0.1, "recall": 0.5, "sensitivity": 0.5, "shape": (1,),
    "specificity": 0.5, "stddev": 0.1, "target_class_ids": [0], "target_shape": (1,), "units": 1, "values": [1.0, 0.5], "width": 1,
}


def config_keys(thing):
    """What its config may hold: the keys of one that it made, and the names of what its constructor takes."""
    parameters = inspect.signature(thing.__init__).parameters.values()
    named = [p for p in parameters if p.name != "self" and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if thing.__name__ == "InputLayer":  # whose constructor's words are others than its config's
        return sorted(thing(shape=(1,)).get_config())
    keys = {p.name for p in named}
    try:
        keys |= set(thing(**{p.name: ARGUMENTS[p.name] for p in named if p.default is p.empty}).get_config())
    except Exception:  # a wrapper of a layer, or something of another framework: its arguments are its keys
        pass
    return sorted(keys)


def classes(module, base):
    found = {}
    for name in dir(module):
        thing = getattr(module, name)
        if inspect.isclass(thing) and issubclass(thing, base) and thing.__name__ not in ABSTRACT:
            entry = found.setdefault(thing.__name__, {"also": []})
            entry["also"] += [name] * (name != thing.__name__)
            entry["options"] = config_keys(thing)
    return found


def functions(module):
    found = {}
    for name in dir(module):
        thing = getattr(module, name)
        if inspect.isfunction(thing) and name not in ("get", "serialize", "deserialize"):
            entry = found.setdefault(thing.__name__, {"also": []})
            entry["also"] += [name] * (name != thing.__name__)
    return found


def main():
    schedules = keras.optimizers.schedules
    names = {
        "version": keras.__version__,
        "layers": classes(keras.layers, keras.layers.Layer),
        "activations": functions(keras.activations),
        "initializers": classes(keras.initializers, keras.initializers.Initializer),
        "regularizers": classes(keras.regularizers, keras.regularizers.Regularizer),
        "constraints": classes(keras.constraints, keras.constraints.Constraint),
        "losses": classes(keras.losses, keras.losses.Loss),
        "metrics": classes(keras.metrics, keras.metrics.Metric),
        "optimizers": classes(keras.optimizers, keras.optimizers.Optimizer),
        "schedules": classes(schedules, schedules.LearningRateSchedule),
    }
    lines = []
    for group, entries in names.items():
        if group == "version":
            lines.append(f' "version": {json.dumps(entries)}')
            continue
        rows = [f"  {json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in sorted(entries.items())]
        lines.append(f' "{group}": {{\n' + ",\n".join(rows) + "\n }")
    with open(OUT, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


main()
