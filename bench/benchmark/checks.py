"""`make bench-checks`: hundreds of ManagedCharts whose checks run again every minute.

Each has one `exists`, one `expect` and one `http`. What is measured is the CPU of the operator and of its workers, after the
first round, over whole intervals; that no helm starts and nothing fails is part of the result, and so is how often the operator
itself has held up its event loop for more than 0.1 s. The longest lag since the start also counts what a busy machine does.
"""

import time
from typing import Any

from benchmark import waves
from benchmark.metrics import API_REQUESTS, HELM_STARTED, LOOP_LAG_MAX, Metrics
from benchmark.processes import children, cpu_seconds, memory_mb
from benchmark.results import environment
from benchmark.world import fresh, say
from harness.egress import Server
from harness.operator_process import OperatorProcess
from harness.services import own_address, serve

NAMESPACE = "checks"
GOALS = {"cpu_percent": 10.0, "helm_processes": 0.0, "blocked_by_itself": 0.0}
_INTERVAL_SECONDS = 60.0
_INTERVALS = 2
_ACTIONS = "managedchart_action_duration_seconds_count"
_CHECKS = (
    {"name": "there", "exists": {"kind": "ConfigMap", "name": "kube-root-ca.crt"}},
    {
        "name": "replicas",
        "expect": {"kind": "Service", "name": "app", "expr": "objects.all(o, o.spec.ports.size() == 1)"},
    },
    {"name": "answers", "http": {"service": "app", "port": "80", "path": "/ready"}},
)


def run(*, n: int) -> dict[str, Any]:
    """Measure one operator with n resources with three checks each; return the document."""
    address = own_address()
    lifecycle = {
        "actions": [{"phase": "Validate", **each} for each in _CHECKS],
        "validation": {"every": f"{_INTERVAL_SECONDS:.0f}s"},
    }
    with fresh() as world, Server(lambda _: (200, {}, b"ok"), host=address) as server:
        world.namespace(NAMESPACE)
        serve(world.cluster, NAMESPACE, server, address)
        operator = world.operator("operator")
        with operator:
            say(f"installing {n}")
            waves.install(world.api, NAMESPACE, [f"c-{number}" for number in range(n)], lifecycle=lifecycle)
            say("the first round")
            time.sleep(_INTERVAL_SECONDS)  # checks that pass write nothing that could be watched
            say(f"measuring for {_INTERVALS * _INTERVAL_SECONDS:.0f} s")
            document = _measured(operator)
        where = environment(world.helm)
    return {"n": n, **document, "goals": GOALS, "environment": where}


def _measured(operator: OperatorProcess) -> dict[str, Any]:
    before, cpu, started = Metrics.read(operator.port), _own_cpu(operator), time.monotonic()
    time.sleep(_INTERVALS * _INTERVAL_SECONDS)  # what is measured is this time
    after, used, seconds = Metrics.read(operator.port), _own_cpu(operator) - cpu, time.monotonic() - started
    checks = after.sum(_ACTIONS, outcome="succeeded") - before.sum(_ACTIONS, outcome="succeeded")
    return {
        "cpu_percent": round(100 * used / seconds, 2),
        "helm_processes": after.sum(HELM_STARTED) - before.sum(HELM_STARTED),
        "checks": checks,
        "failed_checks": after.sum(_ACTIONS, outcome="failed") - before.sum(_ACTIONS, outcome="failed"),
        "cpu_ms_per_check": round(1000 * used / max(checks, 1), 2),
        "api_requests": after.sum(API_REQUESTS) - before.sum(API_REQUESTS),
        "rss_mb": round(memory_mb(operator.pid), 1),
        "blocked_by_itself": after.blocked() - before.blocked(),
        "max_loop_lag_ms": round(1000 * after.sum(LOOP_LAG_MAX), 1),
    }


def _own_cpu(operator: OperatorProcess) -> float:
    """Return the CPU time of the operator and of its workers, which live as long as there are checks."""
    return cpu_seconds(operator.pid) + sum(map(cpu_seconds, children(operator.pid)))


def table(document: dict[str, Any]) -> str:
    """Return the document as text, each goal beside what was found."""
    lines = [f"{document['n']} resources, three checks each, every {_INTERVAL_SECONDS:.0f} s", ""]
    lines += [f"{name:18} {document[name]:10.2f}   goal: at most {goal:g}" for name, goal in document["goals"].items()]
    others = ("checks", "failed_checks", "cpu_ms_per_check", "api_requests", "rss_mb", "max_loop_lag_ms")
    lines += [f"{name:18} {document[name]:10.2f}" for name in others]
    return "\n".join(lines)
