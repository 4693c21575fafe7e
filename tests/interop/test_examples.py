"""The files of examples/digits that say they come from Keras do."""
import json
import os
import pathlib
import subprocess
import sys

DIGITS = pathlib.Path(__file__).resolve().parents[2] / "examples" / "digits"


def test_make_model_prints_the_model_of_the_example(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, DIGITS / "make_model.py"], cwd=tmp_path, env=environment, check=True, timeout=300)
    assert json.loads((tmp_path / "model.json").read_text()) == json.loads((DIGITS / "model.json").read_text())
