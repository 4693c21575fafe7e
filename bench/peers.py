"""The entries that hold Muster against other systems that train over a cluster: TensorFlow's ParameterServerStrategy and
PyTorch's DistributedDataParallel. Each peer first shows which of its settings suits it best; that one counts."""
import contextlib
import json
import os
import selectors
import subprocess
import time

from entries import N_PS, N_WORKERS, Comparison, Entry, muster_side
from pairs import PeerMissing, RunFailed, end_group, execute, session_seconds, side_environment
from venvs import find_tensorflow, find_torch

HERE = os.path.dirname(os.path.abspath(__file__))
CLOSURE_SIZES = (1, 8, 16, 32, 64)  # steps; the first two always have a line of their own
BUCKET_SIZES = ("0.25", "0.5", "1", "2", "25")  # MB; the gradients are 1.06 MB, 25 is PyTorch's default
START_LIMIT_S = 180
ANSWER_LIMIT_S = 180
KEY = "examples_per_second"


class TensorFlowCluster:
    """tf_psv2.py, running: a start takes longer than a run, so one cluster serves all runs of an entry."""

    def __init__(self, python, log_path):
        self.log_path = log_path
        os.makedirs(os.path.dirname(log_path), exist_ok=True)
        command = [python, os.path.join(HERE, "tf_psv2.py"), str(N_WORKERS), str(N_PS)]
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            env=side_environment() | {"TF_CPP_MIN_LOG_LEVEL": "2"}, start_new_session=True)
        self.unread = b""
        try:
            self.first_step_seconds = self.read_answer(START_LIMIT_S)["first_step_seconds"]
        except BaseException:
            self.close()
            raise

    def read_answer(self, limit_s):
        """The next line of its output as JSON."""
        end = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.unread:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise RunFailed(f"tf_psv2.py did not answer within {limit_s} s{self.last_words()}")
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    raise RunFailed(f"tf_psv2.py ended{self.last_words()}")
                self.unread += piece
        line, self.unread = self.unread.split(b"\n", 1)
        return json.loads(line)

    def last_words(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return "".join("\n  " + line for line in log.read().strip().splitlines()[-12:])

    def measure(self, batch, steps, seconds):
        try:
            self.process.stdin.write(f"{batch} {steps} {seconds}\n".encode())
            self.process.stdin.flush()
        except OSError as error:
            raise RunFailed(f"tf_psv2.py takes no orders: {error.strerror}{self.last_words()}") from error
        return {KEY: self.read_answer(ANSWER_LIMIT_S)[KEY]}

    def close(self):
        end_group(self.process)
        self.process.stdin.close()
        self.process.stdout.close()


class ClosureSide:
    """A side that has a running cluster train with closures of some steps."""

    def __init__(self, cluster, batch, steps, seconds):
        self.cluster = cluster
        self.order = (batch, steps, seconds)

    def __call__(self):
        return self.cluster.measure(*self.order)

    def own_seconds(self):
        return session_seconds(self.cluster.process.pid)


def try_out(pairs, name, side):
    """The values of one run that was not disturbed."""
    run = pairs.run_once(name, side)
    if run is None:
        raise RunFailed(f"every try of {name} was disturbed by other processes; a quiet machine is needed")
    return run["values"]


def open_ddp(setting, batch, pairs, say):
    """DDP's side and comparison, after its best bucket size has been found."""
    python = find_torch(setting, say)

    def rates(*buckets):
        text = execute([python, os.path.join(HERE, "torch_ddp.py"), str(N_WORKERS), str(batch), str(setting.seconds),
                        *buckets], 300)
        try:
            return json.loads(text.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise RunFailed(f"torch_ddp.py: expected a line of JSON, got: {text.strip()[-400:]}") from error

    say("  DDP's bucket sizes, in MB")
    tried = try_out(pairs, "ddp", lambda: rates(*BUCKET_SIZES))
    best = max(tried, key=tried.get)
    say(f"  best: buckets of {best} MB")
    return [("ddp", lambda: {KEY: rates(best)[best]})], [Comparison(KEY, KEY, "torch-ddp", "ddp")]


class PeersEntry(Entry):
    """Muster and every peer in turn; each peer has its line, TensorFlow one for each closure size that is of interest."""

    def __init__(self, setting, batch, epochs, say):
        name = f"peers-b{batch}"
        super().__init__(name, f"784-300-100-10, SGD, {N_WORKERS} workers, batches of {batch}", [], "examples/s",
                         "tensorflow-psv2, torch-ddp", [])
        self.setting = setting
        self.batch = batch
        self.epochs = epochs
        self.say = say

    def muster(self):
        changes = {"batch_size": self.batch, "epochs": self.setting.epochs(self.epochs)}
        command = ["local", "--workers", str(N_WORKERS), "--ps", str(N_PS)]
        return muster_side(self.setting, self.name, command, changes, KEY, KEY)

    def open_tensorflow(self, stack, pairs):
        """Its sides and comparisons, after its best closure size has been found."""
        python = find_tensorflow(self.setting, self.say)
        cluster = TensorFlowCluster(python, os.path.join(self.setting.scratch, f"{self.name}-tensorflow.log"))
        stack.callback(cluster.close)
        self.say(f"  TensorFlow's cluster took its first step after {cluster.first_step_seconds:.1f} s; now its closure sizes")
        sides = {n: ClosureSide(cluster, self.batch, n, self.setting.seconds) for n in CLOSURE_SIZES}
        rates = {}
        for n, side in sides.items():
            cluster.measure(self.batch, n, 0.1)  # traced and warm before it is watched
            rates[n] = try_out(pairs, f"psv2-{n}", side)[KEY]
        best = max(rates, key=rates.get)
        self.say(f"  best: {best} steps a closure")
        comparisons = [Comparison(f"{KEY}_{n}_step{'s' if n > 1 else ''}_a_closure", KEY, "tensorflow-psv2", f"psv2-{n}")
                       for n in CLOSURE_SIZES[:2]]
        comparisons.append(Comparison(f"{KEY}_best_closure", KEY, "tensorflow-psv2", f"psv2-{best}"))
        return [(f"psv2-{n}", sides[n]) for n in CLOSURE_SIZES if n in (*CLOSURE_SIZES[:2], best)], comparisons

    def open_torch(self, _, pairs):
        return open_ddp(self.setting, self.batch, pairs, self.say)

    @contextlib.contextmanager
    def opened(self, pairs):
        sides, comparisons = [("muster", self.muster())], []
        with contextlib.ExitStack() as stack:
            # PyTorch first: it tries its settings before TensorFlow's idle servers are there.
            for open_peer in (self.open_torch, self.open_tensorflow):
                try:
                    more_sides, more_comparisons = open_peer(stack, pairs)
                except PeerMissing as why:
                    self.say(f"  SKIPPED: {why}")
                    self.skipped.append(str(why))
                    continue
                sides += more_sides
                comparisons += more_comparisons
            if not comparisons:
                raise PeerMissing("no peer can be installed")
            yield sides, comparisons


def peer_entries(setting, say):
    """Muster's epochs make runs of about six seconds."""
    return [PeersEntry(setting, 64, 16, say), PeersEntry(setting, 256, 24, say)]
