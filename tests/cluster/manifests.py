"""The pods that Kubernetes and its operators make of the manifests in cluster-specs/kubernetes.

Each controller's naming and the TF_CONFIG that it sets are written down here, so that the tests can start what the manifests
start without a cluster. A pod here is a dictionary: role, index, hostname, dns (its name for the others), spec, environment.
"""
import json
import pathlib

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "cluster-specs" / "kubernetes"
WAYS = ("statefulset", "tfjob", "volcano", "jobset")


def documents(name):
    return list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()))


def by_kind(name, kind):
    return [one for one in documents(name) if one["kind"] == kind]


def config_maps(*names):
    """{ConfigMap: its data} of these files."""
    return {one["metadata"]["name"]: one["data"] for name in names for one in by_kind(name, "ConfigMap")}


def pod(role, index, hostname, dns, spec, environment):
    variables = dict(environment)
    for variable in spec["containers"][0].get("env", []):
        source = variable["valueFrom"]["configMapKeyRef"]
        variables[variable["name"]] = config_maps(*WAYS)[source["name"]][source["key"]]
    return {"role": role, "index": index, "hostname": hostname, "dns": dns, "spec": spec, "environment": variables}


def of_statefulset():
    """A StatefulSet names its pods after itself and the ordinal, an Indexed Job after itself and the completion index; both
    get DNS names below the headless Service that serviceName or subdomain tells."""
    made = []
    for one in by_kind("statefulset", "StatefulSet"):
        for i in range(one["spec"]["replicas"]):
            name = f"{one['metadata']['name']}-{i}"
            made.append(pod(one["metadata"]["labels"]["app.kubernetes.io/component"], i, name,
                            f"{name}.{one['spec']['serviceName']}", one["spec"]["template"]["spec"], {}))
    for one in by_kind("statefulset", "Job"):
        spec = one["spec"]["template"]["spec"]
        for i in range(one["spec"]["completions"]):
            name = f"{one['metadata']['name']}-{i}"
            made.append(pod(one["metadata"]["labels"]["app.kubernetes.io/component"], i, name, f"{name}.{spec['subdomain']}",
                            spec, {"JOB_COMPLETION_INDEX": str(i)}))
    return made


def of_jobset():
    """<set>-<replicated job>-<job's index>-<pod's index>, below a subdomain that is called like the set."""
    made = []
    for one in by_kind("jobset", "JobSet"):
        name = one["metadata"]["name"]
        for job in one["spec"]["replicatedJobs"]:
            spec = job["template"]["spec"]
            for i in range(spec["completions"]):
                hostname = f"{name}-{job['name']}-0-{i}"
                made.append(pod(job["name"], i, hostname, f"{hostname}.{name}", spec["template"]["spec"],
                                {"JOB_COMPLETION_INDEX": str(i)}))
    return made


def with_tf_config(tasks, dns_of, extra):
    """The pods of {role: (replicas, spec)} with TF_CONFIG as an operator writes it."""
    cluster = {role: [f"{dns_of(role, i)}:2222" for i in range(replicas)] for role, (replicas, _) in tasks.items()}
    made = []
    for role, (replicas, spec) in tasks.items():
        for i in range(replicas):
            tf_config = {"cluster": cluster, "task": {"type": role, "index": i}, **extra}
            made.append(pod(role, i, dns_of(role, i).split(".")[0], dns_of(role, i), spec,
                            {"TF_CONFIG": json.dumps(tf_config, separators=(",", ":"))}))
    return made


def of_tfjob():
    """Kubeflow's operator: a Service a pod, and the environment "cloud"."""
    [one] = by_kind("tfjob", "TFJob")
    tasks = {role.lower(): (replica["replicas"], replica["template"]["spec"])
             for role, replica in one["spec"]["tfReplicaSpecs"].items()}
    return with_tf_config(tasks, lambda role, i: f"{one['metadata']['name']}-{role}-{i}.default.svc", {"environment": "cloud"})


def of_volcano():
    """Volcano's plugins: svc for the names, tensorflow for TF_CONFIG, whose roles are tasks that its arguments name."""
    [one] = by_kind("volcano", "Job")
    arguments = dict(word.lstrip("-").split("=") for word in one["spec"]["plugins"]["tensorflow"])
    assert arguments.pop("port") == "2222"
    tasks = {task["name"]: (task["replicas"], task["template"]["spec"]) for task in one["spec"]["tasks"]}
    assert arguments == {role: role for role in tasks}, "each role is the task of that name"
    return with_tf_config(tasks, lambda role, i: f"{one['metadata']['name']}-{role}-{i}.{one['metadata']['name']}", {})


PODS = {"statefulset": of_statefulset, "tfjob": of_tfjob, "volcano": of_volcano, "jobset": of_jobset}
