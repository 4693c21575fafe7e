"""Processes die, stall, come late, lose their links: who goes on, who ends, and with which exit code."""
import json
import pathlib
import re
import signal
import time

import pytest
import tiny_job
from processes import Port, http_get, metric

SOON_S = 30  # a call that waits for a round takes a minute before it is given up


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


def test_a_worker_that_comes_too_late_is_told(cluster, job, write_job):
    job["cluster"]["lease_ms"] = 8000
    running = cluster(write_job(job))
    running.roles.remove("worker-1")
    others = json.loads(running.tf_config("chief-0"))
    others["cluster"]["worker"].append(running.ports["worker-1"].address)
    running.start("chief-0", environment={"TF_CONFIG": json.dumps(others)})
    for role in ("ps-0", "ps-1", "worker-0"):
        running.start(role)
    running["chief-0"].wait_log("job finished")
    others["task"] = {"type": "worker", "index": 1}
    late = running.start("worker-1", environment={"TF_CONFIG": json.dumps(others)})
    late.expect(0)  # the chief stays half a lease for those that it was told of
    running.expect_all(0)


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


def test_a_fenced_worker_hears_why(cluster, job, write_job):
    """From whoever says it first: the chief, or a server, and then the chief as it gives another number."""
    job["epochs"] = 1_000_000
    running = cluster(write_job(job))
    running.start_all()
    running["worker-1"].wait_log("first step done")
    running["worker-1"].pause()
    why = "nothing was heard of it for cluster.lease_ms"
    running["chief-0"].wait_log(rf'worker fenced worker=1 number=1 .* reason="{why}"')
    running["worker-1"].resume()
    running["worker-1"].wait_log(rf'fenced number=1 reason="{why}"|admitted again number=2 before=1 reason="{why}"')


@pytest.mark.parametrize("staleness", ["async", 0])
def test_a_worker_that_stood_still_is_fenced_once(cluster, job, write_job, staleness):
    """Its signs of life count again, also where it asks the chief for nothing, as in rounds."""
    job["epochs"] = 1_000_000
    job["consistency"] = {"staleness": staleness}
    running = cluster(write_job(job))
    running.start_all()
    running["worker-1"].wait_log("first step done")
    running["worker-1"].pause()
    running["chief-0"].wait_log("worker fenced worker=1 number=1 ")
    running["worker-1"].resume()
    running["worker-1"].wait_log("admitted again number=2 ")
    until_s = time.monotonic() + 2 * job["cluster"]["lease_ms"] / 1000
    running.wait_running(lambda: time.monotonic() > until_s, "two leases to be over")
    assert running["chief-0"].log().count("worker fenced worker=1") == 1


def test_all_workers_are_fenced_in_a_round(cluster, make_link, job, write_job):
    """Who waits for the round hears so at once, and not when its call has taken too long: there is nobody else to end it."""
    job["epochs"] = 1_000_000
    job["consistency"] = {"staleness": 0}
    running = cluster(write_job(job))
    link = make_link(running.ports["ps-0"].address, hold_at=50_000)
    running.addresses[("worker-1", "ps-0")] = link.address
    running.start_all()
    held = "muster_ps_round_contributions_held"
    running.wait_running(lambda: link.held and all(metric(running.http_ports[ps].number, held) >= 1 for ps in ("ps-0", "ps-1")),
                         "worker-0 to wait for worker-1")
    for worker in ("worker-0", "worker-1"):
        running[worker].pause()
    for i in range(2):
        running["chief-0"].wait_log(f"worker fenced worker={i} number=1 ")
    running["worker-0"].resume()
    running["worker-0"].wait_log("admitted again number=2 ", SOON_S)
    chief = running.http_ports["chief-0"].number
    steps = metric(chief, "muster_chief_step")
    running.wait_running(lambda: metric(chief, "muster_chief_step") > steps + 2, "rounds of worker-0 alone")


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
    job["cluster"]["absence_ms"] = 4000
    # Late enough for a checkpoint before: no cut can be made while a push is half done.
    running, _ = stalled(write_job(job), hold_at=500_000)
    running.wait_running(lambda: list(pathlib.Path(job["checkpoint"]["dir"]).glob("*.index")), "a checkpoint")
    running[victim].kill()
    survivors = [running[role] for role in running.roles if role != victim]
    for process in survivors:
        process.expect(138)
    expect_names_checkpoint(survivors)
    assert not (pathlib.Path(job["output"]["dir"]) / "result.json").exists()


def test_a_parameter_server_that_no_chief_greets(cluster, job, write_job):
    """As one does that is started again just when its job ends: nobody comes to tell it."""
    job["cluster"]["absence_ms"] = 1000
    server = cluster(write_job(job)).start("ps-0")
    server.expect(138)
    assert "no chief greeted this parameter server within 1000 ms (cluster.absence_ms): the job is over" in server.log()


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


def test_a_worker_that_cuts_wait_for_in_vain_is_expelled(stalled, job, write_job):
    """It lives, but a push of it reached one server and not the other: nothing could be saved while it is in."""
    job["checkpoint"]["every_steps"] = 5
    job["cluster"] = {"heartbeat_ms": 100, "lease_ms": 1000}  # after 16 it is cut off: the first cut must be tried within four
    running, links = stalled(write_job(job))
    running["chief-0"].wait_log(r"worker expelled worker=1 number=1")
    running["chief-0"].wait_log(r"worker fenced worker=1 number=1 done=\d+ torn=1")
    links["worker-1"].release()
    running.expect_all(0)
    assert list(pathlib.Path(job["checkpoint"]["dir"]).glob("*.index"))
    assert json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())["steps"] == 250
