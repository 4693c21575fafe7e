"""A counting job on hosts of their own (hosts.py), for the tests that do something to these."""
import functools

import hosts
from replicated import Counting

LEASE_MS = 1000


class OnHosts(Counting):
    """Counting, one role a host."""

    def __init__(self, network, cluster, run, job, folder, n_ps=3, replicas=1, by_name=False, lease_ms=LEASE_MS,
                 absence_ms=60000, **more):
        job["cluster"] = {"heartbeat_ms": 100, "lease_ms": lease_ms, "absence_ms": absence_ms}
        kind = functools.partial(hosts.HostCluster, network, by_name=by_name)
        super().__init__(functools.partial(cluster, kind=kind), run, job, folder, n_ps, replicas, **more)

    def start(self, n_updates=400):
        super().start(n_updates)
        if self.job["replicas"]:
            self.wait_full()
        return self
