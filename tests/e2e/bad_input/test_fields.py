"""Invalid fields of the spec are refused at `kubectl apply` where possible, and reported by the operator elsewhere."""

import subprocess
from typing import Any

import pytest

from e2e.bad_input.reading import RETRY, read_failure, told
from harness.chart_files import contents, package_chart
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess
from unit.api.cases import REFUSED, Case

SMALL = contents(package_chart())

BY_NAME = {case.name: case for case in REFUSED}
# Those of the issue; tests/e2e/test_crd.py puts all of the table to the API server.
AT_APPLY = [
    BY_NAME[name]
    for name in ("no chart source", "path and repository", "all sources", "a timeout without unit", "an unknown field")
]


@pytest.mark.parametrize("case", AT_APPLY, ids=str)
def test_kubectl_apply_refuses_schema_violations(cluster: Cluster, ns: str, case: Case) -> None:
    """The whole way of a person: `kubectl apply`, with its own validation, and nothing is stored."""
    bad = managedchart("bad", {}) | {"spec": case.spec}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cluster.kubectl_apply(bad, namespace=ns)
    assert case.says is not None
    assert case.says in str(refused.value)
    assert cluster.items(f"/apis/managedchart.dev/v1alpha1/namespaces/{ns}/managedcharts") == []


@pytest.mark.usefixtures("operator")
def test_an_unknown_lifecycle_lists_the_available_ones(cluster: Cluster, ns: str) -> None:
    """Which ones there are is known to the operator alone, since packages bring more."""
    cluster.apply(managedchart("typo", SMALL, lifecycle={"name": "prometheus"}), namespace=ns)
    chart = read_failure(cluster, ns, "typo", "LifecycleUnknown", transient=False)
    failure = chart["status"]["lastFailure"]
    assert 'spec.lifecycle.name: unknown lifecycle "prometheus"' in failure["message"]
    for known in ("default", "prometheus-operator", "aws-vpc-cni"):
        assert known in failure["message"]
    assert "Correct the name, or add the plug-in of the lifecycle" in failure["hint"]
    cluster.apply(managedchart("typo", SMALL, lifecycle={"name": "default"}), namespace=ns)
    cluster.wait_ready(ns, "typo")


def test_a_stalled_resource_costs_nothing_until_it_changes(
    cluster: Cluster, operator: OperatorProcess, ns: str
) -> None:
    """No retry and no second Event, not even for a touch that changes nothing of the spec."""
    cluster.apply(managedchart("typo", SMALL, lifecycle={"name": "nothing"}), namespace=ns)
    before = read_failure(cluster, ns, "typo", "LifecycleUnknown", transient=False)
    cluster.kubectl("annotate", "managedchart", "typo", "note=touched", f"--namespace={ns}")
    # A second resource, made afterwards and finished, proves that the touch has been seen.
    cluster.apply(managedchart("other", SMALL), namespace=ns)
    cluster.wait_ready(ns, "other")
    after = cluster.managedchart(ns, "typo")
    assert after["status"] == before["status"]
    assert len(cluster.wait_event(ns, "typo", "LifecycleUnknown")) == 1, operator.log


@pytest.mark.usefixtures("operator")
def test_retries_are_limited_and_restart_on_request(cluster: Cluster, ns: str) -> None:
    """There are two Warnings: at the first failure, and when retries end. A retry annotation restarts them."""
    cluster.apply(
        managedchart(
            "hopeless", SMALL, targetNamespace=f"{ns}-none", createNamespace=False, retry={**RETRY, "limit": 2}
        ),
        namespace=ns,
    )

    def stalled(chart: dict[str, object]) -> bool:
        return "Stalled" in str(chart.get("status"))

    chart = cluster.wait_chart(ns, "hopeless", stalled, what="Stalled")
    conditions = {condition["type"]: condition for condition in chart["status"]["conditions"]}
    assert "Reconciling" not in conditions
    assert "Gave up after 3 attempts (spec.retry.limit 2)" in conditions["Stalled"]["message"]
    assert f"Namespace {ns}-none does not exist" in told(chart)
    events = cluster.wait_event(ns, "hopeless", "NamespaceNotFound", count=2)
    assert len(events) == 2
    assert "Gave up after 3 attempts" not in events[0]["message"]
    assert "Gave up after 3 attempts" in events[1]["message"]

    path = f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts"
    version = cluster.version(path)
    cluster.kubectl("annotate", "managedchart", "hopeless", "managedchart.dev/retry=now", f"--namespace={ns}")

    def restarted(chart: dict[str, Any]) -> bool:
        return bool(chart["status"]["attempt"].get("handledRequests") == {"managedchart.dev/retry": "now"})

    cluster.wait_chart(ns, "hopeless", restarted, what="tried")
    # After two more attempts it is Stalled again, which a busy machine may see first.
    chart = next(filter(restarted, cluster.states_since(path, "hopeless", version)))
    assert chart["status"]["attempt"]["failures"] == 1
    assert condition_of(chart, "Ready")["reason"] == "NamespaceNotFound"
    assert condition_of(chart, "Reconciling")["reason"] == "RetryScheduled"
    assert not condition_of(chart, "Stalled")
