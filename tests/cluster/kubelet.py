"""Starts the pods of the manifests as processes: Kubelet on ports of 127.0.0.1, Node in network namespaces of their own, where
a pod has its name, its address and port 2222 as in a cluster."""
import gzip
import random
import re
import subprocess

import hosts
import manifests
import tiny_job
from processes import Port, Process, http_get

N_TRAIN, N_EVAL = 640, 128


def write_images(folder):
    """The files of Fashion-MNIST by name, small: ten classes of noise around a pattern each."""
    source = random.Random(11)
    patterns = [bytes(source.choice((40, 200)) for _ in range(28 * 28)) for _ in range(10)]
    for name, n in (("train", N_TRAIN), ("t10k", N_EVAL)):
        labels = bytes(source.randrange(10) for _ in range(n))
        images = b"".join(bytes(pixel + source.randrange(-30, 31) for pixel in patterns[label]) for label in labels)
        for kind, payload, shape in (("images-idx3", images, (n, 28, 28)), ("labels-idx1", labels, (n,))):
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(tiny_job.idx(shape, payload)))


def can_name_hosts():
    """Whether this user may give a process a host name of its own."""
    try:
        return subprocess.run(["unshare", "--uts", "hostname", "a-0"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Kubelet:
    """Starts a way's pods as processes."""

    def __init__(self, binary, folder, way):
        self.binary, self.folder = binary, folder
        self.pods = {f"{pod['role']}-{pod['index']}": pod for pod in manifests.PODS[way]()}
        self.ports, self.http_ports = {}, {}
        self.processes = {}
        self.n_started = 0
        for path in ("job", "data", "output"):
            (folder / path).mkdir()
        write_images(folder / "data")
        for key, text in manifests.config_maps("job")["mnist-job"].items():
            (folder / "job" / key).write_text(self.mounted(text))

    def mounted(self, text):
        """Folders of the pod by the test's."""
        text = text.replace("/usr/share/datasets/fashion-mnist", str(self.folder / "data"))
        return re.sub(r"/(job|output)\b(?!\.)", lambda found: str(self.folder / found.group(1)), text)

    def on_this_machine(self, text):
        """Names by addresses."""
        for name, pod in self.pods.items():
            text = text.replace(f'"{pod["dns"]}:2222"', f'"{self.ports[name].address}"')
        return text

    def arguments(self, pod):
        return [f"{self.folder}{word}" if word.startswith("/job/") else word for word in pod["spec"]["containers"][0]["args"]]

    def start(self, name):
        pod = self.pods[name]
        if name not in self.ports:
            self.ports.update({other: Port() for other in self.pods})
            self.http_ports.update({other: Port() for other in self.pods})
        arguments = self.arguments(pod)
        arguments[arguments.index("--http") + 1] = self.http_ports[name].address
        command = [self.binary, *arguments, "--threads", "1"]
        if "hostname" in arguments and can_name_hosts():
            command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', pod["hostname"], *command]
        elif "hostname" in arguments:
            at = arguments.index("--task-index-from")
            command[at + 1:at + 3] = ["--task-index", str(pod["index"])]
        environment = {**pod["environment"], "TF_CONFIG": self.on_this_machine(pod["environment"]["TF_CONFIG"])}
        assert ":2222" not in environment["TF_CONFIG"]
        self.n_started += 1
        process = Process(f"{name}.{self.n_started}", command, environment, self.folder)
        self.processes[name] = process
        return process

    def probe(self, name, path):
        return http_get(self.http_ports[name].number, path)[0]

    def close(self):
        for port in [*self.ports.values(), *self.http_ports.values()]:
            port.close()


class Node(Kubelet):
    """Each pod on a host of its own, where it has its name, its address and port 2222."""

    def __init__(self, binary, folder, way):
        super().__init__(binary, folder, way)
        self.network = hosts.Network(folder)
        try:
            for i, (name, pod) in enumerate(self.pods.items(), 1):
                self.network.add(name, f"10.77.0.{i}", pod["hostname"])
        except Exception:
            self.close()
            raise

    def publish(self, names):
        """What the cluster's DNS knows."""
        self.network.publish({self.pods[name]["dns"]: self.network.hosts[name].address for name in names})

    def start(self, name):
        pod = self.pods[name]
        command = self.network.hosts[name].inside(self.binary, *self.arguments(pod), "--threads", "1")
        self.n_started += 1
        self.processes[name] = Process(f"{name}.{self.n_started}", command, pod["environment"], self.folder)
        return self.processes[name]

    def probe(self, name, path):
        return self.network.hosts[name].call(http_get, hosts.HTTP_PORT, path)[0]

    def close(self):
        super().close()
        self.network.close()
