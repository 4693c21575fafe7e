"""What is measured: the entries of bench.json, and for each how Muster and its peer are run."""
import collections
import contextlib
import json
import os
import shutil

from pairs import RunFailed, execute
from venvs import find_torch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLE = os.path.join(ROOT, "examples", "fashion-mnist")
DATA = "/usr/share/datasets/fashion-mnist"
N_WORKERS = 2
N_PS = 2
SGD = {"class_name": "SGD", "config": {"learning_rate": 0.1}}
MIB = 1 << 20


# A line of bench.json: its metric, the key of the sides' values, the peer's name there, and the peer's side.
Comparison = collections.namedtuple("Comparison", "metric key peer side")


class Entry:
    """One name in bench.json: its metrics (each a line there), and the two sides."""

    def __init__(self, name, about, metrics, unit, peer, sides, lower_is_better=False):
        self.name = name
        self.about = about
        self.metrics = metrics
        self.unit = unit
        self.peer = peer  # as it stands in bench.json; None: Muster is measured alone
        self.sides = sides  # [(side's name, function)], Muster first
        self.lower_is_better = lower_is_better
        self.skipped = []  # why a peer was left out, a line each

    @contextlib.contextmanager
    def opened(self, pairs):
        """The sides and their comparisons, while the with statement lasts. pairs: for entries that must try out a peer."""
        yield self.sides, [Comparison(metric, metric, self.peer, self.peer) for metric in self.metrics]


class Setting:
    """Where binaries and scratch files are, and how long runs take."""

    def __init__(self, build, scratch, is_quick):
        self.build = build
        self.scratch = scratch
        self.seconds = 1 if is_quick else 4
        self.share = 0.1 if is_quick else 1.0
        self.pythons = {}  # by variable, found or made when first needed: venvs.py

    def program(self, name):
        return os.path.join(self.build, "bench", name)

    def muster(self):
        return os.path.join(self.build, "muster")

    def epochs(self, full):
        return max(1, round(full * self.share))


def parse_values(text, names):
    """{name: value} from a program's line of JSON."""
    try:
        values = json.loads(text.strip().splitlines()[-1])
        return {name: float(values[name]) for name in names}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RunFailed(f"expected one JSON object with {', '.join(names)}, got: {text.strip()[-400:]}") from error


def program_side(setting, name, arguments, metrics):
    """A side that runs one of the programs of bench/."""
    def side():
        return parse_values(execute([setting.program(name), *map(str, arguments)], 120), metrics)
    return side


# ---- jobs of Muster ----

def write_job(setting, name, changes, network=None):
    """Writes the Fashion-MNIST job with changes and a fresh output folder; returns its path and result.json's.

    network: the model in place of the example's, as Keras's JSON, parsed.
    """
    folder = os.path.join(setting.scratch, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(EXAMPLE, "job.json"), encoding="utf-8") as example:
        job = json.load(example)
    job["model"] = os.path.join(EXAMPLE, "model.json")
    if network:
        job["model"] = os.path.join(folder, "model.json")
        with open(job["model"], "w", encoding="utf-8") as out:
            json.dump(network, out)
    job["compile"]["optimizer"] = SGD
    job["partitioner"] = {"class_name": "MinSizePartitioner",
                          "config": {"min_shard_bytes": 262144, "max_shards": N_PS}}
    job["checkpoint"] = {"dir": "run/ckpt"}  # one at the end, after the clock has stopped
    job.update(changes)
    path = os.path.join(folder, "job.json")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(job, out, indent=2)
    return path, os.path.join(folder, "run", "result.json")


def training_data():
    """The example's data without those for evaluation."""
    with open(os.path.join(EXAMPLE, "job.json"), encoding="utf-8") as example:
        return {"train": json.load(example)["data"]["train"]}


def muster_side(setting, name, command, changes, key, metric):
    """A side that runs a whole job of Muster and takes one number of its result.json."""
    def side():
        path, result_path = write_job(setting, name, changes)
        execute([setting.muster(), command[0], path, *command[1:]], 300)
        with open(result_path, encoding="utf-8") as result:
            return {metric: float(json.load(result)[key])}
    return side


# ---- PyTorch ----

def torch_side(setting, batch, epochs, threads, metric, say):
    """A side that runs torch_local.py with each number of threads; the best of them counts."""
    script = os.path.join(ROOT, "bench", "torch_local.py")

    def side():
        python = find_torch(setting, say)
        best = 0.0
        for n in threads:
            text = execute([python, script, str(n), str(batch), str(epochs)], 300)
            best = max(best, parse_values(text, [metric])[metric])
        return {metric: best}
    return side


# ---- the entries ----

def dense_entry(setting, batch, epochs):
    name, metric = f"dense-mlp-b{batch}", "examples_per_second"
    command = ["local", "--workers", str(N_WORKERS), "--ps", str(N_PS)]
    changes = {"batch_size": batch, "epochs": setting.epochs(epochs)}
    return Entry(name, f"784-300-100-10, async SGD, {N_WORKERS} workers + {N_PS} PS + chief, batches of {batch}",
                 [metric], "examples/s", "probe",
                 [("muster", muster_side(setting, name, command, changes, "examples_per_second", metric)),
                  ("probe", program_side(setting, "exchange_probe", [N_WORKERS, N_PS, batch, setting.seconds], [metric]))])


def single_entry(setting, batch, epochs, torch_epochs, say):
    name, metric = f"single-b{batch}", "examples_per_second"
    changes = {"batch_size": batch, "epochs": setting.epochs(epochs)}
    threads = sorted({1, os.cpu_count() or 1})
    return Entry(name, f"784-300-100-10, SGD, one process, batches of {batch}", [metric], "examples/s", "torch",
                 [("muster", muster_side(setting, name, ["run"], changes, "examples_per_second", metric)),
                  ("torch", torch_side(setting, batch, setting.epochs(torch_epochs), threads, metric, say))])


def first_step_entry(setting):
    name, metric = "first-step", "command_to_first_step"
    command = ["local", "--workers", str(N_WORKERS), "--ps", str(N_PS)]
    changes = {"epochs": None, "steps": 200}
    return Entry(name, f"from the command to the first applied step, {N_WORKERS} workers + {N_PS} PS + chief", [metric],
                 "s", None, [("muster", muster_side(setting, name, command, changes, "first_step_seconds", metric))],
                 lower_is_better=True)


def exchange_entry(setting, mebibytes):
    metric = "goodput_gb_per_second"
    arguments = [mebibytes * MIB, setting.seconds]
    return Entry(f"exchange-{mebibytes}mb", f"push and pull of {mebibytes} MiB of parameters, one worker, one PS", [metric],
                 "GB/s", "probe", [("muster", program_side(setting, "exchange_bench", arguments, [metric])),
                                   ("probe", program_side(setting, "bulk_probe", arguments, [metric]))])


def apply_entry(setting, optimizer):
    metrics = [f"{optimizer}_in_place", f"{optimizer}_out_of_place"]
    arguments = [16 * MIB, 7 if setting.share < 1 else 25]
    return Entry(f"apply-{optimizer}", f"{optimizer} on 16 Mi floats, one thread", metrics, "GB/s", "probe",
                 [("muster", program_side(setting, "apply_bench", arguments, metrics)),
                  ("probe", program_side(setting, "stream_probe", arguments, metrics))])


def all_entries(setting, say):
    """Every entry, in the order of the table. Muster's epochs make runs of about ten seconds, so that the reading of the
    images, which its clock includes, weighs little."""
    return [dense_entry(setting, 64, 24), dense_entry(setting, 256, 36), single_entry(setting, 64, 16, 4, say),
            single_entry(setting, 256, 28, 6, say), first_step_entry(setting), exchange_entry(setting, 1),
            exchange_entry(setting, 4), exchange_entry(setting, 16), apply_entry(setting, "sgd"),
            apply_entry(setting, "adam")]
