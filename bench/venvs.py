"""The Pythons that peers need: one that the environment names, or a virtual environment of ours under build/, made once."""
import collections
import os
import sys

from pairs import PeerMissing, RunFailed, execute

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(HERE), "build")

# alone: packages that are installed without what they ask for.
Need = collections.namedtuple("Need", "name variable requirements alone folder probe")
TORCH = Need("PyTorch", "MUSTER_BENCH_PYTHON", "requirements-torch.txt", [], "bench-venv",
             "import torch, numpy; print(torch.__version__)")
TENSORFLOW = Need("TensorFlow", "MUSTER_BENCH_TF_PYTHON", "requirements-tensorflow.txt",
                  ["tf_keras==2.21.0"],  # it asks for the package with CUDA, beside the one that we have
                  "bench-venv-tf",
                  "import tensorflow, tf_keras; print(tensorflow.__version__, 'with tf_keras', tf_keras.__version__)")


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def make_venv(need, say):
    """Our virtual environment's Python; installs into it what the requirements pin when that is not there yet."""
    folder = os.path.join(BUILD, need.folder)
    python, installed = os.path.join(folder, "bin", "python"), os.path.join(folder, "installed.txt")
    wanted = "\n".join([read(os.path.join(HERE, need.requirements)).strip(), *need.alone, ""])
    if read(installed) != wanted:
        say(f"  installing {', '.join(wanted.split())} into build/{need.folder} (once)")
        try:
            execute([sys.executable, "-m", "venv", "--clear", folder], 120)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            execute([*pip, "-r", os.path.join(HERE, need.requirements)], 1800)
            if need.alone:
                execute([*pip, "--no-deps", *need.alone], 600)
        except RunFailed as why:
            raise PeerMissing(f"{need.name} cannot be installed; {need.variable} may name a Python that has it. {why}") from why
        with open(installed, "w", encoding="utf-8") as out:
            out.write(wanted)
    return python


def find_python(setting, need, say):
    """The Python with what is needed; PeerMissing when it cannot be installed, RunFailed when the one named lacks it."""
    if need.variable not in setting.pythons:
        try:
            python = os.environ.get(need.variable) or make_venv(need, say)
            say(f"  {need.name} {execute([python, '-c', need.probe], 300).strip()} ({python})")
            setting.pythons[need.variable] = python
        except PeerMissing as why:
            setting.pythons[need.variable] = why  # one try is enough for all entries
    if isinstance(setting.pythons[need.variable], PeerMissing):
        raise setting.pythons[need.variable]
    return setting.pythons[need.variable]


def find_torch(setting, say):
    return find_python(setting, TORCH, say)


def find_tensorflow(setting, say):
    return find_python(setting, TENSORFLOW, say)
