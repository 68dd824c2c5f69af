"""`make bench-scale`: one operator with thousands of ManagedCharts that are all in sync.

Purpose: what they cost while nothing happens, how long a start takes, and how soon one change among them reaches helm.
Boundary: one release is installed by the operator; the others are copies of its Secret and its status under other names,
written while the operator is down, since installing thousands with helm would take an hour and measure something else.
Equal inputs have equal digests, whatever the release is called, so the copies are in sync by the operator's own rules;
that no helm starts is part of the result.
"""

import base64
import gzip
import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmark import waves
from benchmark.api import MERGE_PATCH, charts_path
from benchmark.metrics import API_REQUESTS, HELM_STARTED, LOOP_LAG_MAX, RECONCILES, Metrics
from benchmark.processes import cpu_seconds, memory_mb
from benchmark.results import environment
from benchmark.single import started_at
from benchmark.world import World, fresh, say
from harness.operator_process import OperatorProcess

NAMESPACE = "scale"
GOALS = {"rss_mb": 300.0, "start_seconds": 60.0, "idle_cpu_percent": 1.0, "change_p99_ms": 300.0}
# All names have one length, so that a release document can be renamed in place.
_NAME = "scale-{:05d}"
# After the last look the operator still ends kopf's workers and frees what they held; idle begins after that.
_SETTLE_SECONDS = 10.0
_IDLE_SECONDS = 30.0
_POLL_SECONDS = 0.1
# Above this, the copies are not in sync: the operator would be reinstalling them.
_START_SECONDS = 600.0
_WRITERS = 4


def run(*, n: int, changes: int) -> dict[str, Any]:
    """Measure one operator with n resources, and single changes to some of them; return the document."""
    names = [_NAME.format(number) for number in range(n)]
    with fresh() as world:
        world.namespace(NAMESPACE)
        program, stamps = world.stamping_helm()
        operator = world.operator("operator", helm=program)
        say("installing the one that is copied")
        with operator:
            waves.install(world.api, NAMESPACE, names[:1], values=_VALUES)
        say(f"writing {n - 1} copies")
        _copy(world, names)
        say("starting the operator")
        with operator:
            document = _started(operator, n)
            say(f"idle for {_IDLE_SECONDS:.0f} s")
            document |= _idle(operator)
            say(f"{changes} single changes")
            document |= _changes(world, random.Random(n).sample(names, min(changes, n)), stamps)
            document["rss_peak_mb"] = round(memory_mb(operator.pid, "VmHWM"), 1)
            document["max_loop_lag_ms"] = round(1000 * Metrics.read(operator.port).sum(LOOP_LAG_MAX), 1)
        where = environment(world.helm)
    return {"n": n, **document, "goals": GOALS, "environment": where}


def table(document: dict[str, Any]) -> str:
    """Return the document as text, each goal beside what was found."""
    lines = [f"{document['n']} resources in sync", ""]
    lines += [f"{name:18} {document[name]:10.2f}   goal: at most {goal:g}" for name, goal in document["goals"].items()]
    others = ("change_p50_ms", "start_cpu_seconds", "start_api_requests", "start_helm_processes", "idle_api_requests",
              "rss_peak_mb", "max_loop_lag_ms")  # fmt: skip
    lines += [f"{name:18} {document[name]:10.2f}" for name in others]
    return "\n".join(lines)


# Some values as people write them, so that a resource has a usual size.
_VALUES: dict[str, Any] = {
    "image": {"tag": "1.0"},
    "ingress": {"annotations": {f"example.com/setting-{number}": "a value of some length" for number in range(12)}},
    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "web", "effect": "NoSchedule"}],
}


def _copy(world: World, names: Sequence[str]) -> None:
    """Write the first one's resource, status and release Secret under each of the other names."""
    api, first = world.api, names[0]
    model = api.request("GET", charts_path(NAMESPACE, first))
    secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
    secret = api.request("GET", f"{secrets}/sh.helm.release.v1.{first}.v1")
    labels, uid = secret["metadata"]["labels"], model["metadata"]["uid"]
    document = gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))
    status = json.dumps(model["status"])

    def copy(name: str) -> None:
        body = waves.body_of(name, values=_VALUES)
        body["metadata"]["finalizers"] = model["metadata"]["finalizers"]
        own = api.request("POST", charts_path(NAMESPACE), body)["metadata"]["uid"]
        patch = {"status": json.loads(status.replace(first, name))}
        api.request("PATCH", f"{charts_path(NAMESPACE, name)}/status", patch, content_type=MERGE_PATCH)
        api.request(
            "POST",
            secrets,
            {
                "metadata": {
                    "name": f"sh.helm.release.v1.{name}.v1",
                    "labels": {
                        key: own if value == uid else value.replace(first, name) for key, value in labels.items()
                    },
                },
                "type": secret["type"],
                "data": {"release": renamed(document, first, name)},
            },
        )

    with ThreadPoolExecutor(_WRITERS) as writers:
        for _ in writers.map(copy, names[1:]):
            pass


def renamed(document: bytes, old: str, new: str) -> str:
    """Return a release's document for another release as the Secret's data has it."""
    packed = gzip.compress(document.replace(old.encode(), new.encode()), compresslevel=1)
    return base64.b64encode(base64.b64encode(packed)).decode()


def _started(operator: OperatorProcess, n: int) -> dict[str, Any]:
    """Wait until each has been found in sync. The clock runs since the process was started."""
    deadline = time.monotonic() + _START_SECONDS
    while (now := Metrics.read(operator.port)).sum(RECONCILES) < n:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{now.sum(RECONCILES):.0f} of {n} resources after {_START_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)  # the operator writes nothing for what is in sync
    return {
        "start_seconds": round(operator_age(operator.pid), 2),
        "start_cpu_seconds": round(cpu_seconds(operator.pid), 2),
        "start_api_requests": now.sum(API_REQUESTS),
        "start_helm_processes": now.sum(HELM_STARTED),
        "start_verdicts_in_sync": now.sum(RECONCILES, verdict="InSync"),
    }


def operator_age(pid: int) -> float:
    """Return for how many seconds a process has been running."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / 100  # USER_HZ is 100 on all architectures in use


def _idle(operator: OperatorProcess) -> dict[str, Any]:
    time.sleep(_SETTLE_SECONDS)  # nothing announces that an operator is idle
    before, requests = cpu_seconds(operator.pid), Metrics.read(operator.port).sum(API_REQUESTS)
    started = time.monotonic()
    time.sleep(_IDLE_SECONDS)  # what is measured is this time
    used, seconds = cpu_seconds(operator.pid) - before, time.monotonic() - started
    return {
        "rss_mb": round(memory_mb(operator.pid), 1),
        "idle_cpu_percent": round(100 * used / seconds, 2),
        "idle_api_requests": Metrics.read(operator.port).sum(API_REQUESTS) - requests,
    }


def _changes(world: World, names: Sequence[str], stamps: Path) -> dict[str, Any]:
    """Change one after another; each is counted from just before its patch to the start of helm."""
    latencies = []
    for number, name in enumerate(names):
        changed = time.time()
        waves.change(world.api, NAMESPACE, [name], generation=2, values={"image": {"tag": f"changed-{number}"}})
        latencies.append(1000 * (started_at(stamps.read_text(), name) - changed))
    percentiles = quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else latencies * 99
    return {"change_p50_ms": round(median(latencies), 1), "change_p99_ms": round(percentiles[98], 1)}
