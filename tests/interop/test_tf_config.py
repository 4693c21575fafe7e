"""TensorFlow's own reading of TF_CONFIG against the golden cases of tests/golden/config.

A case that says "refuses-as-tf" must be refused by TensorFlow in those words. Where both accept, the cluster and who is chief
must agree. What only one of them refuses is a decision of ours, which the golden file shows. Needs TensorFlow
(requirements.txt), no build; Estimator's words are not checked, for TensorFlow does not have it any more.
"""
import json
import os
import pathlib
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
from tensorflow.python.distribute import multi_worker_util, parameter_server_strategy_v2  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden" / "config"))
import config_cases  # noqa: E402

CASES = config_cases.load()


def index_of(case):
    """What the flags make of the index; the ordinal of a host name or variable is ours to find."""
    if "--task-index" in case.flags:
        return case.flags["--task-index"]
    source = case.flags.get("--task-index-from")
    if source == "hostname":
        return case.hostname.split(".")[0].rpartition("-")[2]
    return case.environment.get(source[4:]) if source else None


def tensorflow_reads(case, monkeypatch):
    """(cluster, is_chief) or the text of its refusal."""
    if case.tf_config is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", case.tf_config)
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = resolver.cluster_spec().as_dict()
        if not cluster:
            return {}, True
        if "--task-type" in case.flags:
            resolver.task_type = case.flags["--task-type"]
        if index_of(case) is not None:
            resolver.task_id = int(index_of(case))
        strategy = object.__new__(parameter_server_strategy_v2.ParameterServerStrategyV2)
        strategy._verify_args_and_config(resolver)
        return cluster, multi_worker_util.is_chief(resolver.cluster_spec(), resolver.task_type, resolver.task_id)
    except (ValueError, TypeError, AttributeError) as error:
        return str(error)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden_case(case, monkeypatch):
    read = tensorflow_reads(case, monkeypatch)
    if case.outcome == "refuses-as-tf":
        assert isinstance(read, str), f"TensorFlow accepts it: {read}"
        assert case.expected.startswith("TF_CONFIG: ") and case.expected.endswith(read)
    if case.outcome == "prints" and not isinstance(read, str):
        cluster, is_chief = read
        ours = json.loads(case.expected)
        if not cluster and ours["role"] != "local":
            return  # sparseCluster, which TensorFlow does not read
        assert json.loads(json.dumps(cluster)) == ours["cluster"]
        # TensorFlow calls an evaluator its own chief, and has none where the list of chiefs is empty.
        if ours["role"] != "evaluator" and ours["cluster"].get("chief") != {}:
            assert ours["is_chief"] == is_chief
