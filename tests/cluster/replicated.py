"""Jobs whose parameter servers have copies of each other's shards, as the tests that lose servers run them.

They have no end of their own, for a fast machine might be there before the test has done what it is to do: finish() tells them to
stop, and another job goes on from their checkpoint to the end of an epoch, where all there is can be counted.
"""
import json
import pathlib
import re
import signal

import counting_job
from counting_job import Shape
from processes import newest_checkpoint, until

ENDLESS = 1_000_000  # epochs
STEPS = "muster_worker_steps_total"


def output_of(path):
    return pathlib.Path(json.loads(pathlib.Path(path).read_text())["output"]["dir"])


def go_on(run, path, epochs, n_workers=1, n_ps=2):
    """Trains to the end of this epoch, from the last checkpoint; returns what the chief said."""
    code, out, error = run("local", "--workers", n_workers, "--ps", n_ps, path, "--set", "checkpoint.resume=true",
                           "--set", "replicas=0", "--set", f"epochs={epochs}")
    assert code == 0, out + error
    said = (output_of(path) / "logs" / "chief-0.log").read_text()
    assert "progress counted by" not in said, said
    return said


def epoch_after(shape, step):
    """One that a counting job has not begun at that step: each worker holds two leases at most, and each of one epoch."""
    batches_a_step = shape.workers if shape.consistency["staleness"] == 0 else 1
    return step * batches_a_step // shape.n_batches + 2 * shape.workers + 2


class Replicated:
    """One of these jobs, whatever it trains."""

    def __init__(self, running, path, run, arguments=()):
        self.running, self.path, self.run, self.arguments = running, path, run, arguments
        self.n_roles = 0  # that were noted

    def __getitem__(self, role):
        return self.running[role]

    @property
    def chief(self):
        return self.running["chief-0"]

    def metric(self, name):
        return self.running.metric("chief-0", name)

    def step(self):
        return self.metric("muster_chief_step")

    def start_again(self, role):
        return self.running.start(role, self.arguments)

    def wait(self, condition, what):
        """Waits, while some servers may be gone."""
        def look():
            assert self.chief.is_running(), f"the job ended before that:\n{self.chief.tail()}"
            return condition()
        return until(look, what)

    def wait_steps(self, n_more):
        """It trains on, without whom was lost."""
        self.wait(lambda: self.step() > 0, "the chief, who may be another one, to say how far it is")
        begun = self.step()
        self.wait(lambda: self.step() > begun + n_more, "more steps")

    def wait_behind_checkpoint(self, n_more):
        """So many steps are known that the newest checkpoint does not have."""
        self.chief.wait_log("checkpoint written")
        self.wait(lambda: self.step() > newest_checkpoint(self.chief.log()) + n_more, "steps behind the checkpoint")

    def wait_rounds(self, n_more):
        begun = self.metric("muster_chief_round")
        self.wait(lambda: self.metric("muster_chief_round") >= begun + n_more, "more rounds")

    def wait_full(self):
        """Every group has all its copies: the next server may be lost."""
        self.wait(lambda: self.metric("muster_redundancy_full") == 1, "full redundancy")

    def roles(self):
        """All roles that were acted on so far, each as who has what of every group: [["ps-0 > ps-1", "ps-1 > ps-0"], …]."""
        return [groups.split(", ") for groups in re.findall(r'roles are="[\d.]+: ([^"]*)"', self.running.log_of("chief-0"))]

    def note_roles(self):
        self.n_roles = len(self.roles())

    def wait_apart(self, *servers):
        """Roles since note_roles under which no group is on all of these, or on the only one."""
        def are_apart(groups):
            return not any(all(server in group for server in servers) for group in groups)
        self.wait(lambda: any(map(are_apart, self.roles()[self.n_roles:])), f"no group to be on {' and '.join(servers)}")

    def wait_full_again(self):
        """The chief has seen what happened since note_roles, and all copies are there again."""
        self.wait(lambda: len(self.roles()) > self.n_roles, "new roles")
        self.wait_full()

    def stop(self, *away):
        """The chief writes a checkpoint and tells the others, but who is away. Returns the step of the checkpoint."""
        self.chief.send(signal.SIGTERM)
        self.chief.expect(143)
        for role in self.running.roles[1:]:
            if role not in away:
                self[role].expect(138)
        done = int(re.search(r"chief: stopping .*steps=(\d+)", self.chief.log())[1])
        written = newest_checkpoint(self.chief.log())
        assert written >= done, self.chief.tail()
        return written


class Counting(Replicated):
    """A counting job (counting_job.py)."""

    def __init__(self, cluster, run, job, folder, n_ps, replicas, n_workers=2, epochs=ENDLESS, **more):
        self.shape, self.job, self.folder = Shape(shards=n_ps, epochs=epochs, workers=n_workers, **more), job, folder
        job["replicas"] = replicas
        job["checkpoint"] = {**job.get("checkpoint", {}), "every_steps": 2000}
        path = counting_job.write(job, self.shape, folder)
        super().__init__(cluster(path, n_workers, n_ps), path, run)

    def start(self, n_updates=400):
        self.running.start_all()
        self.running.wait_running(lambda: self.running.updates() > n_updates, "training")
        for worker in ("worker-0", "worker-1"):  # both, or one may not yet have reached whom it is cut off from
            self[worker].wait_log("first step done")

    def expect(self, *roles):
        """The job ends well by itself, and so do these roles."""
        for role in ("chief-0", "worker-0", "worker-1", *roles):
            self[role].expect(0)

    def check(self, said=None):
        """Every example once an epoch, but for torn batches; nothing was lost. Returns result.json. said: by who went on."""
        chief_log = self.running.log_of("chief-0") + (said or "")
        counting_job.check(self.run, self.job, self.shape, self.folder, chief_log, is_resumed=said is not None)
        result = json.loads((output_of(self.path) / "result.json").read_text())
        assert result["lost_updates"] == 0, result
        return result

    def wait_workers(self):
        """Each trains more than the leases that it can have had: it has found the chief, which may be another one."""
        workers = [role for role in self.running.roles if role.startswith("worker")]
        begun = {worker: self.running.metric(worker, STEPS) for worker in workers}
        for worker in workers:
            def has_trained():
                assert self[worker].is_running(), f"{worker} ended before that:\n{self[worker].tail()}"
                return self.running.metric(worker, STEPS) > begun[worker] + 2 * self.shape.n_batches
            self.wait(has_trained, f"{worker} to train:\n{self[worker].tail()}")

    def finish(self, *away, n_torn=0):
        """Ends it and counts; torn are batches of fenced workers, at most."""
        self.wait_workers()
        self.shape.epochs = epoch_after(self.shape, self.stop(*away))
        result = self.check(go_on(self.run, self.path, self.shape.epochs, n_ps=self.shape.shards))
        assert result["torn"] <= n_torn, result
        return result


class Rounds(Replicated):
    """Synchronous rounds: the bits say what was lost or done twice."""

    def __init__(self, running, path, run, number, n_batches, arguments=()):
        super().__init__(running, path, run, arguments)
        self.number, self.n_batches = number, n_batches  # of its folders; of an epoch
        self.n_workers = sum(role.startswith("worker") for role in running.roles)

    def finish(self):
        """Ends it; returns how many epochs that came to."""
        epochs = self.stop() * self.n_workers // self.n_batches + 2  # as many at most, also where a round had fewer workers
        go_on(self.run, self.path, epochs, self.n_workers)
        return epochs
