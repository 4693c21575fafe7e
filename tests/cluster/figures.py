"""What the schedules of the proving ground (chaos.py) came to: from their records to a table."""
import collections
import statistics

import counting_job
from schedules import PHASES


def n_of(kind_begins, records):
    """Faults of the kinds that begin so."""
    return sum(n for record in records for kind, n in record["kinds"].items() if kind.startswith(kind_begins))


def summary(records):
    kinds, pauses = collections.Counter(), collections.defaultdict(list)
    for record in records:
        kinds.update(record["kinds"])
        for what, seconds in record["pauses"]:
            pauses[what].append(seconds)
    torn_examples = sum(record.get("torn", 0) for record in records) * counting_job.BATCH
    lacking = sum(record.get("examples_lacking", 0) for record in records if record.get("counts_wrong"))
    return {"schedules": len(records), "failed": sum(record["failed"] is not None for record in records),
            "faults": dict(sorted(kinds.items())), "kills": n_of("kill", records), "stops": n_of("stop", records),
            "missed": sum(len(record["missed"]) for record in records),
            "hangs": sum(record["hang"] for record in records),
            "pushes_doubled": sum(record.get("examples_doubled", 0) for record in records) / counting_job.BATCH,
            "pushes_lost": max(0, lacking - torn_examples) / counting_job.BATCH,
            "examples_skipped": sum(record.get("examples_skipped", 0) for record in records),
            "torn": sum(record.get("torn", 0) for record in records),
            "deaths": {role: dict(collections.Counter(phase for record in records for who, phase in record["deaths"] if who == role))
                       for role in sorted({who for record in records for who, _ in record["deaths"]})},
            "losses": [list(loss) for record in records for loss in record.get("losses", [])],
            "full_again_s": median_and_worst([seconds for record in records for seconds in record["full_again"]]),
            "processes_restarted_that_nobody_killed": sum(sum(record["restarts"].values()) for record in records),
            "pauses": {what: {"n": len(all_), "median_ms": round(1000 * statistics.median(all_), 1),
                              "worst_ms": round(1000 * max(all_), 1)} for what, all_ in sorted(pauses.items())}}


def median_and_worst(values):
    return {"n": len(values), "median": round(statistics.median(values), 3), "worst": max(values)} if values else {"n": 0}


def print_table(figures):
    print("\n| What | Figure |\n|---|---|")
    for name in ("schedules", "failed", "kills", "stops", "missed", "pushes_lost", "pushes_doubled", "examples_skipped", "torn", "hangs",
                 "processes_restarted_that_nobody_killed"):
        print(f"| {name.replace('_', ' ')} | {figures[name]:g} |")
    if figures["full_again_s"]["n"]:
        print("| seconds from a server's death to full redundancy, median and worst of {n} | {median} and {worst} |".format(**figures["full_again_s"]))
    for told, counted in figures["losses"]:
        print(f"| all copies of a group killed, once or again: updates lost by log and result.json, and by the weights | {told}, {counted} |")
    print(f"\n| Killed | {' | '.join(PHASES)} |\n|---|{'---|' * len(PHASES)}")
    for role, phases in figures["deaths"].items():
        print(f"| {role} | {' | '.join(str(phases.get(phase, '')) for phase in PHASES)} |")
    print("\n| Fault | Times | Longest pause of a worker: median | worst |\n|---|---|---|---|")
    for kind, n in figures["faults"].items():
        pause = figures["pauses"].get(kind)
        print(f"| {kind} | {n} | {pause['median_ms']:.0f} ms | {pause['worst_ms']:.0f} ms |" if pause else f"| {kind} | {n} | | |")
