"""The chief is told to stop while a parameter server is away, is being replaced or restored, or while it does not know the job
yet itself: within its grace it waits, and writes the checkpoint; else it says which one is left and why. And whoever does not know it
yet hears of the end.
"""
import pathlib
import re
import signal

import pytest

from processes import newest_checkpoint, until
from replicated import Counting, epoch_after, go_on

LONG = ["--grace", "60"]


@pytest.fixture
def endless_job(job):
    job["epochs"] = 1_000_000
    return job


def written(job):
    return [int(path.stem.partition("-")[2]) for path in pathlib.Path(job["checkpoint"]["dir"]).glob("model-*.index")]


def start_training(cluster, job, write_job, arguments=LONG, **more):
    running = cluster(write_job(job), **more)
    running.start_all(arguments)
    running.wait_running(lambda: running.metric("chief-0", "muster_chief_step") > 0, "steps that the chief knows of")
    return running


def steps_at_stop(chief):
    return int(re.search(r"chief: stopping .*steps=(\d+)", chief.log())[1])


def expect_told(running, job, *roles):
    """They end soon, and name the last checkpoint."""
    for role in roles:
        running[role].expect(138)
    assert f"model-{max(written(job))}, to go on from with checkpoint.resume" in running["worker-0"].log(), running["worker-0"].tail()


@pytest.mark.parametrize("staleness", ["async", 0])
@pytest.mark.parametrize("told", ["chief-0", "ps-0", "all"])
def test_a_server_is_started_again(cluster, endless_job, write_job, told, staleness):
    """Without replicas: it is restored, and what the others have is written with it."""
    endless_job["consistency"] = {"staleness": staleness}
    running = start_training(cluster, endless_job, write_job)
    chief = running["chief-0"]
    running["ps-1"].kill()
    chief.wait_log("parameter server lost ps=1")
    roles = [role for role in running.roles if role != "ps-1"] if told == "all" else [told]
    for role in roles:
        running[role].send(signal.SIGTERM)
    chief.wait_log(r'stop waits for="ps-1 \(')
    assert chief.is_running() and not written(endless_job)
    running.start("ps-1", LONG)
    for role in roles:  # who hears of the end before its own signal ends with 138
        assert running[role].wait() in ((143, 138) if told == "all" else (143,)), running[role].tail()
    others = [role for role in running.roles if role not in roles]
    for role in others:
        running[role].expect(138)
        assert f"model-{max(written(endless_job))}, to go on from with checkpoint.resume" in running[role].log(), running[role].tail()
    assert "parameter server restored ps=1" in chief.log()
    assert max(written(endless_job)) >= steps_at_stop(chief) > 0


def test_a_server_is_back_and_waits_for_another(cluster, endless_job, write_job):
    """All are told but the one that is away, without which the chief lets nobody restore anything: who is back stays for that."""
    running = start_training(cluster, endless_job, write_job, n_ps=3)
    chief = running["chief-0"]
    for role in ("ps-1", "ps-2"):
        running[role].kill()
    chief.wait_log(r"parameter server lost ps=1[\s\S]*parameter server lost ps=2|parameter server lost ps=2[\s\S]*parameter server lost ps=1")
    running.start("ps-1", LONG).wait_log("chief greeted")
    told = [role for role in running.roles if role != "ps-2"]
    for role in told:
        running[role].send(signal.SIGTERM)
    chief.wait_log("stop waits for=")
    running["ps-1"].wait_log("told to stop")
    running.start("ps-2", LONG)
    for role in told:
        assert running[role].wait() in (143, 138), running[role].tail()
    running["ps-2"].expect(138)
    assert chief.log().count("parameter server restored") == 2, chief.tail()
    assert max(written(endless_job)) >= steps_at_stop(chief) > 0


def waits_for_ps_1(running, job):
    """While that one stands still: the chief is through with all that it has written, and knows of a step that none of them has."""
    parts = [int(path.name.split(".")[0].partition("-")[2])
             for path in pathlib.Path(job["checkpoint"]["dir"]).glob("model-*.data-00001-of-00003*")]
    newest = newest_checkpoint(running["chief-0"].log())  # in this order: none comes meanwhile
    return max(parts, default=0) <= newest < running.metric("chief-0", "muster_chief_step")


def test_a_server_is_lost_with_a_checkpoint_under_way(cluster, endless_job, write_job):
    """The chief is saving nearly all the time; with the server that stands still it cannot come to an end."""
    endless_job["checkpoint"].update(every_steps=1, keep=2)
    endless_job["cluster"]["lease_ms"] = 20000
    running = start_training(cluster, endless_job, write_job)
    chief = running["chief-0"]
    chief.wait_log("checkpoint written")
    running["ps-1"].pause()
    while not waits_for_ps_1(running, endless_job):  # it stood still just before the next one was due
        newest = max(written(endless_job))
        running["ps-1"].resume()
        running.wait_running(lambda: max(written(endless_job)) > newest, "another checkpoint")
        running["ps-1"].pause()
    chief.send(signal.SIGTERM)
    chief.wait_log("chief: stopping")
    running["ps-1"].kill()
    chief.wait_log("checkpoint put off")
    running.start("ps-1", LONG)
    chief.expect(143)
    expect_told(running, endless_job, "ps-0", "ps-1", "worker-0", "worker-1")
    assert max(written(endless_job)) >= steps_at_stop(chief) > 0


def test_a_server_that_stays_away(cluster, endless_job, write_job):
    """When the grace is over everybody hears what is lost, why, and which checkpoint is left."""
    endless_job["checkpoint"]["every_steps"] = 50
    running = start_training(cluster, endless_job, write_job, ["--grace", "1"])
    chief = running["chief-0"]
    chief.wait_log("checkpoint written")
    running["ps-1"].kill()
    chief.wait_log("parameter server lost ps=1")
    known = running.metric("chief-0", "muster_chief_step")
    chief.send(signal.SIGTERM)
    chief.expect(143)
    newest = max(written(endless_job))
    if known > newest:  # else there is nothing to write
        found = re.search(r'error .*stopped without checkpoint reason="it waited for ps-1 \(connection refused.*" steps=\d+ last=\S+model-(\d+)',
                          chief.log())
        assert found and int(found[1]) == newest, chief.tail()
        assert "no checkpoint of it could be written: it waited for ps-1" in running["worker-0"].log() + running["worker-1"].log()
    expect_told(running, endless_job, "ps-0", "worker-0", "worker-1")


def test_before_the_first_checkpoint(cluster, endless_job, write_job):
    running = start_training(cluster, endless_job, write_job, ["--grace", "1"])
    chief = running["chief-0"]
    running["ps-1"].kill()
    chief.wait_log("parameter server lost ps=1")
    chief.send(signal.SIGTERM)
    chief.expect(143)
    assert re.search(r'stopped without checkpoint reason="it waited for ps-1 \(.*" steps=\d+ last=none', chief.log()), chief.tail()
    for role in ("ps-0", "worker-0", "worker-1"):
        running[role].expect(138)
        assert "no checkpoint of it could be written" in running[role].log(), running[role].tail()


def test_a_chief_that_does_not_know_the_job_yet(cluster, endless_job, write_job):
    """It was started again, and cannot read what the one before left until the server is back."""
    running = start_training(cluster, endless_job, write_job)
    running["chief-0"].kill()
    running["ps-1"].kill()
    chief = running.start("chief-0", LONG)
    chief.wait_log("listening")
    # One of the servers has met it, and is in the middle of a job.
    until(lambda: running["ps-0"].log().count("chief greeted") >= 2, "ps-0 to be greeted by this chief")
    chief.send(signal.SIGTERM)
    chief.wait_log(r'stop waits for="ps-1 \(')
    running.start("ps-1", LONG)
    chief.expect(143)
    assert "recalled term=2" in chief.log()
    expect_told(running, endless_job, "ps-0", "ps-1", "worker-0", "worker-1")
    assert max(written(endless_job)) > 0


def test_a_chief_that_never_comes_to_know_the_job(cluster, endless_job, write_job):
    """The server does not come back: those that are there are told all the same, and the checkpoint is named."""
    endless_job["checkpoint"]["every_steps"] = 50
    running = start_training(cluster, endless_job, write_job)
    running["chief-0"].wait_log("checkpoint written")
    running["chief-0"].kill()
    running["ps-1"].kill()
    chief = running.start("chief-0", ["--grace", "1"])
    until(lambda: running["ps-0"].log().count("chief greeted") >= 2, "ps-0 to be greeted by this chief")
    chief.send(signal.SIGTERM)
    chief.expect(143)
    found = re.search(r'stopped without checkpoint reason="it waited for ps-1 \(connection refused.*" steps=0 last=\S+model-(\d+)', chief.log())
    assert found and int(found[1]) == max(written(endless_job)), chief.tail()
    expect_told(running, endless_job, "ps-0", "worker-0", "worker-1")


def test_workers_that_a_chief_has_not_heard_of_yet(cluster, job, write_job, make_link):
    """It is told to stop at once, and has nothing to write; they would look for it for as long as it may be away."""
    job["epochs"] = 1_000_000
    job["cluster"]["lease_ms"] = 20000
    running = cluster(write_job(job))
    links = {worker: make_link(running.ports["ps-0"].address, hold_at=10_000) for worker in ("worker-0", "worker-1")}
    for worker, link in links.items():
        running.addresses[(worker, "ps-0")] = link.address
    running.start_all()
    running.wait_running(lambda: all(link.held for link in links.values()), "workers to stand in their first leases")
    for worker in links:
        running[worker].pause()
    running["chief-0"].kill()
    chief = running.start("chief-0")
    chief.wait_log(r"running term=2 steps=0 ")
    chief.send(signal.SIGTERM)
    chief.wait_log("job failed")
    assert "worker admitted" not in chief.log()
    for worker in links:
        running[worker].resume()
    for worker in links:
        running[worker].expect(138)
        assert "was told to stop by SIGTERM" in running[worker].log(), running[worker].tail()
    chief.expect(143)
    for server in ("ps-0", "ps-1"):
        running[server].expect(138)


# ---- replicas ----

def start_replicated(cluster, run, job, folder, n_ps):
    training = Counting(cluster, run, job, folder, n_ps, 1)
    training.running.start_all(LONG)
    training.running.wait_running(lambda: training.running.updates() > 400, "training")
    training.wait_full()
    return training


def test_a_server_is_being_replaced(cluster, run, job, tmp_path):
    """It stands still, which nobody knows yet when the chief begins the checkpoint."""
    training = start_replicated(cluster, run, job, tmp_path, 2)
    training["ps-1"].pause()
    training.shape.epochs = epoch_after(training.shape, training.stop("ps-1"))
    training.check(go_on(run, training.path, training.shape.epochs, n_ps=2))


def test_a_group_is_restored(cluster, run, job, tmp_path):
    """Both servers that have a copy are gone; its home takes the last checkpoint."""
    training = start_replicated(cluster, run, job, tmp_path, 3)
    saved = int(training.chief.wait_log(r"checkpoint written prefix=\S+model-(\d+)")[1])
    training.wait(lambda: training.step() > saved + 100, "steps behind the checkpoint")
    n_before = training.chief.log().count("checkpoint written")
    for role in ("ps-0", "ps-1"):  # where group 0 is
        training[role].kill()
    training.wait(lambda: training.chief.log().count("parameter server dead") == 2, "both to be gone")
    training.chief.send(signal.SIGTERM)
    training.chief.wait_log("stop waits for=")
    for role in ("ps-0", "ps-1"):
        training.running.start(role, LONG)
    training.chief.expect(143)
    said = training.chief.log()
    assert "parameter server restored ps=0" in said and said.count("checkpoint written") > n_before, training.chief.tail()
    assert max(written(job)) >= steps_at_stop(training.chief)
    for role in training.running.roles[1:]:
        training[role].expect(138)
