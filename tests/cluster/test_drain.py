"""`muster admin drain`: a parameter server hands over what it has and leaves, when somebody asks for that. Every example still
counts once, by the weights (counting_job.py)."""
import http.client
import json
import os
import re
import signal
import subprocess
import types

import pytest

import counting_job
from counting_job import Shape
from processes import Port, Process, http_get, metric, until
from replicated import ENDLESS, Counting, epoch_after, go_on


@pytest.fixture
def replicated(cluster, run, job, tmp_path):
    return lambda n_ps=2, replicas=1, **more: Counting(cluster, run, job, tmp_path, n_ps, replicas, **more)


@pytest.fixture
def draining(binary, tmp_path, started):
    """Starts a drain and does not wait for it."""
    def start(training, role, *arguments):
        name = f"drain-{len(started)}"
        started.append(Process(name, [binary, "admin", "drain", role, "--chief", chief(training), *arguments], {}, tmp_path))
        return started[-1]
    return start


def chief(training):
    return training.running.http_ports["chief-0"].address


def stuck(training, draining):
    """ps-1 leaves, and its only backup stands still: so it has to stay. Told before anybody can miss that one; the command joins."""
    training.start()
    training.wait_full()
    training["ps-0"].pause()
    assert post(chief(training), "/drain/ps-1")[0] == 202
    asked = draining(training, "ps-1")
    asked.wait_log("ps-1: leaves; waits for .*a server that takes group 1 from ps-1")
    return asked


# ---- it is drained ----

@pytest.mark.parametrize("n_ps, replicas", [(2, 1), (3, 1), (3, 2)])
def test_one_server_after_the_other(replicated, run, n_ps, replicas):
    """Asked for without a look at redundancy: each drain waits for that itself."""
    training = replicated(n_ps, replicas)
    training.start()
    for i in range(n_ps):
        code, out, error = run("admin", "drain", f"ps-{i}", "--chief", chief(training))
        assert (code, error) == (0, ""), (out, error, training.chief.tail())
        assert out.splitlines()[-1] == f"ps-{i}: drained: others have what it had, and its process ends"
        training[f"ps-{i}"].expect(143)
        training.wait_steps(100)
        training.running.start(f"ps-{i}")
    training.wait_full()
    training.finish()
    for worker in ("worker-0", "worker-1"):
        assert training[worker].log().count("joined") == 1
    assert "parameter server restored" not in training.chief.log()


def test_of_a_muster_local(muster, run, job, tmp_path):
    """The job is named as for `muster top`; what it supervises is started again by itself."""
    shape = Shape(shards=2, epochs=ENDLESS, workers=2)
    job["replicas"] = 1
    path = counting_job.write(job, shape, tmp_path)
    local = muster("local", path, "--workers", "2", "--ps", "2")
    logs = tmp_path / "out" / "logs"
    until(lambda: (logs / "chief-0.log").exists() and "chief: first step" in (logs / "chief-0.log").read_text(), "training")
    for role in ("ps-1", "ps-0"):
        code, out, error = run("admin", "drain", role, "--job", path)
        assert (code, error) == (0, ""), (out, error, local.tail())
    told = json.loads((tmp_path / "out" / "local.json").read_text())
    address, = (role["http"] for role in told["roles"] if role["role"] == "chief")
    until(lambda: metric(int(address.rpartition(":")[2]), "muster_redundancy_full") == 1, "full redundancy")
    assert local.is_running(), local.tail()
    for role in ("ps-0", "ps-1"):
        assert re.search(rf"{role} ended with exit code 143", local.log()), local.log()
        assert "asked to leave" in (logs / f"{role}.log").read_text()
    local.send(signal.SIGTERM)
    local.expect(143)
    log = (logs / "chief-0.log").read_text()
    shape.epochs = epoch_after(shape, int(re.findall(r"checkpoint written prefix=\S+model-(\d+)", log)[-1]))
    said = go_on(run, path, shape.epochs)
    assert counting_job.check(run, job, shape, tmp_path, log + said, is_resumed=True) == 0
    assert run("admin", "drain", "ps-1", "--job", path)[0] == 1


def test_it_is_joined_and_goes_on_without_who_asked(replicated, draining, run):
    """Two wait for one drain; a third one waits for a second and is told why; whoever asked need not stay."""
    training = replicated(2)
    first = stuck(training, draining)
    second = draining(training, "ps-1")
    second.wait_log("ps-1: leaves; waits for .*a server that takes group 1 from ps-1")
    code, out, error = run("admin", "drain", "ps-1", "--chief", chief(training), "--timeout", "1")
    assert code == 1 and error.startswith("muster: ps-1 is not drained after 1 s: it leaves; waits for a server"), error
    other = draining(training, "ps-0")
    other.wait_log("ps-0: waits for ps-1 to leave and come back, one server after the other")
    other.kill()
    first.kill()
    training["ps-0"].resume()
    second.expect(0)
    training["ps-1"].expect(143)
    training.wait_steps(100)
    training.running.start("ps-1")
    training.wait_full()
    training.finish()


def test_the_chief_dies_meanwhile(replicated, draining, job):
    """The next one hears from the server that it is to leave, and who asked waits for it."""
    job["cluster"].update(lease_ms=1000, heartbeat_ms=100)  # of two servers it waits ten leases for the one that is silent
    training = replicated(2)
    asked = stuck(training, draining)
    training.chief.kill()
    asked.wait_log("waits for the chief at")
    training.running.start("chief-0").wait_log("parameter server leaves ps=1")
    training["ps-0"].resume()
    asked.expect(0)
    training["ps-1"].expect(143)
    training.running.start("ps-1")
    training.wait_full()
    training.finish()


def test_it_is_killed_meanwhile(replicated, draining, job):
    """What is gone need not leave, and its successor is not drained."""
    job["cluster"]["lease_ms"] = 20000  # nobody misses ps-2 before it goes on
    training = replicated(3)
    training.start()
    training.wait_full()
    training["ps-2"].pause()  # which has the copy of group 1
    asked = draining(training, "ps-1")
    training["ps-1"].wait_log("asked to leave")
    training["ps-1"].kill()
    training["ps-2"].resume()
    again = training.running.start("ps-1")
    asked.expect(0)
    training.wait_full()
    assert again.is_running() and "asked to leave" not in again.log()
    training.finish()


# ---- it is not ----

def test_the_only_copy(replicated, run, job):
    job["cluster"].update(lease_ms=1000, heartbeat_ms=100)
    training = replicated(2)
    training.start()
    training.wait_full()
    training["ps-0"].kill()
    code, _, error = run("admin", "drain", "ps-1", "--chief", chief(training))
    assert code == 1 and error.startswith("muster: ps-1 is not drained: ps-1 has the only copy of group "), error
    assert "start one first" in error
    training.finish("ps-0")


def test_the_job_ends_meanwhile(cluster, job, tmp_path, draining):
    """Who waits hears of it from the chief, and not that there is none any more."""
    job["replicas"] = 1
    job["cluster"]["lease_ms"] = 6000  # ten of them the place of ps-0 is kept
    running = cluster(counting_job.write(job, Shape(shards=2, epochs=400), tmp_path), 2, 2)
    running.start_all()
    running.wait_running(lambda: running.metric("chief-0", "muster_redundancy_full") == 1, "full redundancy")
    running["ps-0"].kill()
    asked = draining(types.SimpleNamespace(running=running), "ps-1")
    asked.wait_log("ps-1: (leaves; )?waits for ")
    running["chief-0"].expect(0)
    assert asked.wait(20) == 1, asked.log()
    assert asked.log().endswith("muster: ps-1 is not drained: the job is over: all its processes end\n"), asked.log()


def test_without_replicas(cluster, job, write_job, run):
    job["epochs"] = 1_000_000
    running = cluster(write_job(job))
    running.start_all()
    running.wait_training()
    where = ["--chief", running.http_ports["chief-0"].address]
    for task, words in (("ps-1", "the job has no replicas, so nobody can take what ps-1 has"),
                        ("ps-7", "there is no ps-7; the job has ps-0 to ps-1")):
        code, out, error = run("admin", "drain", task, *where)
        assert (code, out) == (1, "") and error.startswith(f"muster: {task} is not drained: {words}"), error
    code, _, error = run("admin", "drain", "ps-0", "--chief", running.http_ports["ps-0"].address)
    assert code == 1 and "does not coordinate the job; ask its chief" in error, error
    nobody = Port()
    code, _, error = run("admin", "drain", "ps-0", "--chief", nobody.address)
    assert code == 1 and error == f"muster: ps-0 is not drained: the chief at {nobody.address} cannot be asked: Connection refused\n"
    nobody.close()
    updates = running.updates()
    running.wait_running(lambda: running.updates() > updates, "training to go on")


def test_tf_config_without_a_chief(cluster, job, write_job, binary, tmp_path):
    """Worker 0 coordinates, so it is the one that is asked."""
    job["epochs"] = 1_000_000
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    running.roles.remove("chief-0")
    running.start_all()
    running.wait_training()
    done = subprocess.run([binary, "admin", "drain", "ps-0", "--http-port", str(running.http_ports["worker-0"].number)],
                          env={**os.environ, "TF_CONFIG": running.tf_config("ps-0")}, cwd=tmp_path, text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 1 and "the job has no replicas" in done.stderr, done.stderr


def post(address, path, headers=()):
    connection = http.client.HTTPConnection(*address.split(":"), timeout=30)
    connection.request("POST", path, headers=dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_over_http(replicated):
    """As curl asks: one sentence for what is refused, JSON for what is not."""
    training = replicated(2)
    training.running.start("chief-0").wait_log("http: listening")
    assert post(chief(training), "/drain/ps-1") == (503, "the job to begin\n")
    for role in training.running.roles[1:]:
        training.running.start(role)
    training.running.wait_training()
    training.wait_full()
    for path, code, words in (("/drain/ps-9", 404, "there is no ps-9"), ("/drain/worker-0", 400, "no parameter server"),
                              ("/drain/", 400, "no parameter server"), ("/drains", 404, "/drain/ps-N"),
                              ("/metrics", 405, "only GET"),
                              ("/drain/ps-1?force", 400, "incarnation=")):
        got = post(chief(training), path)
        assert got[0] == code and words in got[1] and got[1].count("\n") == 1, got
    assert post(chief(training), "/drain/ps-1", {"Origin": "http://elsewhere"})[0] == 403
    assert http_get(training.running.http_ports["chief-0"].number, "/drain/ps-1")[0] == 404
    code, text = post(chief(training), "/drain/ps-1")
    said = json.loads(text)
    assert code == 202 and said["task"] == "ps-1" and said["state"] == "leaves" and said["waits_for"], text
    training["ps-1"].expect(143)
    named = f"/drain/ps-1?incarnation={said['incarnation']}"
    until(lambda: post(chief(training), named)[0] == 200, "it to be drained")
    again = training.running.start("ps-1")
    training.wait_full()
    assert json.loads(post(chief(training), named)[1])["state"] == "drained"
    assert again.is_running()
    training.finish()


def test_the_chief_dies_when_it_is_drained(replicated):
    """It is not started again; the next chief never met it, and yet does not let him wait who asks."""
    training = replicated(3)
    training.start()
    training.wait_full()
    code, text = post(chief(training), "/drain/ps-1")
    assert code == 202, text
    training["ps-1"].expect(143)
    training.chief.kill()
    training.running.start("chief-0").wait_log("running term=2")
    assert post(chief(training), f"/drain/ps-1?incarnation={json.loads(text)['incarnation']}")[0] == 200
    training.finish("ps-1")


def test_wrong_words(run, tmp_path):
    for arguments, words in (([], "muster admin needs a sub-command: drain ("), (["drian"], "did you mean 'muster admin drain'"),
                             (["drain"], "needs PS"), (["drain", "1", "--chief", "1"], "'1' is no parameter server"),
                             (["drain", "ps-1"], "nothing says whom to ask"),
                             (["drain", "ps-1", "--chief", "x"], "'x' is no address"),
                             (["drain", "ps-1", "--chief", "1", "--job", "a"], "not both"),
                             (["drain", "ps-1", "--timeout", "0", "--chief", "1"], "--timeout"),
                             (["drain", "ps-1", "ps-2"], "one too many")):
        code, out, error = run("admin", *arguments)
        assert code == 2 and out == "" and words in error, (arguments, error)
    assert run("admin", "--help")[0] == run("admin", "drain", "--help")[0] == run("help", "admin")[0] == 0
