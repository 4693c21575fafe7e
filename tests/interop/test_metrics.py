"""/metrics of every role, read by Prometheus's own parser, and all of it explained in docs/operations.md.

MUSTER_BINARY names the program (tests/interop/run sets it); without it or without the parser the tests are skipped.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

parser = pytest.importorskip("prometheus_client.parser")

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))
import tiny_job  # noqa: E402
from processes import until  # noqa: E402

ROLES = {"chief": 1, "worker": 2, "ps": 2, "evaluator": 1}


@pytest.fixture
def addresses(tmp_path):
    """{role-index: address of its HTTP port} of a cluster in the middle of its job."""
    if "MUSTER_BINARY" not in os.environ:
        pytest.skip("MUSTER_BINARY does not name the program")
    tiny_job.write_data(tmp_path)
    job = tiny_job.job(tmp_path, tmp_path)
    job.update(epochs=1000000, eval={"every": "epoch"})
    path = tiny_job.write(job, tmp_path)
    process = subprocess.Popen([os.environ["MUSTER_BINARY"], "local", str(path), "--workers", "2", "--ps", "2",
                                "--evaluators", "1"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=(tmp_path / "said").open("w"))
    where = tmp_path / "out" / "local.json"
    try:
        until(lambda: where.exists() and where.read_text().endswith("}"), "local.json")
        listed = {f"{role['role']}-{role['index']}": role["http"] for role in json.loads(where.read_text())["roles"]}
        until(lambda: value_of(scrape(listed["worker-0"]), "muster_worker_examples_total") > 0, "a worker to train")
        yield listed
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def scrape(address):
    """{family: Metric}; the parser raises on anything that is not the format."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = answer.read().decode()
    except OSError:
        return {}
    families = list(parser.text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family is listed twice"
    return {family.name: family for family in families}


def samples(families):
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families.values() for sample in family.samples}


def value_of(families, name):
    return sum(value for (sample, _), value in samples(families).items() if sample == name)


def test_every_role_is_understood(addresses):
    assert sorted(addresses) == sorted(f"{role}-{i}" for role, n in ROLES.items() for i in range(n))
    documented = set(re.findall(r"`(muster_[a-z0-9_]+)", (ROOT / "docs" / "operations.md").read_text()))
    for role, address in addresses.items():
        families = scrape(address)
        assert families, role
        for family in families.values():
            assert family.documentation and family.type in ("counter", "gauge", "histogram"), (role, family)
            if family.name.startswith("muster_"):
                named = {sample.name for sample in family.samples} | {family.name}
                assert named & documented, f"{role}: {family.name} is not in docs/operations.md"


def test_counters_only_grow(addresses):
    first = {role: scrape(address) for role, address in addresses.items()}
    until(lambda: value_of(scrape(addresses["worker-0"]), "muster_worker_examples_total") >
          value_of(first["worker-0"], "muster_worker_examples_total"), "more examples")
    for role, address in addresses.items():
        counters = {family.name for family in first[role].values() if family.type == "counter"}
        assert counters, role
        again = samples(scrape(address))
        for (name, labels), value in samples(first[role]).items():
            if name.removesuffix("_total") in counters:
                assert again[(name, labels)] >= value, (role, name, labels)
