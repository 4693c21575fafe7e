"""CSV files as training data and as input of predict: one file with the label among its columns."""
import gzip
import json
import random

import pytest

import tiny_job

CENTRES = [(0.0, 0.0, 3.0), (3.0, 0.0, 0.0), (0.0, 3.0, 0.0)]


def rows(n, seed):
    """(label, three features) that a small network tells apart."""
    noise = random.Random(seed)
    made = []
    for _ in range(n):
        label = noise.randrange(len(CENTRES))
        made.append((label, *[round(at + noise.uniform(-1, 1), 4) for at in CENTRES[label]]))
    return made


def write_csv(path, made):
    """The label is the second column, and some fields are quoted."""
    text = 'width,"kind","length, in cm",height\r\n'
    text += "".join(f'{a},{label},"{b}",{c}\r\n' for label, a, b, c in made)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def model():
    layers = [tiny_job.layer("InputLayer", {"batch_shape": [None, 3], "dtype": "float32", "sparse": False, "name": "input"}),
              tiny_job.dense("dense", 8, "relu", 3), tiny_job.dense("dense_1", len(CENTRES), "linear", 8)]
    return {"module": "keras", "class_name": "Sequential",
            "config": {"name": "flowers", "trainable": True, "dtype": "float32", "layers": layers,
                       "build_input_shape": [None, 3]},
            "registered_name": None, "build_config": {"input_shape": [None, 3]}, "compile_config": None}


@pytest.fixture
def csv_job(job, write_job, tmp_path):
    """Writes the files and the job; gives its path."""
    write_csv(tmp_path / "train.csv", rows(1500, 1))
    write_csv(tmp_path / "eval.csv.gz", rows(300, 2))
    job["data"] = {"train": {"format": "csv", "features": "train.csv", "label": "kind"},
                   "eval": {"format": "csv", "features": "eval.csv.gz", "label": 1}}

    def write(**changes):
        job["data"]["train"].update(changes)
        path = write_job(job)
        (tmp_path / "model.json").write_text(json.dumps(model()))
        return path
    return write


def expect_sentence(said, code, *words):
    got, out, error = said
    assert got == code and out == "", (out, error)
    assert error.startswith("muster: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, f"it does not say {word!r}: {error}"


def test_a_cluster_trains_on_csv(csv_job, muster, tmp_path):
    muster("local", csv_job(), "--workers", "2", "--ps", "1").expect(0)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["eval"]["accuracy"] > 0.95, result


def test_predict_of_csv(csv_job, muster, run, tmp_path):
    path = csv_job()
    muster("run", path).expect(0)
    made = rows(300, 2)
    code, of_job, error = run("predict", path, "--input", "eval.csv.gz")
    assert code == 0 and error == ""
    predictions = [[float(number) for number in line.split(",")] for line in of_job.splitlines()]
    right = sum(row.index(max(row)) == made[i][0] for i, row in enumerate(predictions))
    scores = json.loads(run("eval", path)[1])
    assert right / len(made) == pytest.approx(scores["accuracy"], abs=1e-6)
    # The same examples without the label's column, and without a header.
    (tmp_path / "bare.csv").write_text("w,l,h\n" + "".join(f"{a},{b},{c}\n" for _, a, b, c in made))
    assert run("predict", path, "--input", "bare.csv")[1] == of_job
    (tmp_path / "headless.csv").write_text("".join(f"{a},{b},{c}\n" for _, a, b, c in made))
    assert run("predict", path, "--input", "headless.csv", "--no-header")[1] == of_job
    # A model directory knows no job: the label's column is named.
    assert run("predict", "out/model", "--input", "eval.csv.gz", "--label", "kind")[1] == of_job
    assert run("predict", "out/model", "--input", "bare.csv")[1] == of_job
    expect_sentence(run("predict", "out/model", "--input", "eval.csv.gz"), 2, "(4,)", "(3,)", "--label names")
    expect_sentence(run("predict", "out/model", "--input", "bare.csv", "--label", "kind"), 2, '"kind"', "w, l, h")
    # Another order and text beside it: the keys of data.train say how.
    (tmp_path / "other.csv").write_text("h;note;l;w\n" + "".join(f'{c};"; {i}";{b};{a}\n' for i, (_, a, b, c) in enumerate(made)))
    words = ["--data", '{"separator": ";", "columns": ["w", 2, "h"]}']
    assert run("predict", "out/model", "--input", "other.csv", *words)[1] == of_job
    assert run("predict", path, "--input", "other.csv", *words)[1] == of_job
    words[1] = '{"separator": ";", "inputs": {"input": ["w", "l", "h"]}}'
    assert run("predict", "out/model", "--input", "other.csv", *words)[1] == of_job


@pytest.mark.parametrize("words, code, said", [
    (["--data", '{"inputs": {"petal": ["a"]}}'], 2, ["inputs petal", "the model's are input"]),
    (["--data", '{"column": ["a"]}'], 2, ["--data", "data.train.column is not known", "columns"]),
    (["--data", '{"features": "a"}'], 2, ["--data", "features does not belong here"]),
    (["--data", '[1]'], 2, ["--data", "list", "object"]),
    (["--data", '{"columns": ["a"'], 2, ["--data"]),
    (["--data", '{"columns": ["a", "b", "x"]}'], 2, ['"x"', "a, b, c"]),
], ids=str)
def test_predict_refusals(csv_job, muster, run, tmp_path, words, code, said):
    muster("run", csv_job()).expect(0)
    (tmp_path / "some.csv").write_text("a,b,c\n1,2,3\n")
    expect_sentence(run("predict", "out/model", "--input", "some.csv", *words), code, *said)


def test_columns_by_name(csv_job, muster, tmp_path):
    """Semicolons, a column of text that nobody names, the features in another order than in the file."""
    for name, n, seed in (("train.csv", 1500, 1), ("eval.csv", 300, 2)):
        text = "name;height;width;kind;length\n"
        text += "".join(f'"no {i}; {a}";{c};{a};{label};{b}\n' for i, (label, a, b, c) in enumerate(rows(n, seed)))
        (tmp_path / name).write_text(text)
    keys = {"format": "csv", "label": "kind", "columns": ["width", 4, "height"], "separator": ";"}
    path = csv_job()
    job = json.loads(path.read_text())
    job["data"] = {"train": {"features": "train.csv", **keys}, "eval": {"features": "eval.csv", **keys}}
    path.write_text(json.dumps(job))
    muster("local", path, "--workers", "2", "--ps", "1").expect(0)
    assert json.loads((tmp_path / "out" / "result.json").read_text())["eval"]["accuracy"] > 0.95


def test_values_as_labels(csv_job, muster, tmp_path):
    """Two columns of fractions are the targets of two outputs: a regression that a linear model solves."""
    noise = random.Random(3)
    text = "a,b,c,sum,difference\n"
    for _ in range(1500):
        a, b, c = (round(noise.uniform(-1, 1), 3) for _ in range(3))
        text += f"{a},{b},{c},{a + b + c:.3f},{a - b:.3f}\n"
    (tmp_path / "train.csv").write_text(text)
    path = csv_job()
    job = json.loads(path.read_text())
    keys = {"format": "csv", "features": "train.csv", "label": ["sum", "difference"]}
    job["data"] = {"train": keys, "eval": keys}
    job["compile"].update(loss="mse", metrics=[])
    job["epochs"] = 8
    path.write_text(json.dumps(job))
    document = model()
    document["config"]["layers"][1:] = [tiny_job.dense("dense", 2, "linear", 3)]
    (tmp_path / "model.json").write_text(json.dumps(document))
    muster("local", path, "--workers", "2", "--ps", "1").expect(0)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["eval"]["loss"] < 0.02, result


def two_towers():
    """Inputs "wide" (2) and "deep" (1), outputs "kind" (3 classes, of wide) and "double" (1 value, of deep)."""
    def of(name, shape):
        tensor = {"class_name": "__keras_tensor__",
                  "config": {"shape": [None, shape], "dtype": "float32", "keras_history": [name, 0, 0]}}
        return [{"args": [tensor], "kwargs": {}}]

    layers = []
    for name, size in (("wide", 2), ("deep", 1)):
        layers.append({"class_name": "InputLayer", "name": name, "inbound_nodes": [],
                       "config": {"batch_shape": [None, size], "dtype": "float32", "sparse": False, "name": name}})
    for name, units, source, size in (("kind", 3, "wide", 2), ("double", 1, "deep", 1)):
        layers.append(tiny_job.dense(name, units, "linear", size) | {"name": name, "inbound_nodes": of(source, size)})
    return {"module": "keras", "class_name": "Functional", "registered_name": "Functional",
            "config": {"name": "towers", "trainable": True, "layers": layers,
                       "input_layers": [["wide", 0, 0], ["deep", 0, 0]],
                       "output_layers": [["kind", 0, 0], ["double", 0, 0]]}}


def test_two_inputs_and_outputs(csv_job, muster, run, tmp_path):
    """A cluster trains both towers from one file; weights of 0 hide the lines whose labels are wrong."""
    noise = random.Random(7)
    text = "x,deep,y,kind,double,weight\n"
    for i in range(1500):
        kind, deep = i % 3, round(noise.uniform(-1, 1), 3)
        x, y = 3 * (kind == 1) + noise.uniform(-1, 1), 3 * (kind == 2) + noise.uniform(-1, 1)
        is_wrong = i % 4 == 3
        text += f"{x:.3f},{deep},{y:.3f},{(kind + 1) % 3 if is_wrong else kind},"
        text += f"{9 if is_wrong else 2 * deep},{0 if is_wrong else 1}\n"
    (tmp_path / "train.csv").write_text(text)
    path = csv_job()
    job = json.loads(path.read_text())
    keys = {"format": "csv", "features": "train.csv", "inputs": {"deep": "deep", "wide": ["x", "y"]},
            "label": {"double": "double", "kind": "kind"}, "sample_weight": "weight"}
    job["data"] = {"train": keys, "eval": keys}
    job["compile"] = {"optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.02}},
                      "loss": {"kind": {"class_name": "SparseCategoricalCrossentropy", "config": {"from_logits": True}},
                               "double": "mse"}}
    job["epochs"] = 8
    path.write_text(json.dumps(job))
    (tmp_path / "model.json").write_text(json.dumps(two_towers()))
    muster("local", path, "--workers", "2", "--ps", "1").expect(0)
    scores = json.loads((tmp_path / "out" / "result.json").read_text())["eval"]
    assert scores["double_loss"] < 0.05 and scores["kind_loss"] < 0.5, scores
    (tmp_path / "new.csv").write_text("y,x,deep\n3,0,0.5\n0,3,-1\n")
    code, out, error = run("predict", path, "--input", "new.csv", "--format", "jsonl")
    first, second = (json.loads(line) for line in out.splitlines())
    assert (code, error) == (0, "")
    assert first["kind"].index(max(first["kind"])) == 2 and second["kind"].index(max(second["kind"])) == 1
    assert first["double"][0] == pytest.approx(1, abs=0.2) and second["double"][0] == pytest.approx(-2, abs=0.2)
    keys["inputs"] = {"deep": "deep"}
    path.write_text(json.dumps(job))
    expect_sentence(run("local", path), 2, "data.train has the inputs deep, and the model's are wide, deep")


def test_missing_values(csv_job, run, tmp_path):
    lines = (tmp_path / "train.csv").read_text().splitlines()
    lines[7] = "," + lines[7].split(",", 1)[1]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    expect_sentence(run("local", csv_job()), 1, "train.csv:8:1", '"width"', "empty", "missing")
    code, out, error = run("local", csv_job(missing=0))
    assert code == 0, error


@pytest.mark.parametrize("changes, code, words", [
    ({"label": "sort"}, 2, ["train.csv", '"sort"', "width, kind"]),
    ({"label": 4}, 2, ["train.csv", '"4"']),
    ({"header": False}, 2, ["train.csv", '"kind"']),
    ({"header": False, "label": 1}, 1, ["train.csv:1:1", '"width"', "not a decimal number"]),
    ({"label": "width"}, 2, ["train.csv", "the loss takes classes: integers from 0 to 2"]),
    ({"labels": "train.csv"}, 2, ["data.train.labels", "csv"]),
    ({"features": "eval.csv"}, 1, ["eval.csv"]),
    ({"format": "idx"}, 2, ["data.train.label", "idx"]),
    ({"columns": ["width", "colour"]}, 2, ["train.csv", '"colour"', "a feature", "width, kind"]),
    ({"columns": ["width"]}, 2, ["train.csv", "(1,)", "(3,)"]),
    ({"inputs": {"flower": ["width", "height"]}}, 2, ["data.train", "inputs flower", "the model's are input"]),
    ({"label": {"sort": "kind"}}, 2, ["data.train", "outputs sort", "the model's are dense_1"]),
    ({"label": ["kind", "width"], "columns": [0, 2, 3]}, 2, ["train.csv", "2 values", "one class of 3"]),
    ({"separator": ";"}, 1, ["train.csv:1:1", "a quote within a field"]),
], ids=str)
def test_refusals(csv_job, run, changes, code, words):
    expect_sentence(run("local", csv_job(**changes)), code, *words)


def test_config_shows_what_is_read(csv_job, run):
    code, out, error = run("config", csv_job())
    train = json.loads(out)["job"]["data"]["train"]
    assert (code, train["label"], train["header"], train["missing"]) == (0, "kind", True, None)
    assert train["features"].endswith("/train.csv") and "labels" not in train
