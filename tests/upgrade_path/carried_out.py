"""Has an operator carry out specs: creates and changes ManagedCharts, and waits for their ends."""

import time
from json import dumps
from typing import Any

import requests

from benchmark.metrics import RECONCILES, RECONCILING, Metrics
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, current, is_ready, managedchart
from harness.operator_process import OperatorProcess
from upgrade_path.fleet import Wanted

# Thirty installs take half a minute on two cores.
_SETTLE_SECONDS = 240.0
_POLL_SECONDS = 0.2
# For so long an operator must have done nothing to count as idle.
_QUIET_SECONDS = 3.0


def carry_out(cluster: Cluster, wanted: list[Wanted]) -> list[Wanted]:
    """Create all, change those that are to be changed, and wait; return those without the value that the CRD refuses."""
    refused = [each for each in wanted if not create(cluster, each)]
    for each in wanted:
        if each.then:
            wait(cluster, each, given_up=False)
            change(cluster, each, each.then)
    for each in wanted:
        wait(cluster, each, given_up=each.given_up)
    return refused


def create(cluster: Cluster, wanted: Wanted) -> bool:
    """Create it; False if the API server refuses the value beyond a bound, without which it is created then."""
    path = f"{MANAGEDCHARTS}/namespaces/{wanted.namespace}/managedcharts"
    if wanted.beyond:
        try:
            cluster.create(path, managedchart(wanted.name, **wanted.spec, **wanted.beyond))
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != requests.codes.unprocessable_entity:
                raise
        else:
            return True
    cluster.create(path, managedchart(wanted.name, **wanted.spec))
    return not wanted.beyond


def change(cluster: Cluster, wanted: Wanted, spec: dict[str, Any]) -> None:
    """Change these fields of its spec."""
    patch = f"--patch={dumps({'spec': spec})}"
    cluster.kubectl("patch", "managedchart", wanted.name, f"--namespace={wanted.namespace}", "--type=merge", patch)


def wait(cluster: Cluster, wanted: Wanted, *, given_up: bool) -> None:
    """Wait until it is Ready, or until it has failed and is not retried. Raises AssertionError if it comes to the other end."""

    def ended(chart: dict[str, Any]) -> bool:
        return is_ready(chart) or _is_given_up(chart)

    chart = cluster.wait_chart(wanted.namespace, wanted.name, ended, what="settled", timeout=_SETTLE_SECONDS)
    ready = condition_of(chart, "Ready")
    assert (ready["status"] == "False") is given_up, f"{wanted.name}: {ready}"


def until_idle(operator: OperatorProcess, *, passes: int) -> None:
    """Return when an operator has looked at ManagedCharts so many times, and does nothing more."""
    deadline, since, known = time.monotonic() + _SETTLE_SECONDS, time.monotonic(), -1.0
    while time.monotonic() < since + _QUIET_SECONDS:
        now = Metrics.read(operator.port)
        if now.sum(RECONCILING) > 0 or now.sum(RECONCILES) < passes or now.sum(RECONCILES) != known:
            since, known = time.monotonic(), now.sum(RECONCILES)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{now.sum(RECONCILING):.0f} run, {known:.0f} passes of {passes}")
        time.sleep(_POLL_SECONDS)  # the operator writes nothing for what is in sync


def _is_given_up(chart: dict[str, Any]) -> bool:
    ready, stalled = condition_of(chart, "Ready"), condition_of(chart, "Stalled")
    return current(chart, ready) and ready["status"] == "False" and current(chart, stalled)
