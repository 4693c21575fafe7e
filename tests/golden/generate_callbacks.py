#!/usr/bin/env python3
"""Records what Keras's callbacks decide over many epochs, for test_golden_callbacks.c:

    python3 -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
    venv/bin/python tests/golden/generate_callbacks.py
"""
import json
import pathlib
import tempfile

import numpy as np

from generate import Dump, keras, layers, serialise

EPOCHS = 24
c = keras.callbacks


def values(rng, kind):
    """A value for each epoch, coarse enough that some are equal; None: it is not known."""
    if kind == "flat":
        return [0.5] * EPOCHS
    steps = rng.integers(-3, 3, EPOCHS) * 0.01
    found = [round(float(v), 3) for v in 0.6 + np.cumsum(steps)]
    if kind == "gaps":
        found = [None if rng.random() < 0.25 else v for v in found]
    if kind == "tiny":  # differences that float32 cannot tell, and some that it can
        found = [0.5 - i * 1.5e-8 for i in range(EPOCHS)]
    return found


def fresh_model():
    model = keras.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), loss="mse", metrics=["accuracy"])
    model.evaluate(np.zeros((2, 2), "float32"), np.zeros((2, 1), "float32"), verbose=0)  # metrics exist from now on
    return model


def logs_of(monitor, value):
    logs = {"loss": 1.0, "accuracy": 0.25, "val_loss": 2.0, "val_accuracy": 0.125}
    del logs[monitor]
    return logs if value is None else {**logs, monitor: value}


def configs():
    """Class and options."""
    yield "EarlyStopping", {"monitor": "val_loss"}
    yield "EarlyStopping", {"monitor": "val_loss", "patience": 3}
    yield "EarlyStopping", {"monitor": "val_accuracy", "patience": 2, "min_delta": 0.02}
    yield "EarlyStopping", {"monitor": "loss", "patience": 2, "min_delta": -0.02}
    yield "EarlyStopping", {"monitor": "accuracy", "patience": 4, "start_from_epoch": 5}
    yield "EarlyStopping", {"monitor": "val_loss", "patience": 4, "baseline": 0.55}
    yield "EarlyStopping", {"monitor": "val_loss", "patience": 3, "baseline": 0.3, "restore_best_weights": True}
    yield "EarlyStopping", {"monitor": "val_loss", "mode": "max", "patience": 2, "restore_best_weights": True}
    yield "EarlyStopping", {"monitor": "val_accuracy", "mode": "min", "patience": 5, "start_from_epoch": 2}
    yield "ReduceLROnPlateau", {"monitor": "val_loss", "patience": 1}
    yield "ReduceLROnPlateau", {"monitor": "loss", "patience": 2, "factor": 0.5, "cooldown": 2}
    yield "ReduceLROnPlateau", {"monitor": "val_accuracy", "patience": 0, "factor": 0.9, "cooldown": 1, "min_delta": 0}
    yield "ReduceLROnPlateau", {"monitor": "val_loss", "patience": 1, "factor": 0.3, "min_lr": 0.004, "min_delta": 0.015}
    yield "ReduceLROnPlateau", {"monitor": "accuracy", "mode": "min", "patience": 2, "factor": 0.2, "min_lr": 0.05}
    yield "ModelCheckpoint", {"filepath": "x.keras", "monitor": "val_loss", "save_best_only": True}
    yield "ModelCheckpoint", {"filepath": "x.keras", "monitor": "val_accuracy", "save_best_only": True,
                              "initial_value_threshold": 0.58}
    yield "ModelCheckpoint", {"filepath": "x.keras", "monitor": "accuracy", "mode": "min", "save_best_only": True}


def run(name, config, trace):
    """What the callback holds after each epoch, up to the one that stops."""
    callback, model = getattr(c, name)(**config), fresh_model()
    saved = []
    model.save = lambda *_, **__: saved.append(True)
    callback.set_model(model)
    callback.on_train_begin()
    model.stop_training = False
    after = []
    for epoch, value in enumerate(trace):
        saved.clear()
        if name == "ModelCheckpoint" and value is None:
            after.append([callback.best, None, 0.0, False])
            continue  # Keras saves in this case; the test does not have it
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs_of(config["monitor"], value))
        after.append([callback.best if callback.best is None else float(callback.best), getattr(callback, "wait", None),
                      float(model.optimizer.learning_rate.numpy()), bool(saved)])
        if model.stop_training:
            break
    best = getattr(callback, "best_epoch", None)
    return {"after": after, "stopped": bool(model.stop_training), "best_epoch": best}


def traces(dump):
    rng = np.random.default_rng(4)
    for i, (name, config) in enumerate(configs()):
        for kind in ("walk", "flat", "gaps", "tiny"):
            trace = values(rng, kind)
            dump.cases.append({"name": f"{name}_{i}_{kind}", "class_name": name, "config": config, "trace": trace,
                               **run(name, config, trace)})


def directions(dump):
    """Whether mode auto takes less or more of a metric for better, or neither."""
    m = keras.metrics
    metrics = ["accuracy", "mse", "mae", "mape", "msle", "bce", "kl_divergence", "poisson", "cosine_similarity", m.AUC(),
               m.Precision(), m.Recall(), m.TruePositives(), m.FalsePositives(), m.TrueNegatives(), m.FalseNegatives(),
               m.SensitivityAtSpecificity(0.5), m.SpecificityAtSensitivity(0.5), m.PrecisionAtRecall(0.5),
               m.RecallAtPrecision(0.5), m.RootMeanSquaredError(), m.R2Score(), m.LogCoshError(), m.Hinge(),
               m.SquaredHinge(), m.BinaryAccuracy(), m.Accuracy(name="equal"), m.F1Score(), m.CosineSimilarity(name="cosine"),
               m.MeanSquaredError(name="other")]
    for metric in metrics:
        model = keras.Sequential([layers.Input((2,), name="in"), layers.Dense(1, "sigmoid", name="d")], name="s")
        model.compile("sgd", "bce", metrics=[metric])
        logs = model.evaluate(np.zeros((4, 2), "float32"), np.array([[0], [1], [0], [1]], "float32"), verbose=0,
                              return_dict=True)
        name = [key for key in logs if key != "loss"][0]
        callback = c.EarlyStopping(monitor=name)
        callback.set_model(model)
        try:
            callback._set_monitor_op()
            direction = "min" if callback.monitor_op is keras.ops.less else "max"
        except ValueError:
            direction = None
        metric = metric if isinstance(metric, str) else serialise(metric)
        dump.cases.append({"name": f"direction_{name}", "class_name": None, "model": json.loads(model.to_json()), "monitor": name,
                           "compile": {"optimizer": "sgd", "loss": "bce", "metrics": [metric]}, "direction": direction})


def csv_files(dump):
    """Bytes of CSVLogger's files."""
    rows = [{"loss": 0.6931471824645996, "accuracy": 0.5}, {"loss": 1e-07, "accuracy": 1.0},
            {"loss": 1.5e16, "accuracy": 0.0}, {"loss": 123456.0, "accuracy": 0.1}, {"loss": 0.0001, "accuracy": 1e-05},
            {"loss": float(np.float32(0.01)), "accuracy": 1e22}]
    for name, validated, rate, separator, before in [
            ("plain", False, False, ",", None), ("validated", True, False, ",", None), ("rate", True, True, ";", None),
            ("rate_alone", False, True, "\t", None), ("quoted", True, False, "_", None), ("points", False, False, ".", None),
            ("appended", True, False, ",", "epoch,old\r\n"), ("appended_empty", True, False, ",", "")]:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "log.csv"
            if before is not None:
                path.write_bytes(before.encode())
            callback = c.CSVLogger(str(path), separator=separator, append=before is not None)
            callback.on_train_begin()
            for epoch, row in enumerate(rows):
                logs = dict(row)
                if validated:
                    logs |= {"val_" + key: value for key, value in row.items()}
                if rate:
                    logs["learning_rate"] = float(np.float32(0.05))
                callback.on_epoch_end(epoch, logs)
            callback.on_train_end()
            dump.cases.append({"name": f"csv_{name}", "class_name": "CSVLogger", "validated": validated, "rate": rate,
                               "separator": separator, "before": before, "rows": [[r["loss"], r["accuracy"]] for r in rows],
                               "text": path.read_bytes().decode()})


if __name__ == "__main__":
    out = Dump("callbacks")
    traces(out)
    directions(out)
    csv_files(out)
    out.write()
