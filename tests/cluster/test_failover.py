"""Replicas: a parameter server dies, stands still or comes back, and the training goes on without it; every example still
counts once, by the weights themselves (counting_job.py). Without replicas the others would wait for it and go back to a
checkpoint (test_coming_back.py).
"""
import json
import pathlib
import re
import signal

import pytest
import counting_job
from processes import Port, lost_updates, until
from replicated import Counting


@pytest.fixture
def replicated(cluster, run, job, tmp_path):
    return lambda n_ps=2, replicas=1, **more: Counting(cluster, run, job, tmp_path, n_ps, replicas, **more)


def test_undisturbed(replicated):
    training = replicated(n_ps=3, epochs=30)
    training.running.start_all()
    training.running.expect_all(0)
    assert training.check()["torn"] == 0


@pytest.mark.parametrize("n_ps, replicas", [(2, 1), (3, 1), (3, 2)])
def test_a_server_dies_for_good(replicated, n_ps, replicas):
    """Its copy goes on in its place, and nobody waits for the dead one."""
    training = replicated(n_ps, replicas)
    training.start()
    training.wait_full()
    training["ps-1"].kill()
    training.wait_steps(300)
    training.finish("ps-1")
    assert "parameter server restored" not in training.chief.log()
    for worker in ("worker-0", "worker-1"):
        assert training[worker].log().count("joined") == 1


def test_one_server_after_the_other(replicated):
    """Each is started again, and the next one dies when redundancy is full: every copy was handed on while training."""
    training = replicated(3)
    training.start()
    for i in range(3):
        training.wait_full()
        training[f"ps-{i}"].kill()
        training.wait_steps(200)
        training.running.start(f"ps-{i}")
    training.wait_full()
    training.finish()


@pytest.mark.threads
def test_one_server_leaves_and_another_dies(replicated):
    """The first hands over what it is primary of before it ends; the second ends without a word; both come back."""
    training = replicated(3)
    training.start()
    training.wait_full()
    training["ps-1"].send(signal.SIGTERM)
    training["ps-1"].expect(143)
    training.chief.wait_log("parameter server let go ps=1")
    training.running.start("ps-1")
    training.wait_full()
    training["ps-2"].kill()
    training.wait_steps(100)
    training.running.start("ps-2")
    training.wait_full()
    training.finish()


def test_a_server_stands_still(replicated):
    """One that is silent is replaced after a lease; when it goes on it has nothing to say, and becomes a copy again."""
    training = replicated(2)
    training.start()
    training.wait_full()
    training["ps-0"].pause()
    training.wait_steps(300)
    training["ps-0"].resume()
    training.wait_full()
    training.finish()


def test_a_server_stands_still_until_the_end(replicated):
    """It goes on when all is done without it, and hears so: it would look for its chief for long, and then call that lost."""
    training = replicated(2, epochs=60)
    training.job["cluster"]["lease_ms"] = 4000  # half of it is the time to go on in
    counting_job.write(training.job, training.shape, training.folder)
    training.start(50)
    training.wait_full()
    training["ps-0"].pause()
    training.chief.wait_log("job finished")
    training["ps-0"].resume()
    training.expect("ps-0", "ps-1")
    assert "parameter server dead ps=0" in training.chief.log()
    training.check()


@pytest.mark.parametrize("staleness", ["async", 0])
def test_the_promoted_server_dies_before_it_has_a_backup(replicated, make_link, staleness):
    """It had told nobody of what the third copy may not have, so that one goes on with everything."""
    training = replicated(3, 2, consistency={"staleness": staleness})
    training.job["cluster"]["lease_ms"] = 20000  # ps-1 is not to call ps-2 lost
    counting_job.write(training.job, training.shape, training.folder)
    between = make_link(training.running.ports["ps-2"].address)
    training.running.addresses["ps-1", "ps-2"] = between.address
    training.start()
    training.wait_full()
    training.note_roles()
    between.hold()
    training["ps-0"].kill()
    training.wait(lambda: any(groups[0].startswith("ps-1") for groups in training.roles()[training.n_roles:]), "ps-1 in its place")
    training["ps-1"].kill()
    between.release()
    for role in ("ps-0", "ps-1"):
        training.running.start(role)
    training.wait_full_again()
    training.finish()
    assert "parameter server restored" not in training.chief.log()


def test_a_worker_dies_with_a_server(replicated):
    """The fence of the worker goes to who is primary now."""
    training = replicated(3)
    training.start()
    training.wait_full()
    training["ps-2"].kill()
    training["worker-1"].kill()
    training.running.start("worker-1").wait_log("joined number=2")
    training.finish("ps-2", n_torn=2)


def test_the_chief_is_killed_after_a_server(replicated):
    """The next chief reads from the living who is primary of what, and which groups lack a copy; it ends the job without it."""
    training = replicated(3, epochs=600)
    training.start()
    training.wait_full()
    training["ps-1"].kill()
    training.wait_steps(100)
    training.chief.kill()
    training.running.start("chief-0").wait_log("recalled term=2")
    training.wait_steps(100)
    training.expect("ps-0", "ps-2")
    assert training.check()["torn"] == 0


def test_the_chief_and_a_server_are_killed_together(replicated):
    training = replicated(3)
    training.start()
    training.wait_full()
    training["ps-1"].kill()
    training.chief.kill()
    training.running.start("chief-0")
    training.wait_steps(100)
    training.finish("ps-1")


def test_checkpoints_of_promoted_servers(replicated, run):
    """Each group's file is written by who is its primary, and it is a checkpoint like any other."""
    training = replicated(2, epochs=600)
    training.start()
    training.wait_full()
    training["ps-0"].kill()
    training.wait_steps(10)
    n_before = training.chief.log().count("checkpoint written")
    training.wait(lambda: training.chief.log().count("checkpoint written") >= n_before + 2, "two checkpoints")
    training.expect("ps-1")
    assert training.check()["checkpoints_failed"] == 0
    prefix = pathlib.Path(re.findall(r"checkpoint written prefix=(\S+)", training.chief.log())[-1])
    assert len(list(prefix.parent.glob(prefix.name + ".data-*-of-00003"))) == 3
    assert run("ckpt", "verify", prefix)[0] == 0


def test_a_server_dies_while_the_last_checkpoint_is_written(replicated):
    """Only its own part is not there yet: its copy writes that, and the job ends as well as any other."""
    training = replicated(2, epochs=20)
    training.shape.shards = 1  # so that the other group has nothing to write
    training.job["checkpoint"]["max_bytes_per_second"] = 1000  # four seconds for what ps-0 writes
    counting_job.write(training.job, training.shape, training.folder)
    training.running.start_all()
    training.chief.wait_log("training done")
    training.chief.wait_log("cut marked")
    training["ps-0"].kill()
    training.expect("ps-1")
    assert training.check()["checkpoints_failed"] == 0
    training.chief.wait_log("checkpoint put off")


@pytest.mark.parametrize("replicas", [0, 1])
def test_the_chief_dies_while_the_last_checkpoint_is_written(replicated, replicas):
    """The next one writes it while servers are still about that of the first."""
    training = replicated(2, replicas, epochs=20)
    training.job["checkpoint"]["max_bytes_per_second"] = 1000
    counting_job.write(training.job, training.shape, training.folder)
    training.running.start_all()
    training.chief.wait_log("training done")
    until(lambda: len(list(training.folder.glob("ckpt/*.data-*.tmp"))) == 2, "both servers to write")
    training.chief.kill()
    training.start_again("chief-0")
    training.expect("ps-0", "ps-1")
    assert training.check()["checkpoints_failed"] == 0


def test_a_server_has_a_wrong_address_of_its_backup(replicated):
    """Training goes on, with a copy less, and the log says why."""
    training = replicated(3)
    nobody = Port()
    training.running.addresses["ps-2", "ps-0"] = nobody.address
    training.start()
    training["ps-2"].wait_log(rf'follower out of reach group=2 .*ps=0 address={nobody.address} reason="connection refused')
    training.chief.wait_log("redundancy is not full")
    training.wait_steps(100)
    training.finish()
    nobody.close()


def test_both_copies_are_lost(replicated, run):
    """The home takes the last checkpoint; what that lost is a number, and the groups that have a copy lose nothing."""
    training = replicated(3, epochs=600)
    training.start()
    training.wait_full()
    training.wait_behind_checkpoint(200)
    for role in ("ps-0", "ps-1"):  # where group 0 is
        training[role].kill()
    chief = training.running.http_ports["chief-0"].address
    said = r"^chief-0 +waiting for ps-0 .*ps-1 .*: more than half of the 3 parameter servers have to know"
    training.wait(lambda: re.search(said, run("top", chief, "--once")[1], re.MULTILINE), "top to say what is waited for")
    for role in ("ps-0", "ps-1"):
        training.running.start(role)
    lost = training.chief.wait_log(r"parameter server restored ps=0 lost_updates=(\d+)")
    training.wait_full()
    training.running.expect_all(0)
    result = json.loads((pathlib.Path(training.job["output"]["dir"]) / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["lost_updates"] == lost_updates(training.chief.log()) >= int(lost[1]) > 0
    assert set(re.findall(r"parameter server restored ps=(\d)", training.chief.log())) == {"0"}


def test_all_servers_are_started_again(replicated):
    """The chief knows what the job was, and all groups go back to the last checkpoint."""
    training = replicated(3, epochs=600)
    training.start()
    training.chief.wait_log("checkpoint written")
    training.wait_full()
    for i in range(3):
        training[f"ps-{i}"].kill()
    for i in range(3):
        training.running.start(f"ps-{i}")
    training.wait_full()
    training.running.expect_all(0)
    assert set(re.findall(r"parameter server restored ps=(\d)", training.chief.log())) == set("012")


@pytest.mark.parametrize("replicas", [0, 1])
def test_too_few_servers_know_the_job(replicated, replicas):
    """Of three servers one has what a dead chief left, and none what all have to agree on: nobody waits longer than that."""
    training = replicated(3, replicas, epochs=100000)
    training.job["cluster"]["absence_ms"] = 4000
    counting_job.write(training.job, training.shape, training.folder)
    training.start()
    lost = ("ps-1", "ps-2", "chief-0")
    for role in lost:
        training[role].kill()
    for role in lost[replicas == 0:]:  # without replicas one that does not come back is enough
        training.running.start(role)
    for role in ("chief-0", "ps-0", "ps-2", "worker-0", "worker-1"):
        training[role].expect(138)
    said = "more parameter servers: more than half of the 3 .* and 1 here does" if replicas else "ps-1"
    assert re.search(f"the job cannot go on: for 4000 ms .* it waited for {said}", training.chief.log())


@pytest.mark.parametrize("n_ps, replicas", [(1, 1), (2, 2)])
def test_more_copies_than_servers(replicated, n_ps, replicas):
    training = replicated(n_ps, replicas)
    training.running.start_all()
    training.running.expect_all(2)
    said = f"replicas is {replicas}, must be less than the number of parameter servers, which is {n_ps}"
    assert said in training.chief.log()
