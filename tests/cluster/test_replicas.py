"""Parameter servers die, stand still and are told to stop in jobs with replicas: nothing is lost and nothing counts twice, said by
the weights (counting_job.py); nobody needs to do anything."""
import os

import pytest

import chaos
from chaos import Fault

SEEDS = [1] + [int(seed) for seed in os.environ.get("MUSTER_SEED", "").split()]


def passed(binary, folder, schedule):
    record = chaos.run_schedule(binary, schedule, folder)
    print(record)
    assert record["failed"] is None, record  # on a machine that stands still now and then, processes may end and come back
    assert record["lost_updates"] == record["examples_skipped"] == record["examples_doubled"] == 0, record
    return record


def schedule_of(faults, ps=3, replicas=1):
    return chaos.Schedule(1, "async", 2, ps, ps, replicas, 400, faults)


@pytest.mark.parametrize("kind, ps, replicas", [("kill", 2, 1), ("kill", 3, 1), ("kill", 3, 2), ("kill in a push", 2, 1),
                                                ("stop long", 2, 1), ("terminate", 2, 1)])
def test_one_server_after_the_other(binary, tmp_path, kind, ps, replicas):
    """Each when all copies are there again."""
    faults = [Fault("steady", kind, f"ps-{index}", 0.1 * index) for index in range(ps)]
    record = passed(binary, tmp_path, schedule_of(faults, ps, replicas))
    assert not record["missed"] and record["torn"] == 0, record


@pytest.mark.parametrize("other", ["chief-0", "worker-0"])
def test_another_process_dies_with_it(binary, tmp_path, other):
    faults = [Fault("steady", "kill", "ps-1", 0.1), Fault("recovery", "kill", other, 0.02), Fault("steady", "kill", "ps-0", 0.1)]
    record = passed(binary, tmp_path, schedule_of(faults))
    assert not record["missed"], record


def test_two_of_three_copies_die(binary, tmp_path):
    """A primary and a backup a moment apart, in any order: who is left had all."""
    record = passed(binary, tmp_path, schedule_of([Fault("steady", chaos.TWO_COPIES, f"group-{group}", 0.1, 0.3)
                                                   for group in (0, 2)], replicas=2))
    assert not record["missed"] and record["torn"] == 0 and len(record["full_again"]) == 2, record


def test_bits_turn_on_the_way(binary, tmp_path):
    """In headers, messages, gradients, parameters, and in what one server sends another. A gradient that is not what it was moves
    weights that no example of its batch does."""
    links = ["worker-0>ps-0", "ps-0>ps-1", "worker-1>ps-1", "ps-1>ps-0", "chief-0>ps-1"]
    faults = [Fault("steady", kind, link, 0.02) for kind in ("corrupt body", "corrupt") for link in links]
    faults += [Fault("steady", "kill", "ps-0", 0.1), Fault("recovery", "corrupt body", "ps-1>ps-0", 0),
               Fault("steady", "corrupt body", links[0], 0)]
    record = passed(binary, tmp_path, schedule_of(faults, 2, 1))
    assert not record["missed"], record


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_schedule(binary, tmp_path, replicas, seed):
    passed(binary, tmp_path, chaos.draw(seed, ["async"], replicas, 6))


def check_losses(record):
    """Log, weights and result.json say the same numbers."""
    assert record["losses"] and all(told == counted > 0 for told, counted in record["losses"]), record
    assert sum(told for told, _ in record["losses"]) == record["lost_updates"], record


@pytest.mark.parametrize("mode", ["bounded", "async"])
def test_all_copies_of_a_group_die(binary, tmp_path, mode):
    """What is lost is a number, the same in log, result.json and weights; and the other groups lose nothing."""
    schedule = schedule_of([Fault("steady", chaos.ALL_COPIES, "group-1", 0.5, 0.3)])
    schedule.mode = mode
    record = chaos.run_schedule(binary, schedule, tmp_path)
    print(record)
    assert record["failed"] is None and not record["missed"], record
    check_losses(record)


def test_groups_die_one_after_the_other(binary, tmp_path):
    """One twice, and another one between; each number is of its own."""
    record = chaos.run_schedule(binary, schedule_of([Fault("steady", chaos.ALL_COPIES, f"group-{group}", 0.5, 0.3)
                                                     for group in (1, 0, 1)]), tmp_path)
    print(record)
    assert record["failed"] is None and not record["missed"], record
    check_losses(record)


def test_the_chief_dies_before_all_is_counted(binary, tmp_path):
    """What workers had not reported is counted by the next one."""
    faults = [Fault("steady", chaos.ALL_COPIES, "group-1", 0.5, 0.3), Fault("recovery", "kill", "chief-0", 0.05)]
    schedule = schedule_of(faults)
    schedule.every_steps = 100000  # so the next cut is the last one
    record = chaos.run_schedule(binary, schedule, tmp_path)
    print(record)
    assert record["failed"] is None and not record["missed"], record
    check_losses(record)


@pytest.mark.parametrize("replicas, mode, unstored_from", [(0, "async", "map"), (0, "synchronous", "map"), (1, "async", "kill"),
                                                           (1, "synchronous", "kill"), (1, "synchronous", "map")])
def test_the_chief_dies_that_alone_knows_of_a_loss(binary, tmp_path, replicas, mode, unstored_from):
    """Nobody restores what the next chief would not count. What it was about to count, or had, the next one counts once."""
    schedule = schedule_of([Fault("steady", chaos.ALL_COPIES, "group-1", 0.5, 0.3, unstored_from)], replicas=replicas)
    schedule.mode = mode
    record = chaos.run_schedule(binary, schedule, tmp_path)
    print(record)
    assert record["failed"] is None and not record["missed"], record
    (told, counted), = record["losses"]
    assert told == record["lost_updates"] > 0 and counted > 0, record


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_in_all_phases(binary, tmp_path, seed):
    record = passed(binary, tmp_path, chaos.draw_kills(seed, ["async", "bounded"], 1, 6))
    assert len(record["deaths"]) >= 5, record
