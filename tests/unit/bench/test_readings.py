"""What the benchmark reads: metrics, processes, the audit log, notes of helm's starts, release documents."""

import base64
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.audit import by_client
from benchmark.metrics import Metrics
from benchmark.processes import MemoryWatch, children, cpu_seconds, memory_mb
from benchmark.scale import operator_age, renamed
from benchmark.single import started_at
from benchmark.watching import gone, ready_at
from harness.audit import read_audit_log, watches_over_time

METRICS = """# HELP managedchart_reconciles_total Passes over a resource, by verdict.
managedchart_reconciles_total{verdict="Run"} 3.0
managedchart_reconciles_total{verdict="InSync"} 1e+02
managedchart_helm_processes_started_total 7.0
"""


def test_metrics_are_summed_over_the_labels_that_are_not_asked_for() -> None:
    metrics = Metrics(METRICS)
    assert metrics.sum("managedchart_reconciles_total") == 103
    assert metrics.sum("managedchart_reconciles_total", verdict="InSync") == 100
    assert metrics.sum("managedchart_helm_processes_started_total") == 7
    assert metrics.sum("managedchart_helm_processes") == 0


def test_only_long_delays_count_as_blocked() -> None:
    """Of all delays that the operator has caused, those beyond the bucket of 0.1 s."""
    name = "managedchart_loop_blocked_seconds"
    metrics = Metrics(f'{name}_bucket{{le="0.05"}} 80\n{name}_bucket{{le="0.1"}} 98\n{name}_count 100\n')
    assert metrics.blocked() == 2


def test_cpu_time_of_another_process_is_its_own() -> None:
    """A process that computes is seen to; waiting costs nothing."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        deadline = time.monotonic() + 20
        while cpu_seconds(busy.pid) < 0.2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)
        assert busy.pid in children(os.getpid())
        assert memory_mb(busy.pid) > 1
        assert 0 < operator_age(busy.pid) < 60
    finally:
        busy.kill()
        busy.wait()


def test_a_process_that_is_gone_has_no_memory() -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    assert memory_mb(done.pid) == 0


def test_a_child_that_is_not_helm_counts_for_nothing() -> None:
    """Between fork and exec a child is a copy of the operator, and would be counted twice."""
    other = subprocess.Popen(["sleep", "60"])
    try:
        with MemoryWatch(os.getpid()) as memory:
            time.sleep(0.3)
        assert memory.helm_peak_mb == 0
        assert memory.operator_peak_mb == pytest.approx(memory_mb(os.getpid(), "VmHWM"), rel=0.05)
    finally:
        other.kill()
        other.wait()


def test_an_answered_request_counts_once_and_a_watch_when_it_begins(tmp_path: Path) -> None:
    def line(verb: str, stage: str, agent: str, **about: str) -> str:
        entry = {
            "verb": verb,
            "stage": stage,
            "userAgent": agent,
            "requestURI": "/x?y",
            "responseStatus": {"code": 200},
        }
        return json.dumps(entry | ({"objectRef": about} if about else {}))

    log = tmp_path / "audit.log"
    lines = [
        line("watch", "ResponseStarted", "kopf/1.45", resource="managedcharts"),
        line("watch", "ResponseComplete", "kopf/1.45", resource="managedcharts"),
        line("patch", "ResponseComplete", "managedchart-operator", resource="managedcharts", subresource="status"),
        line("get", "ResponseComplete", "Helm/4.3.1"),
    ]
    log.write_text("\n".join(lines) + '\n{"half a li')
    found = read_audit_log(log)
    assert [(request.client, request.verb, request.resource) for request in found] == [
        ("kopf", "watch", "managedcharts"),
        ("managedchart-operator", "patch", "managedcharts/status"),
        ("Helm", "get", "/x"),
    ]
    assert by_client(found) == {"kopf": 1, "managedchart-operator": 1, "Helm": 1}


def test_a_watch_is_open_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    def line(stage: str, number: int, *, verb: str = "watch", namespace: str = "a") -> str:
        about = {"resource": "pods", "namespace": namespace}
        return json.dumps(
            {"verb": verb, "stage": stage, "auditID": f"id-{number}", "requestURI": "/", "objectRef": about}
        )

    log = tmp_path / "audit.log"
    lines = [
        line("ResponseStarted", 1),
        line("ResponseComplete", 2, verb="list"),
        line("ResponseStarted", 3),
        line("ResponseStarted", 4, namespace="b"),
        line("ResponseComplete", 1),
        line("ResponseComplete", 5),  # refused: it never began
        line("ResponseComplete", 3),
    ]
    log.write_text("\n".join(lines) + "\n")
    states = watches_over_time(log, lambda request: request.namespace == "a")
    assert [len(state) for state in states] == [0, 1, 2, 1, 1, 0]


def test_the_last_start_of_a_release_counts() -> None:
    stamps = "a 1.5\nb 2.5\na 3.25\n"
    assert started_at(stamps, "a") == 3.25
    with pytest.raises(LookupError, match="for c"):
        started_at(stamps, "c")


def test_a_copied_release_document_carries_its_new_name_only() -> None:
    data = renamed(b'{"name":"scale-00000","manifest":"name: scale-00000"}', "scale-00000", "scale-00017")
    unpacked = gzip.decompress(base64.b64decode(base64.b64decode(data)))
    assert unpacked == b'{"name":"scale-00017","manifest":"name: scale-00017"}'


def event(*, generation: int = 2, observed: int = 2, ready: str = "True", working: bool = False) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "observedGeneration": observed}]
    if working:
        conditions.append({"type": "Reconciling", "status": "True", "observedGeneration": observed})
    body = {"metadata": {"name": "a", "generation": generation}, "status": {"conditions": conditions}}
    return {"type": "MODIFIED", "object": body}


def test_ready_means_at_the_generation_that_was_asked_for_with_nothing_under_way() -> None:
    reached = ready_at(2)
    assert reached(event())
    assert not reached(event(generation=1, observed=1))
    assert not reached(event(observed=1))
    assert not reached(event(ready="False"))
    assert not reached(event(working=True))
    assert not reached(event() | {"type": "DELETED"})
    assert gone({"type": "DELETED"})
    assert not gone(event())
