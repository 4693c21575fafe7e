"""Processes die, stall, come late, lose their links: who goes on, who ends, and with which exit code."""
import json
import os
import pathlib
import re
import signal

import pytest
import tiny_job
from processes import Port, children_of, http_get, is_alive, until


def check_every_example_counted(job):
    result = json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["examples"] == job["epochs"] * tiny_job.TRAIN_EXAMPLES
    return result


def expect_names_checkpoint(processes):
    said = "\n".join(process.log() for process in processes)
    assert re.search(r"model-\d+", said), f"nobody names the last checkpoint:\n{said[-3000:]}"


@pytest.mark.threads
def test_killed_worker_does_not_stop_the_job(stalled, job, write_job):
    running, _ = stalled(write_job(job))
    running["worker-1"].kill()
    for role in ("chief-0", "ps-0", "ps-1", "worker-0"):
        running[role].expect(0)
    check_every_example_counted(job)


def test_killed_worker_comes_back_and_trains(stalled, job, write_job):
    running, links = stalled(write_job(job), workers=("worker-0", "worker-1"))
    running["worker-1"].kill()
    # What the dead one had on its way arrives now; it is fenced or counted, never both.
    links["worker-1"].release()
    running.start("worker-1").wait_log("joined")
    links["worker-0"].release()
    running.expect_all(0)
    check_every_example_counted(job)


def test_stopped_worker_is_fenced_and_its_work_done_by_others(stalled, job, write_job):
    running, _ = stalled(write_job(job))
    running["worker-1"].pause()
    for role in ("chief-0", "ps-0", "ps-1", "worker-0"):
        running[role].expect(0)
    check_every_example_counted(job)


def test_cut_link_loses_and_doubles_nothing(stalled, job, write_job):
    running, links = stalled(write_job(job))
    links["worker-1"].cut()
    links["worker-1"].release()
    running.expect_all(0)
    check_every_example_counted(job)


def test_second_process_of_an_index_gives_way(stalled, job, write_job):
    running, links = stalled(write_job(job))
    # A port of its own, so that it gets as far as the greeting.
    first_port, running.ports["worker-0"] = running.ports["worker-0"], Port()
    running.start("worker-0", name="second worker-0").expect(138)
    links["worker-1"].release()
    running.expect_all(0)
    first_port.close()
    check_every_example_counted(job)


@pytest.mark.parametrize("victim", ["ps-1", "chief-0"])
def test_lost_ps_or_chief_ends_the_job_retryably(stalled, job, write_job, victim):
    job["checkpoint"]["every_steps"] = 5
    running, _ = stalled(write_job(job))
    running.wait_running(lambda: list(pathlib.Path(job["checkpoint"]["dir"]).glob("*.index")), "a checkpoint")
    running[victim].kill()
    survivors = [running[role] for role in running.roles if role != victim]
    for process in survivors:
        process.expect(138)
    expect_names_checkpoint(survivors)
    assert not (pathlib.Path(job["output"]["dir"]) / "result.json").exists()


def test_peers_start_in_any_order(cluster, job, write_job):
    running = cluster(write_job(job))
    for role in ("worker-1", "ps-1", "chief-0", "worker-0"):
        running.start(role)
        port = running.http_ports[role].number
        running.wait_running(lambda: http_get(port, "/healthz")[0] == 200, f"{role} to be healthy")
    # Alive, but the cluster is not whole: nobody is ready, and the chief says who is missing.
    assert http_get(running.http_ports["worker-0"].number, "/readyz")[0] == 503
    running["chief-0"].wait_log(r"waiting.*ps-0")
    running.start("ps-0")
    running.expect_all(0)
    check_every_example_counted(job)


def test_a_name_that_does_not_resolve_is_waited_for(cluster, job, write_job):
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    running.addresses[("worker-0", "ps-0")] = "muster-ps-0.invalid:2222"
    worker = running.start("worker-0")
    worker.wait_log(r"muster-ps-0\.invalid|ps-0 \(")
    assert worker.is_running()
    worker.send(signal.SIGTERM)
    worker.expect(143)


def test_peer_of_another_job_is_refused(cluster, job, write_job):
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    running.start("ps-0")
    running.start("chief-0")
    stranger = running.start("worker-0", ["--set", "name=another"])
    stranger.expect(2)
    said = stranger.log()
    assert "another" in said and "tiny" in said, f"it does not name both jobs:\n{said}"
    # Same name, other content: both hashes are said.
    stranger = running.start("worker-0", ["--set", "batch_size=32"])
    stranger.expect(2)
    assert len(set(re.findall(r"\b(?:0x)?[0-9a-f]{16}\b", stranger.log()))) >= 2, stranger.log()
    running.start("worker-0")
    running.expect_all(0)


def test_port_in_use(cluster, job, write_job):
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    running.ports["ps-0"].socket.listen()
    process = running.start("ps-0")
    process.expect(138)
    assert str(running.ports["ps-0"].number) in process.log()


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_role_with_work_left(stalled, job, write_job, number, code):
    running, _ = stalled(write_job(job))
    running["worker-0"].send(number)
    running["worker-0"].expect(code)
    running["chief-0"].send(number)
    running["chief-0"].expect(code)
    assert not (pathlib.Path(job["output"]["dir"]) / "result.json").exists()


def wait_local_training(process, job):
    """The children of `muster local` once the job trains (its first checkpoint is there)."""
    def look():
        assert process.is_running(), f"it ended with {process.popen.returncode}:\n{process.tail()}"
        return list(pathlib.Path(job["checkpoint"]["dir"]).glob("*.index"))
    until(look, lambda: f"the first checkpoint; it said:\n{process.tail()}")
    children = children_of(process.pid)
    assert len(children) >= 5, f"chief, 2 workers and 2 parameter servers, but {len(children)} children"
    return children


@pytest.fixture
def endless_local(muster, job, write_job):
    """`muster local` on a job that no test waits for the end of, and its children."""
    job["epochs"] = 1_000_000
    job["checkpoint"].update(every_steps=20, keep=2)
    process = muster("local", write_job(job), "--workers", "2", "--ps", "2")
    return process, wait_local_training(process, job)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_local_cluster(endless_local, number, code):
    process, children = endless_local
    process.send(number)
    process.expect(code)
    assert not [pid for pid in children if is_alive(pid)], "it left processes behind"


def test_no_orphan_when_the_supervisor_is_killed(endless_local):
    process, children = endless_local
    process.kill()
    until(lambda: not [pid for pid in children if is_alive(pid)],
          lambda: f"the children {[pid for pid in children if is_alive(pid)]} to end with their supervisor")


def role_of(pid):
    """The role in a process's TF_CONFIG, from /proc; "" if it is gone."""
    try:
        variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    configs = [json.loads(one.partition("=")[2]) for one in variables if one.startswith("TF_CONFIG=")]
    return "%s-%s" % (configs[0]["task"]["type"], configs[0]["task"]["index"]) if configs else ""


def kill_child(children, role):
    victims = [pid for pid in children if role_of(pid) == role]
    assert len(victims) == 1, f"{len(victims)} children are {role}"
    # A child of a process that this test started, found by its role.
    os.kill(victims[0], signal.SIGKILL)
    return victims[0]


def test_local_restarts_a_killed_worker(endless_local, job):
    process, children = endless_local
    victim = kill_child(children, "worker-1")
    until(lambda: [pid for pid in children_of(process.pid) if pid != victim and role_of(pid) == "worker-1"],
          lambda: f"another worker 1; it said:\n{process.tail()}")
    assert process.is_running()


def test_local_ends_with_a_lost_ps_and_says_why(endless_local):
    process, children = endless_local
    kill_child(children, "ps-0")
    process.expect(138)
    said = process.log()
    assert "ps-0" in said or "ps/0" in said
    expect_names_checkpoint([process])
    assert not [pid for pid in children if is_alive(pid)], "it left processes behind"
