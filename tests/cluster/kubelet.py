"""Starts the pods of the manifests as processes: Kubelet on ports of 127.0.0.1, Node in network namespaces of their own, where
a pod has its name, its address and port 2222 as in a cluster."""
import gzip
import pathlib
import random
import re
import subprocess

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


def can_make_networks():
    """Whether this user may make network namespaces and join them by a bridge."""
    script = "ip link add name a0 type bridge && ip link add name a1 type veth peer name a2"
    script += " && mount --bind /etc/hosts /etc/hosts"
    try:
        return subprocess.run(["unshare", "--net", "--mount", "--uts", "sh", "-c", script], capture_output=True,
                              check=False).returncode == 0
    except FileNotFoundError:
        return False


class Node(Kubelet):
    """Each pod in a namespace of its own: network, host name, /etc/hosts. All are joined by a bridge in one more namespace,
    from which nothing leads outside; all of it is gone with the processes that hold the namespaces."""

    def __init__(self, binary, folder, way):
        super().__init__(binary, folder, way)
        self.hosts = folder / "hosts"
        self.addresses = {name: f"10.77.0.{i}" for i, name in enumerate(self.pods, 1)}
        self.holders = {}
        self.publish([])
        try:
            self.bridge = self.hold("ip link add name br0 type bridge && ip link set br0 up", "unshare", "--net")
            for name, pod in self.pods.items():
                self.join(name, pod)
        except Exception:
            self.close()
            raise

    def publish(self, names):
        """What the cluster's DNS knows: written in place, for it is mounted."""
        lines = ["127.0.0.1 localhost"] + [f"{self.addresses[name]} {self.pods[name]['dns']}" for name in names]
        with open(self.hosts, "r+" if self.hosts.exists() else "w") as file:
            file.write("\n".join(lines) + "\n")
            file.truncate()

    def hold(self, script, *command):
        """A process that keeps its namespaces until its standard input is closed."""
        holder = subprocess.Popen([*command, "sh", "-c", f"{script} && echo ready && exec cat"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.holders[holder.pid] = holder
        said = holder.stdout.readline().decode()
        assert said == "ready\n", said
        return holder.pid

    def inside(self, pid, *command):
        return ["nsenter", "--target", str(pid), "--net", "--mount", "--uts", *command]

    def join(self, name, pod):
        script = f"ip link set lo up && hostname {pod['hostname']} && mount --bind {self.hosts} /etc/hosts"
        pid = pod["pid"] = self.hold(script, "unshare", "--net", "--mount", "--uts")
        subprocess.run(self.inside(self.bridge, "sh", "-ec", f"""
            ip link add name {name} type veth peer name eth0 netns {pid}
            ip link set {name} master br0 up"""), check=True)
        subprocess.run(self.inside(pid, "sh", "-ec", f"""
            ip address add {self.addresses[name]}/24 dev eth0
            ip link set eth0 up"""), check=True)

    def start(self, name):
        pod = self.pods[name]
        command = self.inside(pod["pid"], self.binary, *self.arguments(pod), "--threads", "1")
        self.n_started += 1
        self.processes[name] = Process(f"{name}.{self.n_started}", command, pod["environment"], self.folder)
        return self.processes[name]

    def probe(self, name, path):
        script = f"import processes; print(processes.http_get(8080, {path!r})[0])"
        # The network alone: with the mounts it would also leave the folder of processes.py.
        asked = subprocess.run(["nsenter", "--target", str(self.pods[name]["pid"]), "--net", "/usr/bin/python3", "-B", "-c",
                                script], cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=True)
        return int(asked.stdout)

    def close(self):
        super().close()
        for holder in self.holders.values():
            holder.stdin.close()
            holder.stdout.close()
            holder.wait()
