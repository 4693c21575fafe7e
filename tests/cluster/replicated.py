"""A counting job whose parameter servers have copies of each other's shards, as the tests that lose servers run it."""
import json
import pathlib

import counting_job
from counting_job import Shape
from processes import until


class Replicated:
    """A counting job whose servers have copies of each other's shards."""

    def __init__(self, cluster, run, job, folder, n_ps, replicas, **more):
        # Long enough that all a test does to it comes before its end.
        self.shape = Shape(shards=n_ps, epochs=more.pop("epochs", 600), **more)
        self.run, self.job, self.folder = run, job, folder
        job["replicas"] = replicas
        job["checkpoint"] = {**job.get("checkpoint", {}), "every_steps": 2000}
        self.running = cluster(counting_job.write(job, self.shape, folder), 2, n_ps)

    def __getitem__(self, role):
        return self.running[role]

    @property
    def chief(self):
        return self.running["chief-0"]

    def start(self, n_updates=400):
        self.running.start_all()
        self.running.wait_running(lambda: self.running.updates() > n_updates, "training")

    def step(self):
        return self.running.metric("chief-0", "muster_chief_step")

    def wait_full(self):
        """Every group has all its copies: the next server may be lost."""
        self.wait(lambda: self.running.metric("chief-0", "muster_redundancy_full") == 1, "full redundancy")

    def wait(self, condition, what):
        """Waits, while some servers may be gone."""
        def look():
            assert self.chief.is_running(), f"the job ended before that:\n{self.chief.tail()}"
            return condition()
        return until(look, what)

    def wait_steps(self, n_more):
        """It trains on, without whom was lost."""
        begun = self.step()
        self.wait(lambda: self.step() > begun + n_more, "more steps")

    def expect(self, *roles):
        """The job ends well, and so do these roles."""
        for role in ("chief-0", "worker-0", "worker-1", *roles):
            self[role].expect(0)

    def check(self):
        """Every example once an epoch, but for torn batches; nothing was lost. Returns result.json."""
        counting_job.check(self.run, self.job, self.shape, self.folder, self.running.log_of("chief-0"))
        result = json.loads((pathlib.Path(self.job["output"]["dir"]) / "result.json").read_text())
        assert result["lost_updates"] == 0, result
        return result
