"""Synchronous rounds: N workers give the bits of one process that accumulates the same N micro-batches in worker order, over any
number of parameter servers and with any partitioner."""
import itertools
import json
import os
import random
import signal
import subprocess

import pytest

import tiny_job
from checkpoint import weights_of
from processes import Port, http_get, until

SEEDS = [1, 2, *map(int, os.environ.get("MUSTER_SEED", "").split())]  # of the moments when processes die
BATCH = 7  # no power of two: weights change bits
BATCHES = 85  # an epoch; the last one is short, and neither two nor three workers can share them


@pytest.fixture
def inspect(binary, tmp_path):
    def run(*arguments):
        done = subprocess.run([str(binary), *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return run


def sgd(**config):
    return {"class_name": "SGD", "config": {"learning_rate": 0.05} | config}


def adam(**config):
    return {"class_name": "Adam", "config": {"learning_rate": 0.002} | config}


def with_noise(layers):
    """BatchNormalization and Dropout behind the first Dense."""
    layers[4:4] = [tiny_job.layer("BatchNormalization", {"name": "norm", "momentum": 0.9}),
                   tiny_job.layer("Dropout", {"name": "dropout", "rate": 0.3, "seed": None, "noise_shape": None})]


def plain(layers):
    del layers


def partitioner(class_name, **config):
    return {"class_name": class_name, "config": config}


PARTITIONERS = {"whole": None, "in two": partitioner("FixedShardsPartitioner", num_shards=2),
                "in three": partitioner("FixedShardsPartitioner", num_shards=3),
                "by least size": partitioner("MinSizePartitioner", min_shard_bytes=256, max_shards=5),
                "by most size": partitioner("MaxSizePartitioner", max_shard_bytes=1000)}


@pytest.fixture
def written(job, write_job, tmp_path):
    """Writes a synchronous job and its model; gives the path of the job and the number of its folders."""
    counter = itertools.count()

    def write(consistency, optimizer, change_model=plain, **keys):
        number = next(counter)
        described = job | keys | {"output": {"dir": str(tmp_path / f"out-{number}"), "keras": False},
                                  "checkpoint": {"dir": str(tmp_path / f"ckpt-{number}")},
                                  "compile": job["compile"] | {"optimizer": optimizer},
                                  "data": {"train": job["data"]["train"]}, "consistency": consistency}
        if "steps" in keys:
            described.pop("epochs", None)
        path = write_job(described)
        model = tiny_job.model()
        change_model(model["config"]["layers"])
        (tmp_path / "model.json").write_text(json.dumps(model))
        return path, number
    return write


@pytest.fixture
def trained(inspect, tmp_path):
    """All variables and slots of the last checkpoint of a job that was written, and its result.json."""
    def read(number):
        result = json.loads((tmp_path / f"out-{number}" / "result.json").read_text())
        assert result["status"] == "finished"
        return weights_of(inspect, tmp_path, f"ckpt-{number}/model-{result['steps']}"), result
    return read


@pytest.fixture
def train(muster, written, trained):
    """Writes a job, trains it with this command, reads what came of it."""
    def run(command, consistency, optimizer, change_model=plain, **keys):
        path, number = written(consistency, optimizer, change_model, **keys)
        muster(*command, path).expect(0)
        return trained(number)
    return run


@pytest.fixture
def small(job, tmp_path):
    """The job on fewer examples; how many they are."""
    n = BATCHES * BATCH - 3
    images, labels = tiny_job.examples(n, 1)
    (tmp_path / "images.idx").write_bytes(tiny_job.idx((n, tiny_job.SIDE, tiny_job.SIDE), images))
    (tmp_path / "labels.idx").write_bytes(tiny_job.idx((n,), labels))
    job["data"]["train"].update(features=str(tmp_path / "images.idx"), labels=str(tmp_path / "labels.idx"))
    job["batch_size"] = BATCH
    return n


def one_process(n):
    return ("run",), {"staleness": 0, "workers": 1, "accumulate_steps": n}


def cluster_of(workers, ps):
    return ("local", "--workers", str(workers), "--ps", str(ps)), {"staleness": 0}


def differing(weights, others):
    """The tensors that are not the same bits; there must be some that are not all zero."""
    assert weights.keys() == others.keys() and all(map(any, filter(None, weights.values())))  # iterations has no floats
    return [name for name, values in weights.items() if values != others[name]]


OPTIONS = {"adam": (500, adam(), with_noise), "momentum": (500, sgd(momentum=0.9), plain),
           "clipnorm": (500, sgd(momentum=0.9, clipnorm=0.05), plain),
           "global clipnorm": (500, adam(global_clipnorm=0.05), with_noise)}


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("steps, optimizer, change_model", OPTIONS.values(), ids=OPTIONS)
def test_the_bits_of_one_process(train, small, workers, steps, optimizer, change_model):
    del small
    partitioners = list(PARTITIONERS.items())
    expected, alone = train(*one_process(workers), optimizer, change_model, steps=steps, partitioner=None)
    for ps in (1, 2, 3):
        name, cut = partitioners[(workers + 2 * ps) % len(partitioners)]
        weights, result = train(*cluster_of(workers, ps), optimizer, change_model, steps=steps, partitioner=cut)
        assert not differing(weights, expected), f"{workers} workers, {ps} servers, variables {name}"
        assert (result["steps"], result["examples"], result["torn"]) == (steps, alone["examples"], 0)
        assert result["train"] == pytest.approx(alone["train"], rel=1e-9)
    assert len(expected) >= 8 + (4 if change_model is with_noise else 0), expected.keys()


def test_twice_the_same_bits(train, small):
    runs = [train(*cluster_of(3, 2), adam(global_clipnorm=0.05), with_noise, steps=100, partitioner=PARTITIONERS["in two"])[0]
            for _ in range(2)]
    assert not differing(*runs)
    other, _ = train(*cluster_of(3, 2), adam(global_clipnorm=0.05), with_noise, steps=100, seed=2,
                     partitioner=PARTITIONERS["in two"])
    assert differing(runs[0], other), "another seed gives other bits"


@pytest.mark.parametrize("workers", [2, 3])
def test_as_one_large_batch(train, small, workers):
    """Three steps; and without its last worker's share it would be another step."""
    large, _ = train(*one_process(1), sgd(momentum=0.9), steps=3, batch_size=BATCH * workers)
    weights, _ = train(*cluster_of(workers, 2), sgd(momentum=0.9), steps=3)
    less, _ = train(*cluster_of(workers - 1, 2), sgd(momentum=0.9), steps=3)

    def far(one):
        return max(max(abs(a - b) for a, b in zip(values, large[name])) / max(map(abs, large[name]))
                   for name, values in one.items() if any(large[name]))
    assert far(weights) < 1e-6 and far(less) > 1e-3, (far(weights), far(less))


@pytest.mark.threads
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_whole_epochs(train, small, workers):
    """With two workers and with three the last round of an epoch is one worker's, and its batch is short."""
    rounds = -(-BATCHES // workers)
    expected, _ = train(*one_process(workers), adam(), epochs=3)
    weights, result = train(*cluster_of(workers, 2), adam(), epochs=3)
    assert not differing(weights, expected)
    assert (result["steps"], result["examples"]) == (3 * rounds, 3 * small)


def test_a_learning_rate_that_falls(train, small):
    """ReduceLROnPlateau on the loss: from which round on the new rate holds does not depend on chance."""
    reduce = {"class_name": "ReduceLROnPlateau", "config": {"monitor": "loss", "factor": 0.5, "patience": 1, "min_delta": 100}}
    expected, _ = train(*one_process(2), sgd(momentum=0.9), epochs=6, callbacks=[reduce])
    weights, _ = train(*cluster_of(2, 2), sgd(momentum=0.9), epochs=6, callbacks=[reduce])
    steady, _ = train(*cluster_of(2, 2), sgd(momentum=0.9), epochs=6)
    assert not differing(weights, expected)
    assert differing(weights, steady | {"callbacks": weights["callbacks"]})


def test_stopping_early_is_exact(train, small):
    """Rounds end with the epoch that a callback was told of; with leases what is being trained is finished first."""
    stop = {"class_name": "EarlyStopping", "config": {"monitor": "loss", "patience": 1, "min_delta": 100}}
    expected, alone = train(*one_process(2), adam(), epochs=50, callbacks=[stop])
    weights, result = train(*cluster_of(2, 2), adam(), epochs=50, callbacks=[stop])
    assert not differing(weights, expected)
    assert result["steps"] == alone["steps"] == 2 * -(-BATCHES // 2)
    assert result["examples"] == 2 * small and result["epochs"] == 2
    assert result["stopped"]["epoch"] == 2


def test_accumulating_workers(train, small):
    """Two workers of two batches a round: every example once an epoch, and near one batch of all four."""
    weights, result = train(("local", "--workers", "2", "--ps", "2"), {"staleness": 0, "accumulate_steps": 2}, sgd(), steps=3)
    large, _ = train(*one_process(1), sgd(), steps=3, batch_size=4 * BATCH)
    assert result["examples"] == 3 * 4 * BATCH
    for name, values in large.items():
        assert values == pytest.approx(weights[name], abs=1e-6 * max(map(abs, values), default=0)), name
    _, result = train(("local", "--workers", "2", "--ps", "1"), {"staleness": 0, "accumulate_steps": 2}, sgd(), epochs=2)
    assert (result["steps"], result["examples"]) == (2 * 22, 2 * small)


def test_more_workers_than_a_round_has(cluster, job, write_job):
    job["consistency"] = {"staleness": 0, "workers": 1}
    job["epochs"] = 20  # so that it comes while there is one
    running = cluster(write_job(job), n_workers=2)
    running.start_all()
    running["worker-1"].expect(2)
    assert "consistency.workers" in running["worker-1"].log()
    for role in running.roles[:-1]:
        running[role].expect(0)


def test_cut_links_change_no_bit(cluster, make_link, written, trained, train, small):
    """What a link took with it is sent again, word for word, and counts once."""
    expected, _ = train(*cluster_of(2, 2), adam(global_clipnorm=0.05), with_noise, steps=300)
    path, number = written({"staleness": 0}, adam(global_clipnorm=0.05), with_noise, steps=300)
    running = cluster(path)
    links = [make_link(running.ports["ps-0"].address, hold_at=40_000), make_link(running.ports["ps-1"].address, hold_at=90_000)]
    running.addresses[("worker-1", "ps-0")], running.addresses[("worker-0", "ps-1")] = (link.address for link in links)
    running.start_all()
    for cuts in range(1, 4):
        for link in links:
            running.wait_running(lambda link=link: link.held, "the link to be held")
            link.cut()
            link.hold_at = link.n_bytes + 70_000 * cuts if cuts < 3 else None
            link.release()
    running.expect_all(0)
    weights, result = trained(number)
    assert not differing(weights, expected)
    assert result["steps"] == 300 and "was given up" not in running["worker-0"].log()


def test_rounds_wait_for_a_worker_that_is_late(cluster, written, trained, train, small):
    """It is said, and changes no bit."""
    expected, _ = train(*one_process(2), sgd(), steps=20)
    path, number = written({"staleness": 0}, sgd(), steps=20)
    running = cluster(path)
    for role in running.roles[:-1]:
        running.start(role)
    running["worker-0"].wait_log(r'waiting for="round 1: ')
    status, text = http_get(running.http_ports["worker-0"].number, "/readyz")
    assert status == 503 and "it waits for round 1" in text, text
    running.start("worker-1")
    running.expect_all(0)
    assert not differing(trained(number)[0], expected)


def test_a_worker_that_leaves_takes_nothing_with_it(cluster, job, written, trained, small, make_link):
    """SIGTERM: it ends after its round, and the others train what it was dealt. Then the last one is told."""
    path, number = written({"staleness": 0}, sgd(), epochs=12)
    running = cluster(path, n_workers=3)
    link = make_link(running.ports["ps-0"].address, hold_at=50_000)
    running.addresses[("worker-0", "ps-0")] = link.address
    running.start_all()
    running.wait_running(lambda: link.held, "worker-0 to be in the middle of a round")
    running["worker-2"].send(signal.SIGTERM)
    running["worker-2"].wait_log("told to stop")
    link.release()
    running["worker-2"].expect(143)
    running.roles.remove("worker-2")
    running.expect_all(0)
    _, result = trained(number)
    assert result["examples"] == 12 * small and result["steps"] > 12 * 29


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_whole_and_started_again(cluster, written, trained, train, small, seed):
    """All processes at any moment: what comes of it is the undisturbed run."""
    moments = random.Random(seed)
    keys = dict(steps=300, partitioner=PARTITIONERS["in two"])
    expected, alone = train(*cluster_of(2, 2), adam(global_clipnorm=0.05), with_noise, **keys)
    path, number = written({"staleness": 0}, adam(global_clipnorm=0.05), with_noise, **keys)
    described = json.loads(path.read_text())
    described["checkpoint"].update(every_steps=20, resume=True)
    path.write_text(json.dumps(described))
    running = cluster(path)
    for _ in range(2):
        running.start_all()
        updates = moments.randrange(1, 250)
        until(lambda: running.updates() >= updates or not running["chief-0"].is_running(), "some rounds")
        for role in moments.sample(running.roles, len(running.roles)):
            running[role].kill()
    running.start_all()
    running.expect_all(0)
    weights, result = trained(number)
    assert not differing(weights, expected)
    assert result["steps"] == 300 and result["checkpoints_failed"] == 0 and result["train"] == pytest.approx(alone["train"], rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chief_that_is_killed_changes_no_bit(cluster, written, trained, train, small, seed):
    """Rounds wait for the next one, which goes on with the last close; its figures are those of the whole run."""
    moments = random.Random(seed)
    keys = dict(steps=800, partitioner=PARTITIONERS["in two"])
    expected, alone = train(*cluster_of(2, 2), adam(global_clipnorm=0.05), with_noise, **keys)
    path, number = written({"staleness": 0}, adam(global_clipnorm=0.05), with_noise, **keys)
    running = cluster(path)
    running.start_all()
    for _ in range(2):
        updates = running.updates() + moments.randrange(1, 600)
        until(lambda least=updates: running.updates() >= least or not running["chief-0"].is_running(), "some rounds")
        running["chief-0"].kill()
        running.start("chief-0")
    running.expect_all(0)
    weights, result = trained(number)
    assert not differing(weights, expected)
    assert (result["steps"], result["examples"]) == (800, alone["examples"])


@pytest.mark.parametrize("coordinator", ["master", "worker"])
def test_a_worker_that_coordinates(muster, written, trained, train, small, coordinator):
    """Without a chief: `master`, which trains as the last worker, or worker 0."""
    expected, _ = train(*one_process(2), adam(), steps=100)
    path, number = written({"staleness": 0}, adam(), steps=100)
    tasks = [("worker", 0), ("ps", 0), ("master", 0) if coordinator == "master" else ("worker", 1)]
    ports = {task: Port() for task in tasks}
    cluster = {kind: [ports[task].address for task in tasks if task[0] == kind] for kind, _ in tasks}
    processes = [muster("run", path, environment={"TF_CONFIG": json.dumps({"cluster": cluster,
                                                                         "task": {"type": kind, "index": index}})})
                 for kind, index in tasks]
    for process in processes:
        process.expect(0)
    assert not differing(trained(number)[0], expected)
    for port in ports.values():
        port.close()


def test_told_to_stop_and_started_again(muster, written, trained, train, small, tmp_path):
    """SIGTERM in the middle of an epoch, to all of it: what is left is trained as if nothing had been."""
    expected, _ = train(*cluster_of(2, 2), adam(global_clipnorm=0.05), with_noise, steps=2000)
    path, number = written({"staleness": 0}, adam(global_clipnorm=0.05), with_noise, steps=2000)
    described = json.loads(path.read_text())
    described["checkpoint"]["resume"] = True
    path.write_text(json.dumps(described))
    command, _ = cluster_of(2, 2)
    running = muster(*command, path)
    log = tmp_path / f"out-{number}" / "logs" / "chief-0.log"
    until(lambda: log.exists() and "epoch done epoch=3" in log.read_text(errors="replace"), "three epochs")
    running.send(signal.SIGTERM)
    running.expect(143)
    muster(*command, path).expect(0)
    assert not differing(trained(number)[0], expected)


@pytest.mark.parametrize("key, first, then, steps", [("steps", 60, 100, 100), ("epochs", 1, 2, 250)])
def test_a_finished_job_is_given_more_to_do(job, write_job, muster, key, first, then, steps):
    """It was over at its checkpoint, and goes on from there with as much as is left of the new number."""
    del job["epochs"]
    job["consistency"] = {"staleness": 0}
    job["checkpoint"]["resume"] = True
    for job[key] in (first, then):
        process = muster("run", write_job(job))
        process.expect(0)
    assert f"checkpoint written prefix={job['checkpoint']['dir']}/model-{steps} " in process.log()
