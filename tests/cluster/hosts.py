"""Hosts in network namespaces: each has a network, a host name and an /etc/hosts of its own, and a cable to a switch in
one more namespace, from which nothing leads outside. A test pulls cables, and lets packets of one direction get lost, or
some of all.

Everything is made in the namespaces and gone with the processes that hold them, even when the test is killed: they end
with their standard input. The machine's own interfaces, routes and files are not touched.
"""
import concurrent.futures
import ctypes
import os
import pathlib
import subprocess
import sys

import processes

CLONE_NEWNET = 0x40000000  # of setns(2); os.setns() came with Python 3.12
PORT, HTTP_PORT = 2222, 8080
WIRE = pathlib.Path(__file__).with_name("lossy_wire.py")
WHY_NOT = "this user may not make network namespaces (root may, with ip and unshare)"


def can_make_networks():
    """Whether this user may make network namespaces and join them by a bridge."""
    script = "ip link add name a0 type bridge && ip link add name a1 type veth peer name a2"
    script += " && mount --bind /etc/hosts /etc/hosts"
    try:
        return subprocess.run(["unshare", "--net", "--mount", "--uts", "sh", "-c", script], capture_output=True,
                              check=False).returncode == 0
    except FileNotFoundError:
        return False


def shift(seconds):
    """The words before a command that give it a monotonic clock so far ahead of the others."""
    return ["unshare", "--time", "--monotonic", str(seconds), "--boottime", str(seconds)]


def can_shift_clocks():
    """Whether this user may make a time namespace, and is in it at once (from Linux 6.3 on)."""
    script = "import sys, time; sys.exit(time.monotonic() < 1e9)"
    try:
        return subprocess.run([*shift(10**9), sys.executable, "-c", script], capture_output=True,
                              check=False).returncode == 0
    except FileNotFoundError:
        return False


def enter_network(pid):
    """Moves this thread, and no other, into the network of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net", "rb") as network:
        if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns to the network of process {pid}")


class Host:
    """One host: the process that holds its namespaces, and a thread of the test in its network."""

    def __init__(self, name, address, pid):
        self.name, self.address, self.pid = name, address, pid
        self.thread = concurrent.futures.ThreadPoolExecutor(1, initializer=enter_network, initargs=(pid,))

    def inside(self, *command):
        """How to run this on the host; it ends with the test's process, too."""
        enter = ["nsenter", "--target", str(self.pid), "--net", "--mount", "--uts", "setpriv", "--pdeathsig", "KILL"]
        return [*enter, *map(str, command)]

    def call(self, what, *arguments):
        """what(…) as a process of the host would do it, where the network is concerned."""
        return self.thread.submit(what, *arguments).result()


def mac_of(address):
    """Goes with the address, so that neighbours need not ask anew when a host takes another's."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


class Network:
    """Hosts and the switch between them."""

    def __init__(self, folder):
        self.hosts_file = pathlib.Path(folder) / "hosts"
        self.holders, self.wires, self.hosts = [], [], {}
        self.publish({})
        self.switch = self.hold("ip link add name br0 type bridge && ip link set br0 up", "unshare", "--net")

    def publish(self, names):
        """{name: address} that the network's DNS knows: written in place, for it is mounted."""
        lines = ["127.0.0.1 localhost"] + [f"{address} {name}" for name, address in names.items()]
        with open(self.hosts_file, "r+" if self.hosts_file.exists() else "w") as file:
            file.write("\n".join(lines) + "\n")
            file.truncate()

    def hold(self, script, *command):
        """A process that keeps its namespaces until its standard input is closed."""
        holder = subprocess.Popen([*command, "sh", "-c", f"{script} && echo ready && exec cat"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.holders.append(holder)
        said = holder.stdout.readline().decode()
        assert said == "ready\n", said
        return holder.pid

    def at_switch(self, *command):
        return ["nsenter", "--target", str(self.switch), "--net", *map(str, command)]

    def ip(self, host, *words):
        """ip … on a host, or at the switch (None)."""
        command = self.at_switch("ip", *words) if host is None else self.hosts[host].inside("ip", *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {' '.join(map(str, words))} at {host}: {done.stderr}"

    def add(self, name, address, host_name=None):
        script = f"ip link set lo up && hostname {host_name or name} && mount --bind {self.hosts_file} /etc/hosts"
        pid = self.hold(script, "unshare", "--net", "--mount", "--uts")
        self.hosts[name] = Host(name, address, pid)
        self.ip(None, "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", pid)
        self.ip(None, "link", "set", name, "up")
        self.readdress(name, address)
        self.plug(name)

    def readdress(self, name, address):
        """The host has this address from now on, in place of the one before; its connections are not told."""
        self.hosts[name].address = address
        self.ip(name, "address", "flush", "dev", "eth0")
        self.ip(name, "link", "set", "eth0", "address", mac_of(address))
        self.ip(name, "address", "add", f"{address}/24", "dev", "eth0")
        self.ip(name, "link", "set", "eth0", "up")

    # ---- what a test does to it ----

    def swap(self, one, other):
        """Each has the other's address."""
        addresses = self.hosts[one].address, self.hosts[other].address
        for name in (one, other):
            self.ip(name, "link", "set", "eth0", "down")
        self.readdress(one, addresses[1])
        self.readdress(other, addresses[0])

    def unplug(self, *names):
        """Silence: the hosts' cables still have light, and nothing comes through."""
        for name in names:
            self.ip(None, "link", "set", name, "nomaster")

    def plug(self, *names):
        for name in names:
            self.ip(None, "link", "set", name, "master", "br0")

    def lose(self, sender, *receivers):
        """Packets from the sender to these get lost, those of the other direction arrive: it sends them to an Ethernet
        address that nobody has."""
        for receiver in receivers:
            self.teach(sender, receiver, "02:ff:00:00:00:00", "permanent")

    def find(self, sender, *receivers):
        """As before lose()."""
        for receiver in receivers:
            self.teach(sender, receiver, mac_of(self.hosts[receiver].address), "reachable")

    def teach(self, sender, receiver, mac, state):
        self.ip(sender, "neighbor", "replace", self.hosts[receiver].address, "lladdr", mac, "dev", "eth0", "nud", state)

    def wear(self, name, loss, delay_ms, seed):
        """A bad cable from now on: this part of all frames is lost, each direction takes so long."""
        near, far = f"{name}-n", f"{name}-f"
        self.ip(None, "link", "add", "name", near, "type", "veth", "peer", "name", far)
        for end in (near, far):
            self.ip(None, "link", "set", end, "up")
        self.ip(None, "link", "set", name, "nomaster")
        self.ip(None, "link", "set", far, "master", "br0")
        wire = subprocess.Popen(self.at_switch(sys.executable, "-B", WIRE, name, near, loss, delay_ms, seed),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wires.append(wire)
        said = wire.stdout.readline()
        assert said == "ready\n", said

    def mend(self):
        """Ends the bad cables; returns for each (frames carried, frames lost)."""
        found = []
        while self.wires:
            wire = self.wires.pop()
            said, _ = wire.communicate()
            found.append(tuple(map(int, said.split())))
        return found

    def close(self):
        for host in self.hosts.values():
            host.thread.shutdown()
        self.mend()
        for holder in self.holders:
            holder.stdin.close()
            holder.stdout.close()
            holder.wait()


class Address:
    """Where a role listens, in place of a Port: its host has all ports for itself."""

    def __init__(self, address, number):
        self.address, self.number = f"{address}:{number}", number

    def close(self):
        pass


class HostCluster(processes.Cluster):
    """A Cluster with one host a role. TF_CONFIG has addresses, or names (which the network must publish) if told so."""

    def __init__(self, network, binary, folder, job_path, n_workers=2, n_ps=2, by_name=False):
        super().__init__(binary, folder, job_path, n_workers, n_ps)
        for port in [*self.ports.values(), *self.http_ports.values()]:
            port.close()
        self.network = network
        for i, role in enumerate(self.roles, 1):
            network.add(role, f"10.77.0.{i}")
        self.ports = {role: Address(role if by_name else network.hosts[role].address, PORT) for role in self.roles}
        self.http_ports = {role: Address("127.0.0.1", HTTP_PORT) for role in self.roles}
        network.publish({role: network.hosts[role].address for role in self.roles})
        self.shifts = {}  # {role: the words before its command}

    def command(self, role, words):
        return self.network.hosts[role].inside(*self.shifts.get(role, ()), *words)

    def metric(self, role, name):
        return self.network.hosts[role].call(processes.metric, HTTP_PORT, name)
