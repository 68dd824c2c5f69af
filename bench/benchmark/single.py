"""One release at a time on an idle operator: how soon helm starts, and what an install costs the operator itself.

The start of helm is noted by a shell that becomes helm, so that nothing of the operator's own account is trusted; the
shell's own start (about 2 ms) counts against the operator.
"""

import time
from statistics import median

from benchmark import waves
from benchmark.processes import cpu_seconds
from benchmark.results import Single
from benchmark.world import World, say

SAMPLES = 15
# A pause after each, for the Event after Ready and the watch events that follow: the next one is to meet an idle operator,
# and its own CPU must not be counted for another.
_PAUSE_SECONDS = 0.5


def run(world: World, *, samples: int = SAMPLES) -> Single:
    """Install one after another; each is counted from just before its creation."""
    namespace = world.namespace("single")
    program, stamps = world.stamping_helm()
    latencies, cpus, readies = [], [], []
    with world.operator("single", helm=program) as operator:
        time.sleep(_PAUSE_SECONDS)  # nothing announces that an operator is idle
        # The first one pays for what is loaded once; it is an install like others in the phases, but not a typical one.
        for number in range(samples + 1):
            name = f"single-{number}"
            cpu, created = cpu_seconds(operator.pid), time.time()
            ready = waves.install(world.api, namespace, [name])
            time.sleep(_PAUSE_SECONDS)  # what follows an install is not announced either
            if number > 0:
                cpus.append(cpu_seconds(operator.pid) - cpu)
                latencies.append(started_at(stamps.read_text(), name) - created)
                readies.append(ready)
        waves.delete(world.api, namespace, [f"single-{number}" for number in range(samples + 1)])
    say(f"  helm starts after {1000 * median(latencies):.0f} ms")
    return Single(
        samples=samples,
        start_latency_ms=1000 * median(latencies),
        start_latency_max_ms=1000 * max(latencies),
        operator_cpu_ms=1000 * median(cpus),
        ready_ms=1000 * median(readies),
    )


def started_at(stamps: str, release: str) -> float:
    """Return when helm was last started for a release, in seconds since the epoch. Raises LookupError."""
    for line in reversed(stamps.splitlines()):
        name, _, moment = line.partition(" ")
        if name == release:
            return float(moment)
    raise LookupError(f"helm was not started for {release}")
