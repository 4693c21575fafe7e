"""The chief is killed when its job is over, servers have been told and it has not ended: whoever is started again hears that the job
was finished, and nothing is trained again."""
import pathlib

import pytest

import counting_job
from replicated import Replicated

LEASE_MS = 6000  # each half of it is time for what is done here


def end_of(training):
    return pathlib.Path(training.job["output"]["dir"]) / "result.json", pathlib.Path(training.job["output"]["dir"]) / ".finished"


@pytest.fixture
def ended(cluster, run, job, tmp_path):
    """A job with a copy of everything. Its chief waits half a lease for a worker that is gone, then half a lease for ps-1, and is
    killed with it."""
    job["cluster"]["lease_ms"] = LEASE_MS
    training = Replicated(cluster, run, job, tmp_path, 2, 1, epochs=40)
    training.start(50)
    training["worker-1"].kill()
    training.chief.wait_log("job finished")
    training["worker-0"].expect(0)
    training["ps-1"].pause()
    training["ps-0"].expect(0)
    assert training.chief.is_running()
    training.chief.kill()
    training["ps-1"].kill()
    training.first_log = training.chief.log()
    return training


@pytest.mark.parametrize("back", [["ps-1"], ["ps-0", "ps-1"], []], ids=["one empty", "all empty", "none"])
def test_who_is_started_again_hears_of_the_end(ended, run, job, tmp_path, back):
    """One server is gone for good and the other one empty; or both are, where a supervisor starts what ended well, too; or none comes."""
    result, note = end_of(ended)
    before = result.read_bytes()
    for role in back + ["chief-0"]:
        ended.running.start(role)
    for role in back + ["chief-0"]:
        ended[role].expect(0)
    assert result.read_bytes() == before and not note.exists()
    assert "chief: was finished" in ended.chief.log() and "chief: running" not in ended.chief.log()
    counting_job.check(run, job, ended.shape, tmp_path, ended.first_log)


def test_what_another_job_noted_is_none_of_its(cluster, run, job, tmp_path):
    training = Replicated(cluster, run, job, tmp_path, 2, 1, epochs=40)
    result, note = end_of(training)
    result.parent.mkdir(exist_ok=True)
    result.write_text("{}")
    note.write_text("0123456789abcdef\n")
    training.running.start_all()
    training.running.wait_running(lambda: training.running.updates() > 50, "training")
    assert not note.exists()
    training.running.expect_all(0)
    training.check()
    assert not note.exists()
