"""The chief is killed when its job is over, servers have been told and it has not ended: whoever is started again hears that the job
was finished, and nothing is trained again."""
import pathlib

import pytest

import counting_job
from counting_job import Shape

LEASE_MS = 6000  # each half of it is time for what is done here


class Ending:
    """A counting job with a copy of everything."""

    def __init__(self, cluster, run, job, folder):
        self.shape, self.run, self.job, self.folder = Shape(shards=2, epochs=200), run, job, folder
        job["replicas"] = 1
        job["cluster"]["lease_ms"] = LEASE_MS
        self.running = cluster(counting_job.write(job, self.shape, folder), 2, 2)
        self.result = pathlib.Path(job["output"]["dir"]) / "result.json"
        self.note = self.result.parent / ".finished"

    def start(self):
        self.running.start_all()
        self.running.wait_training()

    def come_to_the_end(self):
        """All have been told that could be: a worker is gone and a server stands still, for which the chief waits."""
        self.start()
        self.running["worker-1"].kill()
        self.running["chief-0"].wait_log("job finished")
        self.running["worker-0"].expect(0)
        self.running["ps-1"].pause()
        self.running["ps-0"].expect(0)

    def check(self, chief_log):
        counting_job.check(self.run, self.job, self.shape, self.folder, chief_log)


@pytest.fixture
def ending(cluster, run, job, tmp_path):
    return Ending(cluster, run, job, tmp_path)


@pytest.mark.parametrize("back", [["ps-1"], ["ps-0", "ps-1"], []], ids=["one empty", "all empty", "none"])
def test_who_is_started_again_hears_of_the_end(ending, back):
    """One server is gone for good and the other one empty; or both are, where a supervisor starts what ended well, too; or none comes.
    The chief waits half a lease for a worker that is gone, then half a lease for ps-1, and is killed with it."""
    running = ending.running
    ending.come_to_the_end()
    assert running["chief-0"].is_running()
    running["chief-0"].kill()
    running["ps-1"].kill()
    first_log, before = running["chief-0"].log(), ending.result.read_bytes()
    again = {role: running.start(role) for role in back + ["chief-0"]}
    for process in again.values():
        process.expect(0)
    assert ending.result.read_bytes() == before and not ending.note.exists()
    assert "chief: was finished" in again["chief-0"].log() and "chief: running" not in again["chief-0"].log()
    ending.check(first_log)


def test_who_starts_all_of_it_later_gets_another_run(ending):
    """The note is of a run that is gone: nobody waits for its chief any more. (tests/unit/test_chief_ending.c has the other ways to know.)"""
    running = ending.running
    ending.come_to_the_end()
    running["chief-0"].kill()
    running["ps-1"].kill()
    ending.note.write_text(ending.note.read_text().split()[0] + " 1\n")
    before = ending.result.read_bytes()
    again = {role: running.start(role) for role in ("ps-0", "ps-1", "chief-0", "worker-0", "worker-1")}
    for process in again.values():
        process.expect(0)
    assert "chief: begins anew" in again["chief-0"].log() and "chief: running" in again["chief-0"].log()
    assert ending.result.read_bytes() != before and not ending.note.exists()
    ending.check(again["chief-0"].log())


def test_what_another_job_noted_is_none_of_its(ending):
    ending.result.parent.mkdir(exist_ok=True)
    ending.result.write_text("{}")
    ending.note.write_text("0123456789abcdef\n")
    ending.start()
    assert not ending.note.exists()
    ending.running.expect_all(0)
    ending.check(ending.running["chief-0"].log())
    assert not ending.note.exists()
