"""`make bench`: install, noop, upgrade, restart and delete, with the operator (A) and with plain helm (B).

The rounds alternate A, B, A, B, so that what changes on the machine meanwhile meets both.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from benchmark import audit, floor, single, waves
from benchmark.metrics import API_REQUESTS, HELM_CPU, HELM_STARTED, LOOP_LAG_MAX, RECONCILES, Metrics
from benchmark.processes import MemoryWatch, cpu_seconds, memory_mb
from benchmark.results import PhaseResult, Result, environment
from benchmark.world import World, fresh, say
from harness.audit import read_audit_log
from harness.operator_process import OperatorProcess

OURS, THEIRS = "bench", "floor"
# The operator writes nothing when it finds all in sync, so the end of a restart is read from its metrics.
_POLL_SECONDS = 0.05
_RESTART_SECONDS = 300.0
# After the last Ready the operator still posts an Event and frees what it held.
_SETTLE_SECONDS = 2.0


def run(*, n: int, rounds: int = 2, audited: bool = False) -> Result:
    """Run the benchmark with n releases on a fresh cluster."""
    result = Result(n, rounds)
    with fresh(audit=audited) as world:
        result.environment = environment(world.helm)
        say("one at a time")
        result.single = single.run(world)
        with world.operator("operator") as operator:
            _Run(world, operator, result).all()
        if world.audit_log:
            result.audit_requests = audit.by_client(read_audit_log(world.audit_log))
    return result


class _Run:
    def __init__(self, world: World, operator: OperatorProcess, result: Result) -> None:
        self.world, self.operator, self.result = world, operator, result
        world.namespace(OURS)
        world.namespace(THEIRS)
        names = [f"bench-{number:05d}" for number in range(result.n)]
        rounds = min(result.rounds, result.n)
        self.slices = [names[start::rounds] for start in range(rounds)]
        self.names = names

    def all(self) -> None:
        """Run all phases, in their order."""
        api, world = self.world.api, self.world
        # helm's values, and the operator's, for what is changed by the upgrade.
        tag = "2.0"
        self._phase(
            "install",
            lambda names: waves.install(api, OURS, names),
            lambda names: floor.upgrade(world, THEIRS, names),
        )
        self._phase(
            "noop",
            # A new generation that changes nothing of what runs; an apply of the same does not even reach the operator.
            lambda names: waves.change(api, OURS, names, generation=2, timeout="181s"),
            lambda names: floor.upgrade(world, THEIRS, names),
        )
        self._phase(
            "upgrade",
            lambda names: waves.change(api, OURS, names, generation=3, values={"image": {"tag": tag}}),
            lambda names: floor.upgrade(world, THEIRS, names, f"image.tag={tag}"),
        )
        time.sleep(_SETTLE_SECONDS)  # the memory is that of an idle operator, and nothing announces one
        self.result.operator_idle_rss_mb = memory_mb(self.operator.pid)
        self._restart()
        self._phase(
            "delete",
            lambda names: waves.delete(api, OURS, names),
            lambda names: floor.uninstall(world, THEIRS, names),
        )

    def _phase(self, name: str, ours: Callable[[list[str]], float], theirs: Callable[[list[str]], floor.Cost]) -> None:
        phase = self.result.phases[name]
        for number, names in enumerate(self.slices, start=1):
            say(f"{name}, round {number} of {len(self.slices)}: operator, then helm")
            with self._metered(phase):
                phase.seconds += ours(names)
            self._floor(phase, partial(theirs, names))

    def _restart(self) -> None:
        """From the signal to end to the moment when the new process has found every release in sync."""
        say("restart: operator, then helm")
        phase = self.result.phases["restart"]
        started, cluster = time.monotonic(), self.world.cluster_cpu_seconds()
        self.operator.stop()
        self.operator.start()
        with MemoryWatch(self.operator.pid) as memory:
            deadline = started + _RESTART_SECONDS
            while (now := Metrics.read(self.operator.port)).sum(RECONCILES) < self.result.n:
                if time.monotonic() > deadline:
                    raise TimeoutError("the restarted operator does not come to an end")
                time.sleep(_POLL_SECONDS)  # the operator writes nothing for what is in sync
        phase.seconds = time.monotonic() - started
        phase.cluster_cpu_seconds = self.world.cluster_cpu_seconds() - cluster
        phase.operator_cpu_seconds = cpu_seconds(self.operator.pid)
        phase.helm_cpu_seconds = now.sum(HELM_CPU)
        phase.helm_processes = int(now.sum(HELM_STARTED))
        phase.api_requests = int(now.sum(API_REQUESTS))
        self._memory(memory, now)
        self._floor(phase, partial(floor.look, self.world, THEIRS, self.names))

    @contextmanager
    def _metered(self, phase: PhaseResult) -> Iterator[None]:
        before, cpu = Metrics.read(self.operator.port), cpu_seconds(self.operator.pid)
        cluster, client = self.world.cluster_cpu_seconds(), time.process_time()
        with MemoryWatch(self.operator.pid) as memory:
            yield
        phase.operator_cpu_seconds += cpu_seconds(self.operator.pid) - cpu
        phase.cluster_cpu_seconds += self.world.cluster_cpu_seconds() - cluster
        phase.client_cpu_seconds += time.process_time() - client
        after = Metrics.read(self.operator.port)
        phase.helm_cpu_seconds += after.sum(HELM_CPU) - before.sum(HELM_CPU)
        phase.helm_processes += int(after.sum(HELM_STARTED) - before.sum(HELM_STARTED))
        phase.api_requests += int(after.sum(API_REQUESTS) - before.sum(API_REQUESTS))
        self._memory(memory, after)

    def _memory(self, memory: MemoryWatch, metrics: Metrics) -> None:
        result = self.result
        result.operator_peak_rss_mb = max(result.operator_peak_rss_mb, memory.operator_peak_mb)
        result.helm_peak_rss_mb = max(result.helm_peak_rss_mb, memory.helm_peak_mb)
        result.total_peak_rss_mb = max(result.total_peak_rss_mb, memory.total_peak_mb)
        result.max_loop_lag_ms = max(result.max_loop_lag_ms, 1000 * metrics.sum(LOOP_LAG_MAX))

    def _floor(self, phase: PhaseResult, helms: Callable[[], floor.Cost]) -> None:
        before = self.world.cluster_cpu_seconds()
        cost = helms()
        phase.floor_cluster_cpu_seconds += self.world.cluster_cpu_seconds() - before
        phase.floor_seconds += cost.seconds
        phase.floor_cpu_seconds += cost.cpu_seconds
        self.result.floor_helm_peak_rss_mb = max(self.result.floor_helm_peak_rss_mb, cost.peak_mb)
