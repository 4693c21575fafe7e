"""A job whose weights count: how often every example was trained, read from the last checkpoint.

Example i has a 1 in a column of its own, the model is one Dense unit without bias that begins at zero, and the target is
out of reach: with the mean absolute error every use of the example moves the weight of its column, and no other, by the same
power of two. Two optimizers, because each sees what the other does not:
  "sgd"   moves it by 1 over the number of batches that an update is the mean of, so that an update of others shows;
  "lion"  with beta_2 = 1 (no momentum) moves it by 1 at each update that it has part in, however many batches are averaged in one.

Columns are dealt so that every batch has examples in every slice of the kernel, whatever the partitioner: a batch that a death
left applied on some slices and not on others (torn) shows as examples that are short in the others.
"""
import dataclasses
import json
import pathlib
import re
import struct

import tiny_job

BATCH = 8
FAR = 1 << 20  # no prediction gets there


@dataclasses.dataclass
class Shape:
    """What a counting job is like; `consistency` goes into the job as it is."""
    n_batches: int = 64
    epochs: int = 6
    tail: int = 0  # examples of one more, partial batch
    shuffle: bool = False
    optimizer: str = "lion"
    shards: int = 1
    consistency: dict = dataclasses.field(default_factory=lambda: {"staleness": "async"})
    workers: int = 1  # of a synchronous round
    is_evaluated: bool = False  # with what it was trained with

    @property
    def n_examples(self):
        return self.n_batches * BATCH + self.tail

    @property
    def unit(self):
        """Examples that a worker pushes as one."""
        return BATCH * self.consistency.get("accumulate_steps", 1)

    def update_size(self, example):
        """Examples whose mean an update is, where nothing is shuffled and nobody is missing."""
        most = self.unit * (self.workers if self.consistency["staleness"] == 0 else 1)
        return min(most, self.n_examples - example // most * most)

    def column(self, example):
        """Examples of one batch lie n_batches columns apart."""
        batch, place = divmod(example, BATCH)
        return place * self.n_batches + batch if batch < self.n_batches else example


OPTIMIZERS = {"sgd": {"class_name": "SGD", "config": {"learning_rate": float(BATCH)}},
              "lion": {"class_name": "Lion", "config": {"learning_rate": 1.0, "beta_1": 0.5, "beta_2": 1.0}}}


def model(n):
    unit = tiny_job.dense("count", 1, "linear", n)
    unit["config"]["use_bias"] = False
    unit["config"]["kernel_initializer"]["class_name"] = "Zeros"
    unit["config"]["kernel_initializer"]["config"] = {}
    shape = [None, n]
    layers = [tiny_job.layer("InputLayer", {"batch_shape": shape, "dtype": "float32", "sparse": False, "name": "input"}), unit]
    return {"module": "keras", "class_name": "Sequential", "registered_name": None, "build_config": {"input_shape": shape},
            "config": {"name": "counting", "trainable": True, "dtype": "float32", "layers": layers, "build_input_shape": shape},
            "compile_config": None}


def write(job, shape, folder):
    """Makes this a counting job and writes its files; returns the path of the job."""
    folder, n = pathlib.Path(folder), shape.n_examples
    lines = [f"{FAR}," + "0," * at + "1" + ",0" * (n - 1 - at) for at in map(shape.column, range(n))]
    (folder / "examples.csv").write_text("\n".join(lines) + "\n")
    (folder / "model.json").write_text(json.dumps(model(n)))
    job["data"] = {"train": {"format": "csv", "features": "examples.csv", "label": 0, "header": False,
                             "shuffle": shape.shuffle}}
    if shape.is_evaluated:
        job["data"]["eval"] = {key: value for key, value in job["data"]["train"].items() if key != "shuffle"}
    job["compile"] = {"optimizer": OPTIMIZERS[shape.optimizer], "loss": "mae"}
    job.update(batch_size=BATCH, epochs=shape.epochs, consistency=shape.consistency, output={"dir": str(folder / "out"), "keras": False})
    job["partitioner"] = {"class_name": "FixedShardsPartitioner", "config": {"num_shards": shape.shards}}
    path = folder / "job.json"
    path.write_text(json.dumps(job, indent=1))
    return path


@dataclasses.dataclass
class Counts:
    """How often every example was trained, by the slice of the kernel that says so."""
    shape: Shape
    slices: list  # {column: weight} of the slices that one data file holds, which are of one parameter server
    homes: list = dataclasses.field(default_factory=list)  # … of which one, by the plan

    def lost(self, home):
        """How many units the examples on one server lack in all, where some were lost; no update is counted twice."""
        held = self.slices[self.homes.index(home)]
        return sum(lacks for _, lacks in self.lacking(held))

    def without(self, home):
        """The Counts of all other servers."""
        keep = [i for i, other in enumerate(self.homes) if other != home]
        return Counts(self.shape, [self.slices[i] for i in keep], [self.homes[i] for i in keep])

    def lacking(self, held):
        """(first example, epochs that it lacks) of each unit that has examples here."""
        for first in range(0, self.shape.n_examples, self.shape.unit):
            uses = {self.uses(example, held) for example in range(first, min(first + self.shape.unit, self.shape.n_examples))
                    if self.shape.column(example) in held}
            if not uses:
                continue
            assert len(uses) == 1, f"the examples from {first} on one server were trained {sorted(uses)} times"
            lacks = self.shape.epochs - uses.pop()
            assert lacks >= 0 and lacks == int(lacks), f"those from {first} lack {lacks} epochs"
            yield first, int(lacks)

    def uses(self, example, held):
        weight = held[self.shape.column(example)]
        return weight * self.shape.update_size(example) / BATCH if self.shape.optimizer == "sgd" else weight

    def all(self):
        """{example: uses}"""
        return {example: self.uses(example, held) for example in range(self.shape.n_examples) for held in self.slices
                if self.shape.column(example) in held}

    def short(self):
        """For each unit that is short somewhere, how many epochs it lacks on each server. Only where units are known: not
        shuffled. The examples that a unit has on one server have all been trained with it, or none."""
        found = {}
        for held in self.slices:
            for first, lacks in self.lacking(held):
                found.setdefault(first, []).append(lacks)
        return {first: lacks for first, lacks in found.items() if any(lacks)}

    def check_rest(self, n_torn):
        """As check(), where the other part of what was torn may be on a server that is not looked at."""
        short = self.short()
        least = sum(max(lacks) for lacks in short.values())
        assert least <= n_torn, f"{n_torn} torn in the log, and on servers these lack epochs: {short}"

    def check(self, n_torn):
        """Every example was trained once an epoch, but for this many torn units."""
        if n_torn == 0:
            wrong = {example: uses for example, uses in self.all().items() if uses != self.shape.epochs}
            assert not wrong, f"not {self.shape.epochs} times, {len(wrong)} of {self.shape.n_examples}: {wrong}"
            return
        assert not self.shape.shuffle and len(self.slices) > 1, f"{n_torn} torn on one server"
        short = self.short()
        # A unit torn in two epochs may lack one each on two servers, as one torn once may on a third of three.
        least, most = (sum(int(of(lacks)) for lacks in short.values()) for of in (max, sum))
        assert least <= n_torn <= most, f"{n_torn} torn in the log, and on servers these lack epochs: {short}"


def counts(run, shape, folder):
    """The Counts of the last checkpoint of a job that was written into this folder; run(…) as checkpoint.py has it."""
    folder = pathlib.Path(folder)
    newest = max(folder.glob("ckpt/model-*.index"), key=lambda path: int(path.stem.rpartition("-")[2])).with_suffix("")
    document = json.loads(run("ckpt", "inspect", newest, "--json")[1])
    kernel, = (tensor for tensor in document["tensors"] if tensor["name"] == "count/kernel")
    held, column = {}, 0
    for piece in kernel["slices"]:
        content, = folder.glob(f"ckpt/{newest.name}.data-{piece['data_file']:05}-of-*")
        values = struct.unpack(f"<{piece['bytes'] // 4}f", content.read_bytes()[piece["offset"]:][:piece["bytes"]])
        held.setdefault(piece["data_file"], {}).update(enumerate(values, column))
        column += len(values)
    assert column == shape.n_examples
    return Counts(shape, list(held.values()), list(held))


def check(run, job, shape, folder, chief_log, is_resumed=False):
    """Every example exactly once an epoch but for torn units, of which the counts, the chief's log and result.json say the
    same number; returns it. How many examples there were, result.json says for the last life of a job."""
    result = json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())
    assert result["status"] == "finished"
    fenced = [int(n) for n in re.findall(r"worker fenced worker=.* torn=(\d+)", chief_log)]
    said = int(re.search(r"training done steps=\d+ torn=(\d+)", chief_log).group(1))
    assert result["torn"] == said == sum(fenced), (result["torn"], said, fenced)
    counts(run, shape, folder).check(said)
    assert is_resumed or result["examples"] == shape.epochs * shape.n_examples
    return said
