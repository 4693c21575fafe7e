"""What bench/ rests on: runs that end with all they started, whose CPU time is whose, medians of pairs, peers that are
missing, processes that are disturbed, and the picture. Nothing is measured here."""
import contextlib
import os
import subprocess
import sys
import types
import xml.dom.minidom

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import chart  # noqa: E402
import checkpoints  # noqa: E402
import entries  # noqa: E402
import models  # noqa: E402
import pairs  # noqa: E402
import peers  # noqa: E402
import running  # noqa: E402
import venvs  # noqa: E402

SPIN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


def test_execute_says_how_a_command_failed():
    with pytest.raises(pairs.RunFailed, match="did not end within 0.5 s"):
        pairs.execute(["sh", "-c", "sleep 600 & wait"], 0.5)
    assert pairs.execute(["sh", "-c", "echo fine"], 30) == "fine\n"
    with pytest.raises(pairs.RunFailed, match="ended with 3:\n  why"):
        pairs.execute(["sh", "-c", "echo why >&2; exit 3"], 30)


def test_end_group_ends_the_children_too():
    process = subprocess.Popen(["sh", "-c", "sleep 600 & echo started; wait"], stdout=subprocess.PIPE,
                               start_new_session=True)
    assert process.stdout.readline() == b"started\n"
    pairs.end_group(process)
    # The pipe's writers were the shell and its child: its end means that both are gone.
    assert process.stdout.read() == b""
    process.stdout.close()


def test_a_living_sessions_cpu_time_is_counted():
    process = subprocess.Popen([sys.executable, "-c", SPIN + "print(flush=True)\ninput()"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, start_new_session=True)
    with process:
        process.stdout.readline()
        assert pairs.session_seconds(process.pid) >= 0.25
        pairs.end_group(process)
    assert pairs.session_seconds(process.pid) == 0


def test_medians_are_of_the_pairs():
    rounds = [{"muster": {"values": {"rate": a}}, "peer": {"values": {"rate": b}}} for a, b in ((8, 2), (9, 3), (20, 10))]
    assert pairs.medians(rounds, "rate", "muster", "peer") == (9, 3, 3)
    assert pairs.medians(rounds, "rate", "muster", "peer", lower_is_better=True)[2] == pytest.approx(1 / 3)


def test_missing_peers_are_left_out_and_named(monkeypatch, tmp_path):
    setting = entries.Setting(str(tmp_path), str(tmp_path), True)
    said = []
    entry = peers.PeersEntry(setting, 64, 1, said.append)
    tries = []

    def no_venv(need, _):
        tries.append(need.name)
        raise pairs.PeerMissing(f"{need.name} is not to be had")

    monkeypatch.setattr(venvs, "make_venv", no_venv)
    for need in (venvs.TORCH, venvs.TENSORFLOW):
        monkeypatch.delenv(need.variable, raising=False)
    for _ in range(2):
        with pytest.raises(pairs.PeerMissing, match="no peer"), contextlib.ExitStack() as stack:
            stack.enter_context(entry.opened(None))
    assert tries == ["PyTorch", "TensorFlow"], "one try for all entries"
    assert said[:2] == ["  SKIPPED: PyTorch is not to be had", "  SKIPPED: TensorFlow is not to be had"]


def test_one_missing_peer_does_not_stop_the_other(monkeypatch, tmp_path):
    entry = peers.PeersEntry(entries.Setting(str(tmp_path), str(tmp_path), True), 64, 1, lambda line: None)

    def no_torch(*_):
        raise pairs.PeerMissing("no torch")

    line = entries.Comparison("metric", "key", "tensorflow-psv2", "psv2-1")
    monkeypatch.setattr(entry, "open_torch", no_torch)
    monkeypatch.setattr(entry, "open_tensorflow", lambda stack, pairs: ([("psv2-1", None)], [line]))
    with entry.opened(None) as (sides, comparisons):
        assert [name for name, _ in sides] == ["muster", "psv2-1"]
        assert comparisons == [line]
    assert entry.skipped == ["no torch"]


def test_the_picture_has_every_point():
    lines = [("1 PS", [(1, 50000.0), (2, 120000.0)]), ("2 PS", [(1, 60000.0), (2, 120500.0)])]
    picture = xml.dom.minidom.parseString(chart.draw([("Examples a second", "workers", lines)]))
    assert len(picture.getElementsByTagName("circle")) == 4
    assert len(picture.getElementsByTagName("polyline")) == 2
    words = {one.firstChild.data: float(one.getAttribute("y")) for one in picture.getElementsByTagName("text")}
    assert {"Examples a second", "workers", "1 PS", "2 PS", "0"} <= words.keys()
    assert abs(words["1 PS"] - words["2 PS"]) >= chart.LABEL_HEIGHT, "labels of close ends do not cover each other"
    chart.draw([])


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0]


def test_a_task_is_known_by_its_tf_config_and_can_be_stopped():
    tf_config = '{"cluster": {}, "task": {"type": "worker", "index": 1}}'
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"TF_CONFIG": tf_config})
    with process:
        process.stdin.write(b"ready")
        process.stdin.flush()
        assert process.stdout.read(5) == b"ready"
        assert running.task_of(process.pid) == ("worker", 1)
        task = running.Task(process.pid)
        task.stop()
        running.until(lambda: state_of(process.pid) == "T", "the process to stop")
        task.go()
        process.kill()
        process.wait()
        task.go()  # it is gone: nothing happens
        task.close()
    assert running.task_of(os.getpid()) is None


def test_turns_are_taken_for_a_share_of_every_period():
    seen, looks = [], iter([True] * 40 + [False])
    job = types.SimpleNamespace(is_running=lambda: next(looks))

    def task(name):
        return types.SimpleNamespace(go=lambda: seen.append((name, "go")), stop=lambda: seen.append((name, "stop")))

    running.take_turns(job, [(task("a"), 0.4), (task("b"), 0.1)], 1e-5)
    turn = [("a", "go"), ("a", "stop"), ("b", "go"), ("b", "stop")]
    assert seen == turn * 10


def test_metrics_are_summed_over_their_labels():
    text = 'a_total{thread="0"} 3\na_total{thread="1"} 4\na_total_more 100\nb 0.5\n'
    assert running.metric_sum(text, "a_total") == 7
    assert running.metric_sum(text, "b") == 0.5
    assert running.metric_sum(text, "c") is None


def test_a_log_tells_of_checkpoints_and_cuts():
    log = "T info chief/0 chief: checkpoint written prefix=/x/model-20 ms=1390 note=none\nT info chief: first step\n"
    assert checkpoints.written_checkpoints(log) == [("/x/model-20", 1.39)]


def test_a_dense_network_has_the_layers_asked_for():
    layers = [layer for layer in models.dense_network([5, 7])["config"]["layers"] if layer["class_name"] == "Dense"]
    assert [(layer["build_config"]["input_shape"], layer["config"]["units"]) for layer in layers] == \
        [([None, 784], 5), ([None, 5], 7), ([None, 7], 10)]
    assert len({layer["config"]["name"] for layer in layers}) == 3
