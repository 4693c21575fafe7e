"""Bytes from strangers on every port while a job trains: refused, counted, and the job does not notice."""
import json
import pathlib
import random
import socket
import struct

import pytest
import tiny_job
from processes import http_get, metric, until

MAGIC = 0x5254534D  # "MSTR"
VERSION = 1
GREETING, PUSH, FINISH = 1, 5, 10


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(method=GREETING, meta=b"", version=VERSION, flags=0, meta_bytes=None, body_bytes=0, call=1, magic=MAGIC):
    """A frame with a right checksum, and lengths as told: 32 bytes little-endian, then meta (common/wire/frame.h)."""
    length = len(meta) if meta_bytes is None else meta_bytes
    head = struct.pack("<IBBHQIIQ", magic, version, flags, method, call, length, 0, body_bytes)
    return head[:20] + struct.pack("<I", crc32c(head + meta)) + head[24:] + meta


def attacks():
    """(name, bytes) of what a stranger may send first."""
    noise = random.Random(3)
    yield "nothing", b""
    yield "one byte", b"M"
    yield "random bytes", noise.randbytes(5000)
    yield "a web request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise.randbytes(500)
    yield "half a header", frame()[:15]
    yield "another magic", frame(magic=0x4D535452)
    yield "another version", frame(version=9)
    yield "unknown flags", frame(flags=0xF8)
    yield "a reply to nobody", frame(flags=1)
    yield "unknown method", frame(method=60000)
    yield "a wrong checksum", frame()[:20] + b"\0\0\0\0" + frame()[24:]
    yield "meta of 4 GiB", frame(meta_bytes=0xFFFFFFFF)
    yield "meta of its limit, never sent", frame(meta_bytes=1 << 20)
    yield "body of 2^63 bytes", frame(body_bytes=1 << 63)
    yield "body of 2^64-1 bytes", frame(body_bytes=(1 << 64) - 1)
    yield "push before greeting", frame(method=PUSH, meta=b"\x08\x00", body_bytes=64) + bytes(64)
    yield "greeting of random meta", frame(meta=noise.randbytes(200))
    yield "greeting with a text that ends beyond it", frame(meta=b"\x1a\xff\xff\xff\xff\x0f" + b"x" * 20)
    yield "greeting of another wire version", frame(meta=b"\x08\x63\x10\x63\x1a\x04tiny")
    yield "body without greeting", frame(body_bytes=1 << 20) + bytes(1 << 16)


def attack(port, data, wanted=None):
    """Sends the bytes, says that no more come, and reads what comes back until the other side closes, or is quiet, or has said
    what is wanted."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
            stranger.sendall(data)
            stranger.shutdown(socket.SHUT_WR)
            # An open connection of a stranger may stay until its deadline; what matters is that it costs nothing.
            stranger.settimeout(60 if wanted else 0.2)
            while (not wanted or wanted not in answer) and (chunk := stranger.recv(65536)):
                answer += chunk
                assert len(answer) < 1 << 20, "it answers a stranger with a flood"
    except (ConnectionError, TimeoutError, BrokenPipeError):
        pass
    return answer


@pytest.mark.threads
def test_every_port_refuses_strangers_and_the_job_is_unharmed(stalled, job, write_job):
    running, links = stalled(write_job(job))
    before = {role: rss_bytes(running[role].pid) for role in running.roles}
    n_attacked = 0
    for role in running.roles:
        if attack_is_possible(running.ports[role].number):
            n_attacked += 1
            for _, data in attacks():
                attack(running.ports[role].number, data)
                assert running[role].is_running(), f"{role} died"
    assert n_attacked >= 3, "chief and parameter servers listen"
    for role in running.roles:
        # Hostile lengths must not have been allocated; 64 MiB is far above what honest buffers need here.
        assert rss_bytes(running[role].pid) - before[role] < 64 << 20, f"{role} grew"
    for role in ("ps-0", "ps-1", "chief-0"):
        port = running.http_ports[role].number
        assert http_get(port, "/healthz")[0] == 200
        assert refusals(port) > 0, f"{role} counted nothing:\n" + http_get(port, "/metrics")[1]
    links["worker-1"].release()
    running.expect_all(0)
    result = json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())
    assert result["examples"] == job["epochs"] * tiny_job.TRAIN_EXAMPLES
    assert result["eval"]["accuracy"] > 0.9


def test_another_wire_version_is_told_so(cluster, job, write_job):
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    running.start("ps-0")
    port = running.ports["ps-0"].number
    running.wait_running(lambda: attack_is_possible(port), "ps-0 to listen")
    answer = attack(port, frame(meta=b"\x08\x63\x10\x63\x1a\x04tiny"), wanted=b"99")
    assert b"version" in answer and b"99" in answer, answer


def test_many_silent_connections(cluster, job, write_job):
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    running.start("ps-0")
    port = running.ports["ps-0"].number
    running.wait_running(lambda: attack_is_possible(port), "ps-0 to listen")
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(100)]
    for role in ("chief-0", "worker-0"):
        running.start(role)
    running.expect_all(0)
    for stranger in silent:
        stranger.close()


def read_exactly(source, n_bytes):
    data = b""
    while len(data) < n_bytes:
        chunk = source.recv(n_bytes - len(data))
        assert chunk, "closed within a frame"
        data += chunk
    return data


def greeting_of(running, role, ps):
    """The greeting that this role says to a server, as bytes: the process is ended after it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", running.ports[ps].number))
        listener.listen()
        listener.settimeout(60)
        running.start(role)
        said, _ = listener.accept()
        with said:
            said.settimeout(60)
            head = read_exactly(said, 32)
            greeting = head + read_exactly(said, struct.unpack_from("<I", head, 16)[0])
        running[role].kill()
    return greeting


def test_a_worker_that_is_not_admitted_cannot_fail_the_job(cluster, job, write_job):
    """Without a server nobody is admitted: a greeting waits, and a failure that comes after it is none of this job."""
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    greeting = greeting_of(running, "worker-0", "ps-0")
    chief = running.start("chief-0")
    port = running.ports["chief-0"].number
    until(lambda: attack_is_possible(port), "chief-0 to listen")
    text = b"of an earlier run"
    failed = frame(method=FINISH, call=2, meta=b"\x10\x0d\x1a" + bytes([len(text)]) + text)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as survivor:
        survivor.sendall(greeting + failed)
        answer = struct.unpack_from("<IBBHQ", read_exactly(survivor, 32))
    assert answer[2:] == (1, FINISH, 2), answer  # a reply, and no error
    chief.wait_log(f"failure ignored worker=0 number=0 status=INTERNAL reason=\"{text.decode()}\"")
    for role in ("ps-0", "worker-0"):
        running.start(role)
    for role in ("chief-0", "ps-0", "worker-0"):
        running[role].expect(0)


def test_http_ports_refuse_what_is_not_a_get(cluster, job, write_job):
    running = cluster(write_job(job), n_workers=1, n_ps=1)
    process = running.start("ps-0")
    port = running.http_ports["ps-0"].number
    until(lambda: http_get(port, "/healthz")[0] == 200, "ps-0 to be healthy")
    posted = attack(port, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", wanted=b"\r\n")
    assert posted.startswith(b"HTTP/1.1 405")
    assert http_get(port, "/nothing-here")[0] == 404
    attack(port, b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n")
    attack(port, random.Random(5).randbytes(5000))
    attack(port, b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 100_000)
    assert http_get(port, "/metrics")[0] == 200 and process.is_running()


def attack_is_possible(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionError:
        return False
    return True


def refusals(port):
    return metric(port, "muster_rpc_bad_frames_total")


def rss_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
