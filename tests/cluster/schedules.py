"""What befalls the processes of a proving-ground job (chaos.py), and when: all of it follows from a seed."""
import dataclasses
import random

CONSISTENCY = {"async": {"staleness": "async"}, "bounded": {"staleness": 4}, "synchronous": {"staleness": 0},
               "backup": {"staleness": 0, "backup_workers": 1}}
# These may cost a server its place, so they need a replica, and one at a time.
SERVER_KINDS = ("kill", "kill in a push", "stop long", "terminate", "silent long", "reset and reset")
LINK_KINDS = {"silent short": 3, "silent long": 1, "reset": 4, "reset and reset": 2, "half-close": 2, "delay": 2, "throttle": 2,
              "corrupt": 3, "corrupt body": 3, "twice": 3}
ALL_COPIES = "kill all copies"  # of a group: what its servers held and no checkpoint has is lost
TWO_COPIES = "kill two copies"  # of the three of a group, the primary's and another one, a moment apart: nothing is lost
PHASES = ("start", "creation", "steady", "checkpoint", "recovery", "refill", "end")


@dataclasses.dataclass
class Fault:
    phase: str  # start, creation (of variables), steady, checkpoint, recovery (right after the fault before), refill, end
    kind: str
    target: str  # a role, "reader>role" for a link, or "group-N": the PSs that have copies of what the plan gives to ps-N
    wait_s: float  # in the phase
    back_s: float = 0.5  # until what was killed is started again
    unstored_from: str = ""  # "kill" or "map": what the chief stores of all copies' loss does not arrive, and then it dies, too

    def __str__(self):
        return f"{self.kind} {self.target} ({self.phase} + {self.wait_s:.2f} s)"


@dataclasses.dataclass
class Schedule:
    seed: int
    mode: str
    workers: int
    ps: int
    shards: int
    replicas: int
    every_steps: int
    faults: list
    has_evaluator: bool = False


def draw_fault(chance, workers, ps, replicas):
    """One fault; what may befall a server depends on the replicas."""
    phase = chance.choices(["start", "steady", "checkpoint", "recovery", "end"], [1, 8, 3, 4, 1])[0]
    what = chance.choices(["worker", "chief", "ps", "link"], [5, 3, 4 if replicas else 1, 5])[0]
    wait_s, back_s = chance.uniform(0, 0.6), chance.choice([0, 0, 0.3, 1.2])
    if what == "worker":
        kind = chance.choices(["kill", "kill in a push", "stop short", "stop long", "terminate"], [4, 4, 2, 2, 1])[0]
        target = f"worker-{chance.randrange(workers)}"
    elif what == "chief":
        kind = chance.choices(["kill", "stop short", "stop long"], [6, 1, 1])[0]
        target = "chief-0"
    elif what == "ps":
        kinds = {"stop short": 2} | ({"kill": 6, "kill in a push": 4, "stop long": 2, "terminate": 2} if replicas else {})
        kind, target = chance.choices(list(kinds), kinds.values())[0], f"ps-{chance.randrange(ps)}"
    else:
        kind = chance.choices(list(LINK_KINDS), LINK_KINDS.values())[0]
        worker, server = f"worker-{chance.randrange(workers)}", f"ps-{chance.randrange(ps)}"
        target = chance.choice([f"{worker}>{server}", f"{worker}>{server}", f"{worker}>chief-0", f"chief-0>{server}"])
        if replicas and chance.random() < 0.3:
            target = "ps-%d>ps-%d" % tuple(chance.sample(range(ps), 2))
        if kind == "twice":
            target = f"{worker}>{server}"  # only pushes come twice
    return Fault(phase, kind, target, wait_s, back_s)


def add_losses(chance, ps, replicas, faults):
    """All copies of one group die, now and then; the others have some left. Of another one or the same later as well, perhaps."""
    if not replicas or ps < replicas + 2 or chance.random() >= 0.2:
        return
    n_before_end = sum(fault.phase != "end" for fault in faults)
    for at in [0, *(chance.randint(0, n_before_end) for _ in range(chance.choice([0, 1, 2])))]:
        faults.insert(at, Fault("steady", ALL_COPIES, f"group-{chance.randrange(ps)}", chance.uniform(0.2, 0.8), chance.choice([0, 0.3])))


def add_pairs(chance, ps, replicas, faults):
    """With two backups a second server may die before anybody knows what became of the first one."""
    for _ in range(chance.choice([0, 1, 2]) if replicas >= 2 else 0):
        places = [at for at, fault in enumerate(faults) if fault.phase not in ("start", "creation", "refill")]
        faults.insert(chance.choice(places or [len(faults)]), Fault(chance.choice(["steady", "steady", "checkpoint"]), TWO_COPIES,
                      f"group-{chance.randrange(ps)}", chance.uniform(0, 0.6), chance.choice([0, 0.3, 1.2])))


def draw(seed, modes, replicas, n_faults):
    """The schedule of this seed."""
    chance = random.Random(f"{seed} {replicas}")
    mode = chance.choice(modes)
    workers, ps = chance.choice([2, 2, 3]), chance.choice([2, 2, 3] if replicas < 2 else [3, 3, 4])
    faults = sorted((draw_fault(chance, workers, ps, replicas) for _ in range(n_faults)), key=lambda fault: fault.phase == "end")
    shards, every_steps = chance.choice([ps, ps, 2 * ps, 1]), chance.choice([100, 400, 100000])
    add_losses(chance, ps, replicas, faults)
    add_pairs(chance, ps, replicas, faults)
    return Schedule(seed, mode, workers, ps, shards, replicas, every_steps, faults)


def draw_signal(chance, workers, ps, replicas, has_evaluator, stops):
    """One SIGKILL, or SIGSTOP, with its phase, after the death of a server where the phase needs one."""
    weights = {"start": 1, "creation": 1, "steady": 5, "checkpoint": 3, "recovery": 3, "refill": 3 if replicas else 0, "end": 1}
    roles = {"worker": 4, "ps": 4 if replicas or stops else 0, "chief": 3, "evaluator": 1 if has_evaluator else 0}
    phase = chance.choices(list(weights), weights.values())[0]
    before = []
    if replicas and phase in ("recovery", "refill"):
        before = [Fault("steady", "kill", f"ps-{chance.randrange(ps)}", chance.uniform(0, 0.3), chance.choice([0, 0.3]))]
    if phase == "recovery" and not stops:
        roles["ps"] = 0  # the next one when all copies are there
    kind = chance.choices(list(roles), roles.values())[0]
    target = f"{kind}-{chance.randrange({'worker': workers, 'ps': ps}.get(kind, 1))}"
    if stops:
        lasts = ["stop short", "stop long"] if replicas or kind != "ps" else ["stop short"]
        return before + [Fault(phase, chance.choice(lasts), target, chance.uniform(0, 0.3))]
    if phase == "refill" and kind == "ps":
        target = before[0].target  # the one that is filled: nobody counts on it
    how = "kill in a push" if phase == "steady" and kind in ("worker", "ps") and chance.random() < 0.4 else "kill"
    return before + [Fault(phase, how, target, chance.uniform(0, 0.3), chance.choice([0, 0.3, 0.6]))]


def draw_signals(seed, modes, replicas, n_signals, stops=False):
    """The schedule of this seed that is all SIGKILLs, or SIGSTOPs, of all roles in all phases."""
    chance = random.Random(f"{'stops' if stops else 'kills'} {seed} {replicas}")
    mode = chance.choice(modes)
    workers, ps = chance.choice([2, 2, 3]), chance.choice([2, 2, 3] if replicas < 2 else [3, 3, 4])
    has_evaluator = chance.random() < 0.5
    faults = []
    while len(faults) < n_signals:
        faults += draw_signal(chance, workers, ps, replicas, has_evaluator, stops)
    order = {"start": 0, "creation": 1, "end": 3}
    faults.sort(key=lambda fault: order.get(fault.phase, 2))
    shards, every_steps = chance.choice([ps, ps, 2 * ps]), chance.choice([100, 400])
    if not stops:
        add_pairs(chance, ps, replicas, faults)
    return Schedule(seed, mode, workers, ps, shards, replicas, every_steps, faults, has_evaluator)


def draw_kills(seed, modes, replicas, n_kills):
    return draw_signals(seed, modes, replicas, n_kills)


def draw_stops(seed, modes, replicas, n_stops):
    return draw_signals(seed, modes, replicas, n_stops, stops=True)
