"""`make bench-independence`: releases that wait for ever must not hold up others.

The others are installed alone and beside the waiting ones, in alternation, on one operator.
"""

import time
from typing import Any

from benchmark import waves
from benchmark.api import charts_path
from benchmark.metrics import HELM_RUNNING, RECONCILING, Metrics
from benchmark.processes import memory_mb
from benchmark.results import environment
from benchmark.world import World, fresh, say
from harness.operator_process import OperatorProcess

GOAL = 1.3
ROUNDS = 2
_POLL_SECONDS = 0.1
# Thirty releases are applied within ten seconds; one that is not by then is a defect.
_WAITING_SECONDS = 120.0
NEVER = {"replicaCount": 1, "podAnnotations": {"devcluster.managedchart.dev/fail": "never"}}


def run(*, waiting: int, others: int) -> dict[str, Any]:
    """Install the others alone, then beside the waiting ones, twice; return the document."""
    alone = beside = memory = 0.0
    with fresh() as world, world.operator("operator") as operator:
        world.namespace("others")
        world.namespace("waiting")
        # So that the others have the share of a namespace among several in both rounds.
        waves.install(world.api, "waiting", ["resident"])
        stuck = [f"waiting-{number:03d}" for number in range(waiting)]
        for number in range(1, ROUNDS + 1):
            say(f"round {number} of {ROUNDS}: alone")
            alone += _install(world, others, number=2 * number)
            say(f"round {number} of {ROUNDS}: beside {waiting} that wait")
            for name in stuck:
                world.api.request("POST", charts_path("waiting"), waves.body_of(name, values=NEVER))
            _until_waiting(operator, waiting)
            memory = max(memory, memory_mb(operator.pid))
            beside += _install(world, others, number=2 * number + 1)
            waves.delete(world.api, "waiting", stuck)
        where = environment(world.helm)
    return {
        "n": others,
        "waiting": waiting,
        "waiting_rss_mb": round(memory, 1),
        "alone_seconds": round(alone, 3),
        "beside_seconds": round(beside, 3),
        "ratio": round(beside / alone, 3),
        "goal": GOAL,
        "environment": where,
    }


def table(document: dict[str, Any]) -> str:
    """Return the document as text."""
    return (
        f"{document['n']} installs, twice: {document['alone_seconds']:.2f} s alone, {document['beside_seconds']:.2f} s beside"
        f" {document['waiting']} that wait (no helm runs for them, the operator has {document['waiting_rss_mb']:.0f} MiB):"
        f" {document['ratio']:.2f} times (goal: at most {document['goal']})"
    )


def _install(world: World, count: int, *, number: int) -> float:
    names = [f"other-{number}-{index:03d}" for index in range(count)]
    seconds = waves.install(world.api, "others", names)
    waves.delete(world.api, "others", names)
    return seconds


def _until_waiting(operator: OperatorProcess, count: int) -> None:
    """Return when so many resources are being reconciled and no helm is left."""
    deadline = time.monotonic() + _WAITING_SECONDS
    while time.monotonic() < deadline:
        now = Metrics.read(operator.port)
        running = int(now.sum(RECONCILING))
        if running >= count and now.sum(HELM_RUNNING) == 0:
            return
        time.sleep(_POLL_SECONDS)  # nothing of this is written anywhere but in the metrics
    raise TimeoutError(f"{running} of {count} releases wait after {_WAITING_SECONDS:.0f} s")
