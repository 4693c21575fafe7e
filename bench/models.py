"""Dense networks of any width for jobs that must be larger than the example's."""
import copy
import json
import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLE_MODEL = os.path.join(ROOT, "examples", "fashion-mnist", "model.json")


def dense_network(units):
    """The example's network with hidden layers of these many units, parsed; its last layer stays."""
    with open(EXAMPLE_MODEL, encoding="utf-8") as file:
        model = json.load(file)
    layers = model["config"]["layers"]
    dense = [layer for layer in layers if layer["class_name"] == "Dense"]
    hidden, last = dense[0], dense[-1]
    n_inputs = hidden["build_config"]["input_shape"][1]
    made = []
    for i, n in enumerate([*units, last["config"]["units"]]):
        layer = copy.deepcopy(hidden if i < len(units) else last)
        layer["config"].update(name=f"dense_{i}", units=n)
        layer["build_config"]["input_shape"] = [None, n_inputs]
        made.append(layer)
        n_inputs = n
    model["config"]["layers"] = [layer for layer in layers if layer["class_name"] != "Dense"] + made
    return model
