"""Fixtures: the binary under test, the tiny data set, a job in a folder of its own, clusters of real processes.

MUSTER_BINARY names the binary (tools/test sets it; else the newest of build/{asan,release,debug}/muster).
"""
import functools
import os
import pathlib
import resource
import signal
import subprocess

import pytest

import hosts
import link
import processes
import tiny_job
from on_hosts import OnHosts

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_configure(config):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # inherited by what the tests kill
    config.addinivalue_line("markers", "threads: also run under ThreadSanitizer by tools/test-threads")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.test_failed = report.failed


@pytest.fixture(scope="session")
def binary():
    named = os.environ.get("MUSTER_BINARY")
    candidates = [pathlib.Path(named)] if named else [ROOT / "build" / preset / "muster"
                                                      for preset in ("asan", "release", "debug")]
    existing = [path for path in candidates if path.exists()]
    if not existing:
        pytest.exit(f"no muster binary at {', '.join(map(str, candidates))}; build one with tools/build asan", 2)
    return max(existing, key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The folder of the data set, written once."""
    return tiny_job.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def job(data, tmp_path):
    """The tiny job as a dictionary; change keys, then write_job()."""
    described = tiny_job.job(data, tmp_path)
    # Short so that tests see a silent peer soon; long enough for a sanitizer build on a busy machine.
    described["cluster"] = {"heartbeat_ms": 200, "lease_ms": 2000}
    return described


@pytest.fixture
def run(binary, tmp_path):
    """(code, stdout, stderr) of muster with these arguments, in the test's folder."""
    def to_end(*arguments):
        done = subprocess.run([str(binary), *map(str, arguments)], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr
    return to_end


@pytest.fixture
def write_job(tmp_path):
    return lambda described: tiny_job.write(described, tmp_path)


@pytest.fixture
def started(request, tmp_path):
    """Processes that a test starts by hand: list them here and they are ended and their logs shown on failure."""
    listed = []
    yield listed
    for process in listed:
        # A supervisor gets the chance to end its children; they die with it in any case.
        process.resume()
        process.send(signal.SIGKILL)
        process.popen.wait()
    if getattr(request.node, "test_failed", False):
        for process in listed:
            print(f"--- {process.name} (exit {process.popen.returncode})\n{process.tail(40)}")
        for log in sorted(tmp_path.glob("out/logs/*")):
            print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:]))
    reported = [process.name for process in listed if processes.SANITIZER.search(process.log())]
    reported += [log.name for log in tmp_path.glob("out/logs/*") if processes.SANITIZER.search(log.read_text(errors="replace"))]
    assert not reported, f"sanitizer reports in the logs of {', '.join(reported)}"


@pytest.fixture
def muster(binary, tmp_path, started):
    """Starts `muster …` with these arguments; the process is ended with the test."""
    def start(*arguments, environment=None, pass_fds=()):
        process = processes.Process(f"muster-{len(started)}", [binary, *arguments], environment or {}, tmp_path, pass_fds)
        started.append(process)
        return process
    return start


@pytest.fixture
def cluster(request, binary, tmp_path):
    """A Cluster of a written job: cluster(job_path, n_workers=2, n_ps=2); another kind has other hosts."""
    made = []

    def make(job_path, n_workers=2, n_ps=2, kind=processes.Cluster):
        made.append(kind(binary, tmp_path, job_path, n_workers, n_ps))
        return made[-1]
    yield make
    reported = []
    for one in made:
        one.close()
        reported += one.sanitizer_reports()
        if getattr(request.node, "test_failed", False) or reported:
            print(one.logs())
    assert not reported, f"sanitizer reports in the logs of {', '.join(reported)}"


@pytest.fixture
def network(tmp_path):
    """A network that a test makes hosts in; gone with the test."""
    if not hosts.can_make_networks():
        pytest.skip(hosts.WHY_NOT)
    made = hosts.Network(tmp_path)
    yield made
    made.close()


@pytest.fixture
def on_hosts(network, cluster, run, job, tmp_path):
    """A counting job with one host a role: on_hosts(n_ps=3, replicas=1, …) is an OnHosts."""
    return functools.partial(OnHosts, network, cluster, run, job, tmp_path)


@pytest.fixture
def stalled(cluster, make_link):
    """A cluster in the middle of its job and unable to end it: stalled(job_path, workers) gives (cluster, links). These
    workers have trained some steps and their links to ps-0 are held; the job goes on when the test releases the links, or
    loses the workers."""
    def start(job_path, workers=("worker-1",), n_ps=2, hold_at=100_000):
        made = cluster(job_path, n_ps=n_ps)
        links = {worker: make_link(made.ports["ps-0"].address, hold_at=hold_at) for worker in workers}
        for worker, held in links.items():
            made.addresses[(worker, "ps-0")] = held.address
        # The others come later, or they might train all there is before these are stalled.
        for role in made.roles:
            if role in workers or not role.startswith("worker"):
                made.start(role)
        made.wait_running(lambda: all(held.held for held in links.values()), f"{' and '.join(workers)} to train some steps")
        for role in made.roles:
            if role not in made.processes:
                made.start(role).wait_log("first step done")
        return made, links
    return start


@pytest.fixture
def make_link():
    """A Link to an address; closed with the test."""
    made = []

    def make(target, hold_at=None, **keywords):
        made.append(link.Link(target, hold_at, **keywords))
        return made[-1]
    yield make
    for one in made:
        one.close()
