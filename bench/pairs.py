"""Paired runs on a machine that others may use too: A, B, A, B, …, each watched for foreign CPU time.

A side is a function that runs something and returns {metric: value}; a run during which other processes took more than a
share of the machine's CPU time is void and repeated.
"""
import os
import resource
import signal
import statistics
import subprocess
import time

QUIET_WINDOW_S = 0.5
QUIET_WAIT_S = 60  # for others to finish before a run; then it is tried anyway


class RunFailed(Exception):
    """A side did not deliver: the command failed or printed something else."""


class PeerMissing(Exception):
    """What a peer needs cannot be installed here; its figures are left out, which is no failure of the bench."""


# Variables that neither side gets: they choose a role, log levels, or the kernels and threads of one side's libraries only
# (OPENBLAS_CORETYPE=Haswell halves our GEMMs on a processor with AVX-512, and leaves PyTorch's as they are).
DROPPED_VARIABLES = ("TF_", "MUSTER_", "OPENBLAS_", "GOTO_", "OMP_", "KMP_", "MKL_", "ATEN_", "DNNL_", "ONEDNN_")


def dropped_variables():
    """Those that the environment has, "NAME=value" each."""
    return [f"{name}={value}" for name, value in sorted(os.environ.items())
            if name.startswith(DROPPED_VARIABLES) and not name.startswith("MUSTER_BENCH")]


def side_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(DROPPED_VARIABLES)}


def end_group(process):
    """Kills a process that leads its own process group, and all that it started; they are waited for as far as they are ours."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def execute(command, timeout):
    """Runs a command to its end and returns its standard output; RunFailed says what it printed when it failed."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                   text=True, env=side_environment(), start_new_session=True)
    except OSError as error:
        raise RunFailed(f"{command[0]}: {error.strerror}") from error
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as expired:
        raise RunFailed(f"{' '.join(command)}\n  did not end within {timeout} s") from expired
    finally:
        if process.returncode is None:  # also after Ctrl-C: the command is in another session and does not see it
            end_group(process)
    if process.returncode != 0:
        tail = "\n  ".join((errors or output).strip().splitlines()[-12:])
        raise RunFailed(f"{' '.join(command)}\n  ended with {process.returncode}:\n  {tail}")
    return output


def busy_and_total_seconds():
    """CPU seconds that the machine was busy, and all of them, since boot (proc(5): /proc/stat)."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:]]
    user, nice, system, idle, iowait, irq, softirq, steal = (ticks + [0] * 8)[:8]
    # Interrupts belong to the busy time: where they are not accounted by themselves, the process that they interrupt is
    # charged with them, and loopback traffic is handled in them. Steal is what another guest of the host took.
    busy = user + nice + system + irq + softirq + steal
    return busy / os.sysconf("SC_CLK_TCK"), (busy + idle + iowait) / os.sysconf("SC_CLK_TCK")


def softirq_threads():
    """/proc/PID/stat of the kernel's ksoftirqd threads."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit():
                with open(f"/proc/{name}/comm", encoding="utf-8", errors="replace") as comm:
                    if comm.read().startswith("ksoftirqd/"):
                        found.append(f"/proc/{name}/stat")
        except OSError:
            continue  # it ended meanwhile
    return found


def softirq_seconds(threads):
    """CPU seconds of the kernel's ksoftirqd threads. They carry what is left of loopback traffic when there is much of it,
    which here is the sides' own; whoever else causes such traffic shows in the time of its own processes, too."""
    ticks = 0
    for path in threads:
        with open(path, encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, fields 14 and 15 of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


SOFTIRQ_THREADS = softirq_threads()


def own_seconds():
    """CPU seconds of this process, of all descendants that have ended and were waited for, and of ksoftirqd."""
    total = softirq_seconds(SOFTIRQ_THREADS)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def session_seconds(session):
    """CPU seconds of the living processes of a session, and of the children that they have waited for."""
    ticks = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.getsid(int(name)) == session:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                    fields = stat.read().rsplit(")", 1)[1].split()
                ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
        except OSError:
            continue  # it ended meanwhile
    return ticks / os.sysconf("SC_CLK_TCK")


def watched(side):
    """Runs a side; returns its values and the share of the machine's CPU time that was foreign meanwhile.

    A side whose processes outlive its runs has a method own_seconds; what they use while another side runs is foreign.
    """
    living_seconds = getattr(side, "own_seconds", lambda: 0.0)
    own_before = own_seconds() + living_seconds()
    busy_before, total_before = busy_and_total_seconds()
    values = side()
    busy, total = busy_and_total_seconds()
    foreign = (busy - busy_before) - (own_seconds() + living_seconds() - own_before)
    return values, max(0.0, foreign / max(total - total_before, 1e-9))


def wait_until_quiet(limit):
    """Returns when others took less than limit for a moment, or after QUIET_WAIT_S."""
    end = time.monotonic() + QUIET_WAIT_S
    while time.monotonic() < end:
        _, foreign = watched(lambda: time.sleep(QUIET_WINDOW_S))
        if foreign <= limit:
            return


class Pairs:
    """How pairs are run, and what was run."""

    def __init__(self, n_pairs, foreign_limit, tries_a_run, say):
        self.n_pairs = n_pairs
        self.foreign_limit = foreign_limit
        self.tries_a_run = tries_a_run
        self.say = say

    def run_once(self, name, side):
        """One valid run as {"values", "foreign"}, or None when every try was disturbed."""
        for _ in range(self.tries_a_run):
            wait_until_quiet(self.foreign_limit)
            values, foreign = watched(side)
            is_void = foreign > self.foreign_limit
            shown = "  ".join(f"{metric} {value:.4g}" for metric, value in values.items())
            self.say(f"    {name:<10} foreign CPU {100 * foreign:4.1f} %{'  VOID' if is_void else ''}   {shown}")
            if not is_void:
                return {"values": values, "foreign": foreign}
        return None

    def run(self, sides):
        """Runs [(name, side), …] one after the other, n_pairs times; returns the complete rounds, each {name: run}."""
        rounds = []
        for _ in range(self.n_pairs):
            runs = {}
            for name, side in sides:
                runs[name] = self.run_once(name, side)
                if runs[name] is None:
                    break
            else:
                rounds.append(runs)
        return rounds


def medians(rounds, metric, muster, peer, lower_is_better=False):
    """(Muster's median, the peer's median, the median of the paired ratios; above 1 means Muster is better)."""
    ours = [one[muster]["values"][metric] for one in rounds]
    if peer is None:
        return statistics.median(ours), None, None
    theirs = [one[peer]["values"][metric] for one in rounds]
    ratios = [b / a if lower_is_better else a / b for a, b in zip(ours, theirs)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios)
