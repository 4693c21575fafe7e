"""TensorFlow reads our checkpoints, and we read TensorFlow's.

Needs TensorFlow and bundle_tool, which the build makes; tests/interop/run has both. MUSTER_BUILD names the build folder
(default: build/debug, then build). Without either the tests are skipped.
"""
import json
import os
import pathlib
import subprocess

import pytest

np = pytest.importorskip("numpy")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_tool():
    folders = [os.environ["MUSTER_BUILD"]] if "MUSTER_BUILD" in os.environ else []
    folders += [str(ROOT / "build" / name) for name in ("debug", "release", "asan", ".")]
    for folder in folders:
        for path in pathlib.Path(folder).glob("**/bundle_tool"):
            if path.is_file():
                return str(path)
    pytest.skip("bundle_tool is not built; set MUSTER_BUILD to the build folder")


def run(*args):
    return subprocess.run([find_tool(), *map(str, args)], check=True, capture_output=True, timeout=60).stdout


def expected(name, shape):
    count = int(np.prod(shape, dtype=np.int64))
    values = np.float32(len(name) * 1000) + np.arange(count, dtype=np.float32) * np.float32(0.5)
    return values.reshape(shape)


OURS = {
    "dense/kernel": [7, 5],
    "dense/kernel/momentum": [7, 5],
    "dense/bias": [5],
    "dense/bias/momentum": [5],
    "dense_1/kernel": [5, 2],
    "wide/kernel": [300, 2, 3],
    "scalar": [],
    "empty": [0, 4],
}


def test_tensorflow_reads_ours(tmp_path):
    run("write", tmp_path, 1000)
    reader = tf.train.load_checkpoint(str(tmp_path / "model-1000"))
    shapes = reader.get_variable_to_shape_map()
    assert shapes == {**OURS, "iterations": []}
    for name, shape in OURS.items():
        np.testing.assert_array_equal(reader.get_tensor(name), expected(name, shape), err_msg=name)
    assert reader.get_tensor("iterations") == 1000
    assert reader.get_variable_to_dtype_map()["iterations"] == tf.int64


def test_tensorflow_restores_slices_of_its_own(tmp_path):
    """A TF1 partitioned variable restores from our slices although it is cut elsewhere."""
    run("write", tmp_path, 5)
    prefix = str(tmp_path / "model-5")
    want = expected("dense/kernel", [7, 5])
    for first, count in ((0, 7), (0, 3), (3, 4), (2, 3), (6, 1)):
        slice_text = f"7 5 {first},{count}:-"
        (rows,) = tf.raw_ops.RestoreV2(
            prefix=prefix, tensor_names=["dense/kernel"], shape_and_slices=[slice_text], dtypes=[tf.float32]
        )
        np.testing.assert_array_equal(rows.numpy(), want[first : first + count], err_msg=slice_text)


def test_latest_checkpoint_and_keep(tmp_path):
    for step in (1, 2, 30):
        run("write", tmp_path, step)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model-30")
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert list(state.all_model_checkpoint_paths) == [str(tmp_path / "model-2"), str(tmp_path / "model-30")]
    assert sorted(p.name for p in tmp_path.glob("*.index")) == ["model-2.index", "model-30.index"]
    assert run("newest", tmp_path).decode().strip() == str(tmp_path / "model-30")


def save_v2(prefix, tensors, slices=None):
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[name for name, _ in tensors],
        shape_and_slices=slices or [""] * len(tensors),
        tensors=[value for _, value in tensors],
    )


def test_we_read_every_type_of_tensorflow(tmp_path):
    rng = np.random.default_rng(7)
    values = {
        "f32": rng.normal(size=(33, 7)).astype(np.float32),
        "f64": rng.normal(size=(5,)),
        "i64": np.array(12345678901, np.int64),
        "u8": rng.integers(0, 255, (4, 3, 2)).astype(np.uint8),
        "bool": np.array([True, False]),
        "f16": np.array([[1.5, -2]], np.float16),
        "big": rng.normal(size=(1000, 300)).astype(np.float32),
        "none": np.zeros((3, 0), np.float32),
    }
    prefix = tmp_path / "all"
    save_v2(prefix, sorted((k, tf.constant(v)) for k, v in values.items()) + [("text", tf.constant(["a", "bc"]))])
    lines = {line.split()[0]: line.split()[1:] for line in run("list", prefix).decode().splitlines()}
    assert set(lines) == set(values) | {"text"}
    for name, value in values.items():
        assert lines[name] == [str(value.dtype), str(value.ndim), *map(str, value.shape), "whole"]
        assert run("read", prefix, name) == value.tobytes(), name
    assert run("rows", prefix, "big", 990, 10) == values["big"][990:].tobytes()
    refused = subprocess.run([find_tool(), "read", str(prefix), "text"], capture_output=True, timeout=60)
    assert refused.returncode == 1 and b"has type string" in refused.stderr


def test_we_read_slices_of_tensorflow(tmp_path):
    """Slices across both axes, and a merge of two bundles: two data files."""
    whole = np.arange(48, dtype=np.float32).reshape(6, 8)
    cuts = [(0, 2, 0, 8), (2, 4, 0, 3), (2, 4, 3, 5)]
    prefixes = []
    for i, (r, n, c, m) in enumerate(cuts):
        prefixes.append(tmp_path / f"part{i}")
        save_v2(prefixes[-1], [("w", tf.constant(whole[r : r + n, c : c + m]))], [f"6 8 {r},{n}:{c},{m}"])
    prefix = tmp_path / "merged"
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=list(map(str, prefixes)), destination_prefix=str(prefix))
    assert run("list", prefix).decode() == "w float32 2 6 8 partitioned\n"
    assert run("read", prefix, "w") == whole.tobytes()
    for row in range(6):
        for count in range(1, 7 - row):
            assert run("rows", prefix, "w", row, count) == whole[row : row + count].tobytes()


def test_we_read_an_object_checkpoint(tmp_path):
    kernel = tf.Variable(np.arange(12, dtype=np.float32).reshape(3, 4))
    prefix = tf.train.Checkpoint(kernel=kernel, step=tf.Variable(3, dtype=tf.int64)).save(str(tmp_path / "ckpt"))
    assert run("read", prefix, "kernel/.ATTRIBUTES/VARIABLE_VALUE") == kernel.numpy().tobytes()
    assert "_CHECKPOINTABLE_OBJECT_GRAPH string 0 whole" in run("list", prefix).decode()


def muster(*args):
    if "MUSTER_BINARY" not in os.environ:
        pytest.skip("MUSTER_BINARY is not set: tests/interop/run builds it")
    return subprocess.run([os.environ["MUSTER_BINARY"], *map(str, args)], capture_output=True, text=True, timeout=60)


def test_resharded_reads_equal(tmp_path):
    """Ours with other data files and cuts: TensorFlow reads equal values, by prefix and by directory."""
    run("write", tmp_path, 7)
    for name, options in (("whole", ["--shards", 1, "--partitioner", "none"]), ("cut", ["--shards", 4, "--partitioner", "fixed:3"])):
        assert muster("ckpt", "reshard", tmp_path / "model-7", f"{tmp_path / name}/", *options).returncode == 0
        assert tf.train.latest_checkpoint(str(tmp_path / name)) == str(tmp_path / name / "model-7")
        reader = tf.train.load_checkpoint(str(tmp_path / name))
        assert reader.get_variable_to_shape_map() == {**OURS, "iterations": []}
        for tensor, shape in OURS.items():
            np.testing.assert_array_equal(reader.get_tensor(tensor), expected(tensor, shape), err_msg=tensor)
        assert reader.get_tensor("iterations") == 7


def test_resharded_of_tensorflow_restores(tmp_path):
    """An object checkpoint: its object graph, a string, is kept, and texts of several elements too."""
    rng = np.random.default_rng(3)
    values = {"kernel": rng.normal(size=(30, 4)).astype(np.float32), "half": rng.normal(size=(9,)).astype(np.float16),
              "step": np.array(3, np.int64)}
    made = {name: tf.Variable(value) for name, value in values.items()}
    tf.train.Checkpoint(texts=tf.Variable(["a", "bc", ""]), **made).save(str(tmp_path / "ckpt"))
    done = muster("ckpt", "reshard", tmp_path, tmp_path / "other" / "ckpt-1", "--shards", 3, "--partitioner", "max-size:64")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert muster("ckpt", "diff", tmp_path, tmp_path / "other").returncode == 0
    restored = {name: tf.Variable(np.zeros_like(value)) for name, value in values.items()}
    texts = tf.Variable(["", "", ""])
    path = tf.train.latest_checkpoint(str(tmp_path / "other"))
    tf.train.Checkpoint(texts=texts, **restored).restore(path).assert_consumed()
    for name, value in values.items():
        assert restored[name].numpy().tobytes() == value.tobytes(), name
    assert list(texts.numpy()) == [b"a", b"bc", b""]


def test_diff_counts_as_numpy_does(tmp_path):
    rng = np.random.default_rng(5)
    a = rng.normal(size=(50, 6)).astype(np.float32)
    b = a.copy()
    b[rng.random(a.shape) < 0.2] += np.float32(0.125)
    for name, value in (("a", a), ("b", b)):
        save_v2(tmp_path / name, [("w", tf.constant(value))])
    done = muster("ckpt", "diff", tmp_path / "a", tmp_path / "b", "--json")
    (row,) = json.loads(done.stdout)["differences"]
    assert done.returncode == 1 and row["different"] == int((a != b).sum())
    assert row["first"] == [int(i) for i in np.argwhere(a != b)[0]]
    absolute = np.abs(a.astype(np.float64) - b)
    assert row["max_absolute"] == absolute.max()
    assert row["max_relative"] == (absolute / np.maximum(np.abs(a.astype(np.float64)), np.abs(b))).max()


def test_many_keys(tmp_path):
    """More than one block of the table, and a table whose blocks we did not cut ourselves."""
    tensors = [(f"layer_{i:05d}/some_quite_long_variable_name", tf.constant(np.float32(i))) for i in range(9000)]
    prefix = tmp_path / "many"
    save_v2(prefix, tensors)
    lines = run("list", prefix).decode().splitlines()
    assert len(lines) == 9000
    assert run("read", prefix, tensors[8123][0]) == np.float32(8123).tobytes()
