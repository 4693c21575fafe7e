"""The Kubernetes manifests of cluster-specs against Kubernetes' own OpenAPI schemas, strictly: an unknown key fails too.

TFJob, Volcano and JobSet bring their own kinds; of those the pods' and jobs' specs, which are Kubernetes' own, are held against
the schemas here. What their admissions ask for beside is in tests/cluster/test_manifests.py.
"""
import pathlib
import sys

import pytest

kubernetes_validate = pytest.importorskip("kubernetes_validate")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import manifests  # noqa: E402

# In older schemas a rule of podFailurePolicy needs both of its conditions, which their servers never asked for.
VERSIONS = ["1.29", "1.31"]
CORE = {"ConfigMap", "PersistentVolumeClaim", "Service", "StatefulSet"}


def validate(document, version):
    kubernetes_validate.validate(document, version, strict=True)


def core_documents():
    return [(name, one) for name in ("job", *manifests.WAYS) for one in manifests.documents(name)
            if one["kind"] in CORE or one["apiVersion"] == "batch/v1"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", [one for _, one in core_documents()],
                         ids=[f"{name}-{one['kind']}-{one['metadata']['name']}" for name, one in core_documents()])
def test_document(document, version):
    validate(document, version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", manifests.WAYS)
def test_pods(way, version):
    for pod in manifests.PODS[way]():
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod["hostname"]}, "spec": pod["spec"]}, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_jobs_of_the_jobset(version):
    [jobset] = manifests.by_kind("jobset", "JobSet")
    for job in jobset["spec"]["replicatedJobs"]:
        validate({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}, "spec": job["template"]["spec"]},
                 version)


def test_a_wrong_key_is_seen():
    [service] = manifests.by_kind("statefulset", "Service")
    service["spec"]["publishNotReady"] = True
    with pytest.raises(Exception, match="publishNotReady"):
        validate(service, VERSIONS[-1])
