"""The proving ground: jobs of real processes under random schedules of kills, stops and faulty links, against an oracle that
counts (counting_job.py). tools/chaos runs it; --help says how.

A schedule follows from its seed alone: how many processes, which consistency, what happens to whom in which phase. A fault waits
for its phase (bounded), so a replay does the same things in the same order, if not at the same microsecond. Processes that
die are started again, as `muster local` or a StatefulSet would; nothing else helps them. A schedule is passed when the job ends
with 0 everywhere in time and the weights say that every example was trained exactly once an epoch, but for the torn pushes of
killed workers, whose number the log and result.json must say.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import counting_job
import fault_proxy
import processes
import tiny_job
from figures import n_of, print_table, summary
from schedules import (  # noqa: F401
    ALL_COPIES, CONSISTENCY, PHASES, SERVER_KINDS, TWO_COPIES, Fault, Schedule, draw, draw_kills, draw_stops)

LEASE_MS = 1000
SHORT, LONG = 0.3, 1.6  # leases: a fault that nobody is declared dead for, and one that somebody is
PHASE_S = 20  # a fault waits so long for its phase, then it is missed
END_S = 120  # after the last fault a job may do no step for so long; else it hangs
PACE_S = 0.004
LAST_PACE_S = 0.05  # when the job is nearly over and faults are left
BATCHES = 64
EPOCHS = {"async": 300, "bounded": 300, "synchronous": 250, "backup": 250}
REFILL_BYTES_PER_S = 3000  # so that it takes as long as a fault in it
EVALUATED_STEPS = 100


def get_metrics(port):
    """The text of /metrics, or "" from who does not answer at once: it may stand still, and the schedule must not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.3)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


class Failed(Exception):
    """A schedule that is not passed, and why."""


def told_losses(log, losses):
    """{group: how many updates it lost in all}, by the chief's log. losses: [(where in the log, groups)] of each time that all
    copies were killed. Of each the highest number counts: what a cut counts is not less than what was known first, and what
    one chief says the next may say again."""
    told = {}
    for at, group, n in ((found.start(), int(found[1]), int(found[2])) for found in
                         re.finditer(r"(?:parameter server restored|lost updates counted) ps=(\d+) lost_updates=(\d+)", log)):
        killed_at = [where for where, groups in losses if group in groups and where <= at]
        assert killed_at, f"group {group} was restored although a copy was left"
        told[group, killed_at[-1]] = max(n, told.get((group, killed_at[-1]), 0))
    missing = {(group, where) for where, groups in losses for group in groups} - set(told)
    assert not missing, f"not restored: group {', '.join(str(group) for group, _ in sorted(missing))}"
    return {group: sum(n for (other, _), n in told.items() if other == group) for group, _ in told}


def groups_of(roles):
    """The PSs that have each group: "3.2: ps-0 > ps-1, ps-1 > ps-2" is [["ps-0", "ps-1"], ["ps-1", "ps-2"]]; None while one joins."""
    if "+" in roles or ":" not in roles:
        return None
    return [re.findall(r"ps-\d+", group) for group in roles.partition(":")[2].split(",")]


class Ground:
    """One schedule with its processes."""

    def __init__(self, binary, folder, schedule):
        self.schedule, self.folder, self.binary = schedule, pathlib.Path(folder), binary
        self.chance = random.Random(f"ground {schedule.seed}")
        self.job = tiny_job.job(folder, folder)
        self.job["cluster"] = {"heartbeat_ms": 100, "lease_ms": LEASE_MS, "absence_ms": 30000, "checksums": True}
        self.job["checkpoint"].update(every_steps=schedule.every_steps, keep=2)
        if schedule.replicas:
            self.job["replicas"] = schedule.replicas
        self.shape = counting_job.Shape(n_batches=BATCHES, epochs=EPOCHS[schedule.mode], shards=schedule.shards,
                                        consistency=CONSISTENCY[schedule.mode], workers=schedule.workers,
                                        is_evaluated=schedule.has_evaluator)
        if schedule.has_evaluator:
            self.job["eval"] = {"every": EVALUATED_STEPS, "final_timeout": END_S / 4}
        self.cluster = processes.Cluster(binary, folder, counting_job.write(self.job, self.shape, folder), schedule.workers,
                                         schedule.ps)
        self.roles = list(self.cluster.roles)
        if schedule.has_evaluator:
            self.cluster.add_evaluator(True)
            self.roles.append("evaluator-0")
        self.proxies = fault_proxy.Proxies(schedule.seed)
        self.proxies.pace_s = PACE_S
        self.later = []  # (when, what to do): what ends by itself
        self.absent = {}  # role: when it is started again
        self.done, self.missed = [], []
        self.begun = []  # (when, fault, whether it is measured by itself), for the pauses
        self.ended_at = 0.0  # when the chief ended
        self.full_from = 0.0  # before that the chief may not have noticed what happened
        self.stopped = set()
        self.leaving = set()  # told to stop, and started again when they have
        self.n_restarts = collections.Counter()
        self.started_at, self.resumed_at = {}, {}
        self.looked_at, self.part, self.full, self.is_ending = 0.0, 0.0, False, False
        self.struck_at = 0.0  # the last fault that may cost a server
        self.struck_ps = None  # the one that was killed last
        self.fill_since = None  # when it was, if nothing was done to its filling since
        self.full_again = []  # seconds from a kill to full redundancy
        self.are_two_lost = False  # since redundancy was full: half the servers may know nothing, and a new chief needs more
        self.losses = []  # (where in the chief's log, groups) of each time that all copies were killed
        self.slows_refill = False  # when a server is killed now

    # ---- processes ----

    def make_links(self):
        servers = [role for role in self.cluster.roles if role.startswith("ps")]
        for reader in self.cluster.roles:
            kind = reader.partition("-")[0]
            others = servers if kind in ("chief", "worker") or self.schedule.replicas else []
            for role in [role for role in others if role != reader] + (["chief-0"] if kind == "worker" else []):
                link = self.proxies.add(reader, role, self.cluster.ports[role].address)
                self.cluster.addresses[(reader, role)] = link.address

    def start(self, role):
        self.absent.pop(role, None)
        self.cluster.start(role)
        self.started_at[role] = time.monotonic()
        for link in self.proxies.to(role):
            link.accept()

    def kill(self, role, back_s):
        if role.startswith("ps"):
            self.struck_ps, self.fill_since = role, None if self.slows_refill else time.monotonic()
            if self.slows_refill:
                self.slow_refill()
        elif role.startswith("chief"):
            self.fill_since = None  # it would tell
        self.cluster[role].kill()
        for link in self.proxies.to(role):
            link.refuse()
        self.absent[role] = time.monotonic() + back_s

    def stop(self, role, leases):
        process = self.cluster[role]

        def resume():
            process.resume()
            self.resumed_at[role] = time.monotonic()
            self.stopped.discard(role)
        process.pause()
        self.stopped.add(role)
        self.later.append((time.monotonic() + leases * LEASE_MS / 1000, resume))

    def supervise(self):
        """Starts again what died of a signal, or says that it may pass; anything else is wrong."""
        now = time.monotonic()
        if self.is_finished():
            return
        for role in self.roles:
            if role in self.absent:
                if now >= self.absent[role]:
                    self.start(role)
                continue
            code = self.cluster[role].popen.poll()
            if code is None or code == 0:
                continue
            if 0 < code < 128:
                raise Failed(f"{role} ended with {code}: {self.last_word(role)}")
            if role in self.leaving:
                self.leaving.discard(role)
            else:
                self.n_restarts[f"{role} by itself, {code}: {self.last_word(role)}"] += 1
            for link in self.proxies.to(role):
                link.refuse()
            self.absent[role] = now + 0.3

    def last_word(self, role):
        lines = self.cluster[role].log().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def tick(self):
        now = time.monotonic()
        for when, what in list(self.later):
            if now >= when:
                self.later.remove((when, what))
                what()
        self.supervise()
        if self.fill_since:
            self.look()
        time.sleep(0.01)

    def until(self, condition, seconds):
        """Whether the condition came to hold."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self.tick()
        return True

    # ---- phases ----

    def look(self):
        """What the chief's metrics say, asked 20 times a second at most; what they said last while it does not answer."""
        if time.monotonic() - self.looked_at < 0.05 or self.stopped & {"chief-0"} or "chief-0" in self.absent:
            return
        self.looked_at = time.monotonic()
        text = get_metrics(self.cluster.http_ports["chief-0"].number)
        found = dict(re.findall(r"^(muster_chief_step|muster_chief_steps|muster_redundancy_full) (\S+)$", text, re.M))
        if float(found.get("muster_chief_steps", 0)) > 0:
            self.part = float(found["muster_chief_step"]) / float(found["muster_chief_steps"])
            self.full = float(found.get("muster_redundancy_full", 0)) > 0 and self.looked_at > self.full_from
            if self.full and self.fill_since:
                self.full_again.append(time.monotonic() - self.fill_since)
                self.fill_since = None
            if not self.is_ending:
                self.proxies.pace_s = PACE_S if self.part < 0.7 else LAST_PACE_S

    def is_training(self):
        self.look()
        return self.part > 0.001

    def is_full(self):
        """Every group has all its copies: the next server may fail. What the chief has not noticed yet is no copy either."""
        self.look()
        is_stopped = any(role.startswith(("ps", "chief")) for role in self.stopped)
        is_noticed = not is_stopped and time.monotonic() - self.struck_at > 1.5 * LEASE_MS / 1000
        return not self.schedule.replicas or (self.full and is_noticed)

    def n_checkpoints(self):
        return len(list(self.folder.glob("ckpt/*")))

    def in_phase(self, fault):
        """Waits for the fault's phase; False: it did not come."""
        if fault.phase == "checkpoint" and self.schedule.every_steps < 1000:
            before = self.n_checkpoints()
            return self.until(self.is_training, PHASE_S) and self.until(lambda: self.n_checkpoints() != before, PHASE_S)
        if fault.phase == "end":
            self.is_ending, self.proxies.pace_s = True, 0
            return self.until(lambda: self.is_training() and self.part >= 0.98, PHASE_S)
        if fault.phase in ("start", "recovery"):
            return True
        if fault.phase == "creation":
            return self.until(lambda: "variables placed" in self.chief_logs(), PHASE_S)
        if fault.phase == "refill":
            return self.until(lambda: " + ps-" in self.roles_text(), PHASE_S)
        return self.until(self.is_training, PHASE_S)

    def roles_text(self):
        """Who is what in every group, by the chief that is there: "3.2: ps-0 > ps-1, ps-1 + ps-0"."""
        found = re.findall(r'roles are="([^"]*)"', self.cluster["chief-0"].log())
        return found[-1] if found else ""

    def is_home_named(self, group, begun):
        """What its home is told next is to restore the group, which was lost since all chiefs' logs were so long."""
        if not self.schedule.replicas:
            return True  # from its start on
        return (f"group lost group={group} " in self.said_since(begun)
                and "nobody" not in self.roles_text().partition(":")[2].split(",")[group])

    def slow_refill(self):
        """What is sent between servers takes so long that something can befall it."""
        for (reader, role), link in self.proxies.links.items():
            if reader.startswith("ps") and role.startswith("ps"):
                link.throttle(2 * LEASE_MS / 1000, REFILL_BYTES_PER_S)

    # ---- faults ----

    def can_befall(self, fault):
        loses_server = fault.kind in SERVER_KINDS + (ALL_COPIES, TWO_COPIES) and fault.target.startswith(("ps", "chief-0>", "group"))
        loses_rest = self.are_two_lost and fault.target == "chief-0" and fault.kind == "kill"
        if loses_rest or (loses_server and self.schedule.replicas and not self.is_harmless(fault)):
            is_full = self.until(lambda: self.is_training() and self.is_full(), PHASE_S)
            self.are_two_lost = self.are_two_lost and not is_full
            return is_full and self.are_there(fault)
        return self.until(lambda: self.are_there(fault), PHASE_S)

    def is_harmless(self, fault):
        """A server dies before anything is trained, or the one that is being filled. One that stands still has all that it had
        afterwards, so that may be while another one is replaced, too."""
        stands_still = fault.kind == "stop long"
        if fault.phase == "refill":
            return stands_still or fault.target == self.struck_ps
        if fault.phase == "recovery" and self.done:
            return stands_still and self.done[-1].kind == "kill" and self.done[-1].target.startswith("ps")
        return fault.phase in ("start", "creation") and fault.kind in ("kill", "stop long") and not self.struck_ps

    def are_there(self, fault):
        return not any(role in self.absent for role in fault.target.split(">"))

    def befall(self, fault):
        if not self.in_phase(fault):
            return False
        end = time.monotonic() + fault.wait_s
        self.until(lambda: time.monotonic() >= end, fault.wait_s + 1)
        if not self.can_befall(fault):
            return False
        if fault.kind in SERVER_KINDS and fault.kind != "kill in a push":
            self.note_strike(fault.target)
        if ">" in fault.target:
            self.note_begun(fault)
            self.disturb(self.proxies.links[tuple(fault.target.split(">"))], fault.kind)
        elif fault.kind == ALL_COPIES:
            return self.kill_all_copies(fault)
        elif fault.kind == TWO_COPIES:
            return self.kill_two_copies(fault)
        elif fault.kind == "kill in a push":
            return self.kill_in_push(fault)
        else:
            return self.strike(fault)
        return True

    def kill_all_copies(self, fault):
        """Nobody has the group any more, nor what else only its servers had. Nothing else befalls until it is restored."""
        holders = groups_of(self.roles_text()) if self.schedule.replicas else [[f"ps-{i}"] for i in range(self.schedule.ps)]
        group = int(fault.target.rpartition("-")[2])
        killed = sorted(holders[group]) if holders else []
        if not killed or any(not self.cluster[role].is_running() for role in killed):
            return False
        groups = [at for at, servers in enumerate(holders) if set(servers) <= set(killed)]
        self.note_begun(fault)
        begun = len(self.chief_logs())
        self.losses.append((begun, groups))
        if fault.unstored_from == "kill":
            self.proxies.lose_state()
        elif fault.unstored_from == "map":
            self.proxies.lose_state(lambda link: link.role == f"ps-{group}" and self.is_home_named(group, begun))
        for role in killed:
            self.kill(role, fault.back_s)
        if fault.unstored_from:
            self.kill_who_knows(group, fault)
        if not self.until(lambda: all(f"parameter server restored ps={at} " in self.said_since(begun) for at in groups), PHASE_S):
            raise Failed(f"groups {groups}, which {' and '.join(killed)} had, were not restored within {PHASE_S} s; it hangs: {self.waits()}")
        self.note_struck(fault)
        return True

    def kill_two_copies(self, fault):
        """The primary and a backup, either one first, before the chief can have named anybody else. Who is left has all."""
        holders = groups_of(self.roles_text())
        copies = holders[int(fault.target.rpartition("-")[2])] if holders else []
        if len(copies) < 3 or any(not self.cluster[role].is_running() for role in copies):
            return False
        primary, *backups = copies
        killed = [primary, self.chance.choice(backups)]
        self.chance.shuffle(killed)
        self.note_begun(fault)
        self.kill(killed[0], fault.back_s)
        time.sleep(self.chance.uniform(0, 0.05))
        self.note_strike(killed[1])
        self.kill(killed[1], fault.back_s)
        self.are_two_lost = True
        return True

    def kill_who_knows(self, group, fault):
        """The chief, when the loss is known to nobody else: before the group is restored, if that may be, or after."""
        said = {"kill": "group lost" if self.schedule.replicas else "parameter server came back empty",
                "map": f"parameter server restored ps={group} "}[fault.unstored_from]
        if not self.until(lambda: said in self.chief_logs() and not self.absent, PHASE_S):
            raise Failed(f"the chief did not say '{said}' within {PHASE_S} s; it hangs: {self.waits()}")
        n_before = self.proxies.n_states_lost
        if not self.until(lambda: self.proxies.n_states_lost >= n_before + self.schedule.ps, PHASE_S):
            raise Failed(f"the chief stored nothing for {PHASE_S} s")
        self.kill("chief-0", fault.back_s)
        self.proxies.carry_state()

    def note_strike(self, target):
        if target.startswith(("ps", "chief", "group")):
            self.struck_at = time.monotonic()
        if target.startswith("chief"):
            self.full = False  # until the next chief says so

    def strike(self, fault):
        """False: there is nobody."""
        role = fault.target
        if self.cluster[role].popen.poll() is not None:
            return False
        self.note_begun(fault)
        if fault.kind == "kill":
            self.kill(role, fault.back_s)
            self.fill_since = None if fault.phase == "refill" else self.fill_since
        elif fault.kind == "terminate":
            self.leaving.add(role)
            self.cluster[role].send(signal.SIGTERM)
        else:
            self.stop(role, SHORT if fault.kind == "stop short" else LONG)
        return True

    def note_begun(self, fault):
        """A link is slow while a server is filled, and what befalls links alone has no figure of its own."""
        is_measured = ">" not in fault.target and not self.slows_refill and fault.phase != "refill"
        self.begun.append((time.monotonic(), fault, is_measured))
        self.note_struck(fault)

    def note_struck(self, fault):
        """What the chief said of redundancy is old."""
        if not fault.target.startswith("worker"):
            self.full = False
            self.full_from = time.monotonic() + (0.3 if fault.kind.startswith("kill") else 2 * LEASE_MS / 1000)

    def kill_in_push(self, fault):
        """The process dies when a push is half sent from it, or to it."""
        role = fault.target
        links = [link for link in self.proxies.links.values()
                 if link.reader.startswith("worker") and link.role.startswith("ps") and role in (link.reader, link.role)]
        link = self.chance.choice(links)
        event = link.stall_in_push()
        came = self.until(event.is_set, PHASE_S / 4) and (not role.startswith("ps") or self.is_full())
        came = came and self.cluster[role].is_running()
        if came:
            self.note_strike(role)
            self.note_begun(fault)
            self.kill(role, fault.back_s)
            if self.chance.random() < 0.7:
                link.reset()  # else the other half arrives from where it was on its way
        link.go_on()
        return came

    def disturb(self, link, kind):
        lease_s = LEASE_MS / 1000
        actions = {"silent short": lambda: link.silence(SHORT * lease_s), "silent long": lambda: link.silence(LONG * lease_s),
                   "reset": link.reset, "reset and reset": lambda: link.reset(lease_s), "half-close": link.half_close,
                   "delay": lambda: link.delay(2 * lease_s, 0.05), "throttle": lambda: link.throttle(2 * lease_s, 20000),
                   "corrupt": lambda: link.corrupt(self.chance.choice([1, 3])),
                   "corrupt body": lambda: link.corrupt_body(self.chance.choice([1, 3])),
                   "twice": lambda: link.send_twice(5)}
        actions[kind]()

    # ---- a schedule from start to end ----

    def run(self):
        self.make_links()
        for role in self.roles:
            self.start(role)
        for fault, following in zip(self.schedule.faults, [*self.schedule.faults[1:], None]):
            self.slows_refill = following is not None and following.phase == "refill"
            (self.done if self.befall(fault) else self.missed).append(fault)
            if self.is_over():
                break
        if not self.until(lambda: self.is_full() or self.is_over(), PHASE_S):
            raise Failed(f"redundancy is not full {PHASE_S} s after the last fault: {self.roles_text()}")
        self.is_ending, self.proxies.pace_s = True, 0
        while not self.is_over():
            if not self.until(lambda part=self.part: self.is_over() or (self.is_training() and self.part != part), END_S):
                raise Failed(f"it hangs: {self.waits()}")

    def is_finished(self):
        """Asked in every tick, so that it is known when the chief ended."""
        is_finished = "chief-0" not in self.absent and self.cluster["chief-0"].popen.poll() == 0
        if is_finished:
            self.ended_at = self.ended_at or time.monotonic()
        return is_finished

    def is_over(self):
        """All ended with 0, but for who came, was to come or stood still when the job was finished: nobody waits for that one for
        long, or tells it."""
        if not self.is_finished():
            return False
        late_s = self.ended_at - 3 * LEASE_MS / 1000
        still_s = self.ended_at - 0.1  # it is seen a moment later
        return all(self.cluster[role].popen.poll() == 0 or role in self.absent or self.started_at[role] > late_s
                   or role in self.stopped or self.resumed_at.get(role, 0) > still_s
                   or not self.cluster[role].is_running() and self.cluster[role].popen.returncode < 0 for role in self.roles)

    def waits(self):
        said = []
        for role in self.roles:
            if role in self.cluster.processes and self.cluster[role].is_running():
                lines = [line for line in self.cluster[role].log().splitlines() if "waiting" in line]
                said.append(f"{role} runs ({lines[-1][-200:] if lines else self.last_word(role)})")
        return "; ".join(said)

    def close(self):
        self.cluster.close()
        self.proxies.close()

    def chief_logs(self):
        return self.cluster.log_of("chief-0")

    def said_since(self, begun):
        """What the chief that is there has said since all chiefs' logs were so long."""
        former = sum(len(process.log()) for role, process in self.cluster.former if role == "chief-0")
        return self.cluster["chief-0"].log()[max(0, begun - former):]

    def muster(self, *arguments):
        done = subprocess.run([str(self.binary), *map(str, arguments)], cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def judge_losses(self, counted, result, record):
        """All copies of some groups were killed. They lost what log and result.json say, and the others lost nothing."""
        told = told_losses(self.chief_logs(), self.losses)
        assert sum(told.values()) == result["lost_updates"], f"result.json says {result['lost_updates']} lost, and the log {told}"
        rest = counted
        for group in told:
            rest = rest.without(group)
        rest.check_rest(result["torn"])
        record["losses"] = [(told[group], counted.lost(group)) for group in sorted(told) if group in counted.homes]
        for group, (said, lost) in zip((group for group in sorted(told) if group in counted.homes), record["losses"]):
            least, most = self.could_be_lost(said, result["torn"])
            assert least <= lost <= most, f"{said} updates of group {group} were lost, says the log; by the weights it is {lost}"

    def could_be_lost(self, told, torn):
        """(least, most) batches: exactly, where each is an update, but what was torn before the checkpoint is lacking, too."""
        if self.shape.consistency["staleness"] != 0:
            return told, told + torn
        return told - torn, told * self.schedule.workers + torn

    def judge(self, record):
        """Counts; raises Failed."""
        result = json.loads((pathlib.Path(self.job["output"]["dir"]) / "result.json").read_text())
        counted = counting_job.counts(self.muster, self.shape, self.folder)
        torn = result["torn"]
        in_logs = sum(int(n) for n in re.findall(r"worker fenced worker=.* torn=(\d+)", self.chief_logs()))
        uses = counted.all()
        doubled = sum(max(0, n - self.shape.epochs) for n in uses.values())
        lacking = sum(max(0, self.shape.epochs - n) for n in uses.values())
        record.update(torn=torn, torn_in_logs=in_logs, examples_doubled=doubled, examples_lacking=lacking,
                      examples=result["examples"], lost_updates=result.get("lost_updates", 0),
                      examples_skipped=max(0, self.shape.epochs * self.shape.n_examples - result["examples"]))
        try:
            self.judge_losses(counted, result, record) if self.losses else counted.check(torn)
        except AssertionError as wrong:
            record["counts_wrong"] = True
            raise Failed(f"wrong counts: {wrong}") from None
        if torn != in_logs:
            raise Failed(f"result.json says {torn} torn, and the logs {in_logs}")
        if self.schedule.replicas and not self.losses and result.get("lost_updates", 0):
            raise Failed(f"{result['lost_updates']} updates were lost, with replicas")
        if self.schedule.replicas and not self.losses and (said := re.search(r"parameter server restored .* from=[^\"].*", self.chief_logs())):
            raise Failed(f"a copy was left, but: {said[0]}")
        if result["examples"] != self.shape.epochs * self.shape.n_examples:
            raise Failed(f"{result['examples']} examples, not {self.shape.epochs * self.shape.n_examples}")
        if reports := self.cluster.sanitizer_reports():
            raise Failed(f"sanitizer reports in the logs of {', '.join(reports)}")

    def pauses(self):
        """[(what, seconds)]: the longest time without an answered push of each worker that lived through a fault. What two
        faults have part in is of neither. Links stay slow for two leases."""
        found = []
        for when, fault in [(when, fault) for when, fault, is_measured in self.begun if is_measured]:
            for worker, answers in self.proxies.answers.items():
                if any(other.target == worker and -3 < at - when < 2 for at, other, _ in self.begun):
                    continue  # it has another reason to stand still
                near = [at for at in answers if when - 1 < at < when + 12]
                gaps = [(later - earlier, earlier, later) for earlier, later in zip(near, near[1:])
                        if later > when and earlier < when + 2]
                if not gaps:
                    continue
                seconds, earlier, later = max(gaps)
                if not any(earlier - (1 if is_measured else 2) * LEASE_MS / 1000 < at < later
                           for at, other, is_measured in self.begun if other is not fault):
                    found.append((f"{fault.kind} {fault.target.rpartition('-')[0]}", seconds))
        return found


def run_schedule(binary, schedule, folder):
    """The record of a schedule: what happened, what was counted, `failed` with the reason or None."""
    record = {"seed": schedule.seed, "mode": schedule.mode, "workers": schedule.workers, "ps": schedule.ps,
              "replicas": schedule.replicas, "failed": None, "hang": False}
    begun = time.monotonic()
    ground = Ground(binary, folder, schedule)
    try:
        ground.run()
        ground.judge(record)
    except (Failed, AssertionError, OSError, ValueError, KeyError) as why:
        record["failed"] = str(why) or repr(why)
        record["hang"] = "hangs" in record["failed"]
    finally:
        ground.close()
    record.update(seconds=round(time.monotonic() - begun, 1), faults=[str(fault) for fault in ground.done],
                  kinds=dict(collections.Counter(f"{fault.kind} {re.sub('-[0-9]+', '', fault.target)}" for fault in ground.done)),
                  missed=[str(fault) for fault in ground.missed], restarts=dict(ground.n_restarts),
                  deaths=[[re.sub("-[0-9]+", "", fault.target), fault.phase] for fault in ground.done if fault.kind.startswith("kill")],
                  full_again=[round(seconds, 3) for seconds in ground.full_again],
                  pauses=[(what, round(seconds, 4)) for what, seconds in ground.pauses()])
    return record


# ---- all schedules ----

DRAWS = {"schedules": draw, "kills": draw_kills, "stops": draw_stops}  # by the option that says how many


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tools/chaos", description="Real processes under random faults, against an oracle that counts.")
    parser.add_argument("--seconds", type=float, default=600, help="begin schedules for so long (600)")
    parser.add_argument("--schedules", type=int, help="this many instead")
    parser.add_argument("--seed", type=int, help="of the first schedule; the next ones count on (random)")
    parser.add_argument("--replicas", type=int, default=0, help="the job's replicas; from 1 on parameter servers are killed, too (0)")
    parser.add_argument("--modes", default=",".join(CONSISTENCY), help=f"of {','.join(CONSISTENCY)} (all)")
    parser.add_argument("--faults", type=int, default=8, help="a schedule (8)")
    signals = parser.add_mutually_exclusive_group()
    signals.add_argument("--kills", type=int, help="schedules of SIGKILLs alone, of all roles in all phases, until so many were done")
    signals.add_argument("--stops", type=int, help="the same of SIGSTOPs, with the deaths of servers that their phases need")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures and every schedule here")
    parser.add_argument("--keep", type=pathlib.Path, help="keep the folders of failed schedules here (build/chaos)")
    parser.add_argument("--binary", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.what = "kills" if options.kills else "stops" if options.stops else "schedules"
    options.modes = options.modes.split(",")
    if unknown := set(options.modes) - set(CONSISTENCY):
        parser.error(f"--modes: no {', '.join(sorted(unknown))}; there are {', '.join(CONSISTENCY)}")
    return options


def replay_text(options, seed):
    return (f"tools/chaos --seed {seed} --{options.what} 1 --faults {options.faults} --replicas {options.replicas} "
            f"--modes {','.join(options.modes)}")


def run_one(options, seed):
    schedule = DRAWS[options.what](seed, options.modes, options.replicas, options.faults)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"muster-chaos-{seed}-"))
    record = run_schedule(options.binary.resolve(), schedule, folder)
    verdict = "ok" if record["failed"] is None else "FAILED"
    print(f"seed {seed}: {verdict}, {schedule.mode}, {schedule.workers} workers, {schedule.ps} ps, {len(record['faults'])} faults, "
          f"{record.get('torn', 0)} torn, {record['seconds']} s", flush=True)
    if record["failed"] is not None or record["restarts"]:
        kept = (options.keep or pathlib.Path("build/chaos")) / str(seed)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)
        print(f"  {record['failed'] or 'passed, but a process ended by itself'}\n  faults: {'; '.join(record['faults'])}\n  again: {replay_text(options, seed)}\n  logs: {kept}",
              flush=True)
    for what, n in record["restarts"].items():
        print(f"  {n} ended: {what}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return record


def is_enough(options, records, end):
    if wanted := options.kills or options.stops:
        return n_of(options.what.rstrip("s"), records) >= wanted or len(records) >= wanted  # the job may be refused
    return len(records) >= options.schedules if options.schedules else time.monotonic() >= end


def main(arguments):
    options = parse(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    print(f"chaos: seed {seed}, {options.binary}, replicas {options.replicas}", flush=True)
    end, records = time.monotonic() + options.seconds, []
    while not is_enough(options, records, end):
        records.append(run_one(options, seed + len(records)))
    figures = {"seed": seed, "replicas": options.replicas, "cpus": os.cpu_count(), **summary(records)}
    print_table(figures)
    if options.json:
        options.json.write_text(json.dumps({**figures, "records": records}, indent=1))
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
