"""The Kubernetes manifests of cluster-specs: what each operator's admission asks of them, and the processes that they start.

The pods' commands and TF_CONFIG are taken as they are; only what a machine without Kubernetes cannot have is replaced: names
by ports of 127.0.0.1, mounted folders by folders of the test. tests/interop holds them against Kubernetes' own schemas.
"""
import json
import pathlib
import re
import signal

import jsonschema
import pytest

import hosts
import manifests
from kubelet import Kubelet, N_TRAIN, Node
from processes import until

ROOT = pathlib.Path(__file__).resolve().parents[2]
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def the_only(name, kind):
    [one] = manifests.by_kind(name, kind)
    return one


# ---- rules ----

@pytest.mark.parametrize("way", manifests.WAYS)
def test_pods_are_locked_down_and_watched(way):
    pods = manifests.PODS[way]()
    roles = [("chief", 0), ("ps", 0), ("ps", 1), ("worker", 0), ("worker", 1)]
    assert sorted((pod["role"], pod["index"]) for pod in pods) == roles
    for pod in pods:
        spec = pod["spec"]
        [container] = spec["containers"]
        assert "command" not in container, "the image's entry point is the binary, without a shell, so that it gets SIGTERM"
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                "capabilities": {"drop": ["ALL"]}}
        assert set(container["resources"]) == {"requests", "limits"}
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports.pop("http") == 8080 and list(ports.values()) == [2222]
        assert container["args"][container["args"].index("--http") + 1] == "8080"
        probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        alive, ready = {"path": "/healthz", "port": "http"}, {"path": "/readyz", "port": "http"}
        assert probes == {"startup": alive, "liveness": alive, "readiness": ready}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
        claims = [volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
        assert claims == [the_only("job", "PersistentVolumeClaim")["metadata"]["name"]]
        maps = [volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume]
        assert maps == [the_only("job", "ConfigMap")["metadata"]["name"]]


@pytest.mark.parametrize("way", manifests.WAYS)
def test_tf_config_names_exactly_the_pods(way):
    pods = manifests.PODS[way]()
    for pod in pods:
        cluster = json.loads(pod["environment"]["TF_CONFIG"])["cluster"]
        named = {(role, i): address for role, addresses in cluster.items() for i, address in enumerate(addresses)}
        assert named == {(one["role"], one["index"]): f"{one['dns']}:2222" for one in pods}
        assert all(DNS_1035.fullmatch(label) for label in pod["dns"].split("."))


def test_statefulset_rules():
    service = the_only("statefulset", "Service")
    # Otherwise a pod's name is unknown until it is ready, and it is ready only when it has met the others.
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    templates = []
    for one in manifests.by_kind("statefulset", "StatefulSet"):
        assert one["spec"]["podManagementPolicy"] == "Parallel", "in order, a pod would wait for one that waits for it"
        assert one["spec"]["serviceName"] == service["metadata"]["name"]
        assert "restartPolicy" not in one["spec"]["template"]["spec"], "a StatefulSet takes Always only"
        assert "--park" in one["spec"]["template"]["spec"]["containers"][0]["args"], "and starts again what ends"
        assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
        assert "app.kubernetes.io/component" in one["spec"]["selector"]["matchLabels"], "not the other set's pods"
        templates.append(one["spec"]["template"])
    chief = the_only("statefulset", "Job")
    assert chief["spec"]["completionMode"] == "Indexed", "else the pod's host name is random"
    assert chief["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    check_failure_policy(chief["spec"], "muster")
    for template in templates + [chief["spec"]["template"]]:
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()


def check_failure_policy(spec, container):
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "what podFailurePolicy asks for"
    rules = {rule["action"]: rule for rule in spec["podFailurePolicy"]["rules"]}
    assert rules["FailJob"]["onExitCodes"] == {"containerName": container, "operator": "In", "values": [1, 2]}
    assert rules["Ignore"]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_tfjob_rules():
    job = the_only("tfjob", "TFJob")
    assert job["apiVersion"] == "kubeflow.org/v1" and set(job["spec"]) == {"runPolicy", "tfReplicaSpecs"}
    assert DNS_1035.fullmatch(job["metadata"]["name"])
    assert job["spec"]["runPolicy"]["cleanPodPolicy"] in ("None", "Running", "All")
    replicas = job["spec"]["tfReplicaSpecs"]
    assert set(replicas) == {"Chief", "PS", "Worker"} and replicas["Chief"]["replicas"] == 1
    for replica in replicas.values():
        assert replica["restartPolicy"] == "ExitCode"
        spec = replica["template"]["spec"]
        assert "restartPolicy" not in spec, "the operator sets it"
        assert spec["containers"][0]["name"] == "tensorflow" and spec["containers"][0]["image"]
        assert {"name": "tfjob-port", "containerPort": 2222} in spec["containers"][0]["ports"]


def test_volcano_rules():
    job = the_only("volcano", "Job")
    assert job["apiVersion"] == "batch.volcano.sh/v1alpha1" and job["spec"]["schedulerName"] == "volcano"
    tasks = job["spec"]["tasks"]
    assert job["spec"]["minAvailable"] == sum(task["replicas"] for task in tasks), "all or none"
    assert set(job["spec"]["plugins"]) == {"tensorflow", "svc"}
    assert job["spec"]["plugins"]["svc"] == ["--publish-not-ready-addresses=true"]
    for policy in job["spec"]["policies"] + [policy for task in tasks for policy in task.get("policies", [])]:
        assert len({"event", "exitCode"} & set(policy)) == 1, "one of the two"
        assert policy["action"] in ("AbortJob", "RestartJob", "CompleteJob") and policy.get("exitCode") != 0
    by_exit = {policy["exitCode"]: policy["action"] for policy in job["spec"]["policies"] if "exitCode" in policy}
    assert by_exit == {1: "AbortJob", 2: "AbortJob", 137: "RestartJob", 138: "RestartJob", 143: "RestartJob"}
    [chief] = [task for task in tasks if task["name"] == "chief"]
    assert chief["policies"] == [{"event": "TaskCompleted", "action": "CompleteJob"}]
    assert all(task["template"]["spec"]["restartPolicy"] == "Never" for task in tasks)


def test_jobset_rules():
    jobset = the_only("jobset", "JobSet")
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert jobset["spec"]["network"] == {"enableDNSHostnames": True, "publishNotReadyAddresses": True}
    assert jobset["spec"]["successPolicy"] == {"operator": "All", "targetReplicatedJobs": ["chief"]}
    [rule] = jobset["spec"]["failurePolicy"]["rules"]
    assert rule["action"] == "FailJobSet" and rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    for job in jobset["spec"]["replicatedJobs"]:
        spec = job["template"]["spec"]
        assert job["replicas"] == 1 and spec["completionMode"] == "Indexed" and spec["parallelism"] == spec["completions"]
        check_failure_policy(spec, "muster")


def test_the_job_is_the_example_and_resumes():
    data = the_only("job", "ConfigMap")["data"]
    job = json.loads(data["job.json"])
    jsonschema.validate(job, json.loads((ROOT / "cluster-specs" / "job.schema.json").read_text()))
    example = json.loads((ROOT / "examples" / "fashion-mnist" / "job.json").read_text())
    assert json.loads(data["model.json"]) == json.loads((ROOT / "examples" / "fashion-mnist" / "model.json").read_text())
    assert job.pop("checkpoint")["resume"] is True, "a pod that is started again goes on"
    job.pop("output"), example.pop("checkpoint"), example.pop("output")
    assert job == example


def test_the_readme_lists_every_manifest():
    readme = (ROOT / "cluster-specs" / "README.md").read_text()
    assert [path.name for path in sorted(manifests.FOLDER.iterdir()) if f"`kubernetes/{path.name}`" not in readme] == []


# ---- what they start ----

@pytest.fixture
def kubelet(binary, tmp_path, started):
    made = []

    def make(way, kind=Kubelet):
        made.append(kind(binary, tmp_path, way))
        start = made[-1].start

        def start_listed(name):
            started.append(start(name))
            return started[-1]
        made[-1].start = start_listed
        return made[-1]
    yield make
    for one in made:
        one.close()


def expect_finished(running):
    """Every pod ends with 0; one that parks does when it is told to stop."""
    for name, process in running.processes.items():
        if "--park" in running.arguments(running.pods[name]):
            process.wait_log("cli: parked")
            process.send(signal.SIGTERM)
        process.expect(0)


@pytest.mark.parametrize("way", manifests.WAYS)
def test_the_pods_train(kubelet, way):
    running = kubelet(way)
    running.start("worker-0")
    until(lambda: running.probe("worker-0", "/healthz") == 200, "worker-0 to be alive")
    assert running.probe("worker-0", "/readyz") == 503, "alone it is alive, but not ready"
    for name in ("ps-0", "chief-0", "ps-1", "worker-1"):
        running.start(name)
    expect_finished(running)
    result = json.loads((running.folder / "output" / "result.json").read_text())
    assert result["status"] == "finished" and result["eval"]["accuracy"] > 0.9, result
    assert (result["examples"], result["torn"]) == (5 * N_TRAIN, 0)


def test_pods_that_are_started_again_finish_the_job(kubelet):
    """A parameter server is evicted before the workers come: every code is one that restarts, and the second try ends."""
    running = kubelet("statefulset")
    for name in ("ps-0", "ps-1", "chief-0"):
        running.start(name)
    until(lambda: running.probe("ps-0", "/readyz") == 200, "ps-0 to be ready")
    running.processes["ps-0"].send(signal.SIGTERM)
    running.processes["ps-0"].expect(143)
    running.processes["ps-1"].expect(138)
    running.processes["chief-0"].expect(138)
    for name in running.pods:
        running.start(name)
    expect_finished(running)


@pytest.mark.skipif(not hosts.can_make_networks(), reason=hosts.WHY_NOT)
@pytest.mark.parametrize("way", manifests.WAYS)
def test_the_pods_train_under_their_own_names(kubelet, way):
    """The very TF_CONFIG and ports of the pods; names become known late, as a cluster's DNS has it."""
    running = kubelet(way, Node)
    running.start("worker-0")
    until(lambda: running.probe("worker-0", "/healthz") == 200, "worker-0 to be alive")
    assert running.probe("worker-0", "/readyz") == 503
    running.start("chief-0").wait_log(r"chief: listening")
    running.publish(["chief-0", "ps-0", "worker-0"])
    for name in ("ps-0", "ps-1", "worker-1"):
        running.start(name)
    running.processes["ps-0"].wait_log("chief greeted")
    running.publish(running.pods)
    expect_finished(running)
    result = json.loads((running.folder / "output" / "result.json").read_text())
    assert result["status"] == "finished" and result["eval"]["accuracy"] > 0.9, result
    assert (result["examples"], result["torn"]) == (5 * N_TRAIN, 0)
