"""Monotonic clocks that have nothing to do with each other, as on machines that were started at other times: leases are
counted on each side for itself (counting_job.py counts the examples)."""
import pytest

import hosts

WHY_NOT = "this user may not make time namespaces (root may, from Linux 6.3 on)"
pytestmark = pytest.mark.skipif(not hosts.can_shift_clocks(), reason=WHY_NOT)


def test_clocks_that_differ(on_hosts):
    """Years apart in both directions; a server that is replaced and comes back has another clock by then."""
    training = on_hosts()
    training.running.shifts = {"ps-0": hosts.shift(10**9), "ps-1": hosts.shift(86400), "chief-0": hosts.shift(10**6),
                               "worker-0": hosts.shift(3 * 10**8), "worker-1": hosts.shift(5)}
    training.start()
    for index, seconds in ((0, 7), (1, 10**9)):
        training[f"ps-{index}"].kill()
        training.wait_steps(100)
        training.running.shifts[f"ps-{index}"] = hosts.shift(seconds)
        training.running.start(f"ps-{index}")
        training.wait_full()
    training.chief.kill()
    training.running.shifts["chief-0"] = hosts.shift(1)
    training.running.start("chief-0").wait_log("recalled term=2")
    training.finish()
