"""Cost over 1 to 4 workers by 1 to 4 parameter servers: dense-mlp with batches of 64, as a table and a picture.

On few CPUs only the shape says something: what one more process costs, not what one more machine brings.
"""
import json
import os
import resource

from chart import draw
from entries import program_side, write_job
from pairs import RunFailed, execute, medians

COUNTS = (1, 2, 3, 4)
BATCH = 64
EPOCHS = 6
N_SHORT_STEPS = 100
PROBE_SECONDS = 2
RATE = "examples_per_second"
COST = "cpu_us_per_example"


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_job(setting, n_workers, n_ps, length):
    """Runs a job; returns its result.json and the CPU seconds of all its processes."""
    partitioner = {"class_name": "MinSizePartitioner", "config": {"min_shard_bytes": 262144, "max_shards": n_ps}}
    path, result_path = write_job(setting, "sweep", {"batch_size": BATCH, "partitioner": partitioner} | length)
    before = children_seconds()
    execute([setting.muster(), "local", path, "--workers", str(n_workers), "--ps", str(n_ps)], 300)
    seconds = children_seconds() - before
    with open(result_path, encoding="utf-8") as result:
        return json.load(result), seconds


def muster_side(setting, n_workers, n_ps):
    """A side that gives rate and CPU time per example. Start, reading of the data and evaluation cost the same in a job of
    a hundred steps, so the CPU time of such a one is taken off."""
    def side():
        short, short_seconds = run_job(setting, n_workers, n_ps, {"epochs": None, "steps": N_SHORT_STEPS})
        result, seconds = run_job(setting, n_workers, n_ps, {"epochs": setting.epochs(EPOCHS)})
        n_examples = result["examples"] - short["examples"]
        return {RATE: result["examples_per_second"], COST: 1e6 * (seconds - short_seconds) / n_examples}
    return side


def probe_side(setting, n_workers, n_ps):
    """The same two numbers of the bare probe, whose start costs next to nothing."""
    seconds = min(PROBE_SECONDS, setting.seconds)
    run = program_side(setting, "exchange_probe", [n_workers, n_ps, BATCH, seconds], [RATE])

    def side():
        before = children_seconds()
        rate = run()[RATE]
        return {RATE: rate, COST: 1e6 * (children_seconds() - before) / (rate * seconds)}
    return side


def sweep(setting, pairs):
    """Medians at every point that could be measured, and the table of them as Markdown."""
    points = []
    for n_workers in COUNTS:
        for n_ps in COUNTS:
            pairs.say(f"sweep: {n_workers} worker(s), {n_ps} parameter server(s)")
            try:
                rounds = pairs.run([("muster", muster_side(setting, n_workers, n_ps)),
                                    ("probe", probe_side(setting, n_workers, n_ps))])
            except RunFailed as why:
                pairs.say(f"  NOT MEASURED: {why}")
                continue
            if not rounds:
                pairs.say("  NOT MEASURED: every pair was disturbed by other processes")
                continue
            rate, probe_rate, ratio = medians(rounds, RATE, "muster", "probe")
            cost, probe_cost, _ = medians(rounds, COST, "muster", "probe")
            points.append({"workers": n_workers, "ps": n_ps, RATE: rate, COST: cost, "probe_" + RATE: probe_rate,
                           "probe_" + COST: probe_cost, "ratio": ratio})
    print_points(points, pairs.say)
    return points


def print_points(points, say):
    say()
    say("| Workers | PS | examples/s | CPU µs an example | probe: examples/s | CPU µs an example | ratio of the rates |")
    say("|---|---|---|---|---|---|---|")
    for point in points:
        say(f"| {point['workers']} | {point['ps']} | {point[RATE]:,.0f} | {point[COST]:.2f} | {point['probe_' + RATE]:,.0f} "
            f"| {point['probe_' + COST]:.2f} | {point['ratio']:.2f} |")


def panel_of(points, title, key):
    """A panel of the picture: over workers, a line for each number of servers."""
    lines = []
    for n_ps in COUNTS:
        mine = [point for point in points if point["ps"] == n_ps]
        if mine:
            lines.append((f"{n_ps} PS", [(point["workers"], point[key]) for point in mine]))
    return title, "workers", lines


def run_sweep(setting, pairs, path, write_json, machine):
    """Measures, writes path.json and path.svg; returns the exit code."""
    points = sweep(setting, pairs)
    write_json(path + ".json", {"machine": machine, "points": points})
    with open(path + ".svg", "w", encoding="utf-8") as out:
        out.write(draw([panel_of(points, "Examples a second", RATE), panel_of(points, "CPU time an example, µs", COST)]))
    pairs.say(f"\nwritten: {os.path.relpath(path)}.json and .svg")
    return 0 if len(points) == len(COUNTS) ** 2 else 1
