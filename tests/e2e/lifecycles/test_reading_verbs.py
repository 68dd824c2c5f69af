"""Verbs that read, on a real API server: a watch, and a Service behind it."""

import json
import subprocess
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from e2e.fields.steps import SOON, WEB, refused
from harness.cluster import Cluster, KubectlError, managedchart
from harness.egress import Server
from harness.services import own_address, serve

pytestmark = pytest.mark.usefixtures("operator")


FORBIDDEN = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "message": 'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope',
    "reason": "Forbidden",
    "code": 403,
}


@pytest.fixture
def address() -> str:
    """An address of this machine that the API server may call."""
    return own_address()


@pytest.fixture
def server(address: str) -> Iterator[Server]:
    """A server that answers as Prometheus and as an application would."""

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/api/v1/query"):
            return 200, {}, b'{"data": {"resultType": "vector", "result": [{"value": [1, "0.25"]}]}}'
        if path == "/forbidden":
            return 403, {}, json.dumps(FORBIDDEN).encode()
        if path == "/down":  # as an aggregated API answers, which is an API server itself
            return 503, {"Audit-Id": "its-own"}, json.dumps({**FORBIDDEN, "code": 503, "message": "down"}).encode()
        return (200, {}, b"ok") if path == "/ready" else (302, {"Location": "/ready"}, b"")

    with Server(answer, host=address) as found:
        yield found


def test_services_are_called_through_the_api_server(cluster: Cluster, ns: str, server: Server, address: str) -> None:
    serve(cluster, ns, server, address)
    called = {"service": "app", "port": 80}
    checks = [
        {"name": "ready", "http": {**called, "path": "/ready"}},
        {"name": "forbidden", "http": {**called, "path": "/forbidden", "status": 403}},
        {"name": "down", "http": {**called, "path": "/down", "status": 503}},
        {"name": "moved", "http": {**called, "path": "/moved", "status": 302}},
        {"name": "errors", "metric": {**called, "query": "rate(errors[5m])", "expr": "value < 0.5"}},
    ]
    lifecycle = {"actions": [{"phase": "Validate", **each} for each in checks]}

    cluster.apply(managedchart("a", WEB, lifecycle=lifecycle), namespace=ns)

    cluster.wait_ready(ns, "a")
    asked = [unquote(path) for _, path, _ in server.requests]
    expected = ["/ready", "/forbidden", "/down", "/moved", "/api/v1/query?query=rate(errors[5m])"]
    assert asked == expected


def test_who_lacks_a_permission_is_told_how_to_grant_it(
    cluster: Cluster, ns: str, server: Server, address: str
) -> None:
    """Each command of a hint is run as it is; the second one adds to what the first one has granted."""
    serve(cluster, ns, server, address)
    rules = [
        {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["*"]},
        {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["", "batch"], "resources": ["pods", "services", "events", "jobs"], "verbs": ["*"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer"}},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": "deployer"}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "deployer"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "deployer"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": ns}],
        },
        namespace=ns,
    )
    checks = [
        {"name": "quota", "exists": {"kind": "ResourceQuota", "count": 0}},
        {"name": "ready", "http": {"service": "app", "port": 80, "path": "/ready"}},
    ]
    lifecycle = {"actions": [{"phase": "CheckPrerequisites", **each} for each in checks]}
    spec = {"serviceAccountName": "deployer", "lifecycle": lifecycle, "retry": SOON}

    failure = refused(cluster, ns, "a", WEB, **spec)
    # The operator asks whether it is there, and does not wait for the time of the retry.
    missing = cluster.managedchart(ns, "a")["status"]["attempt"]["missingPermission"]
    assert (missing["verb"], missing["resource"], missing["namespace"]) == ("list", "resourcequotas", ns)
    for name, lacks in (("quota (exists)", "list resourcequotas"), ("ready (http)", "get services/proxy")):
        assert (failure["reason"], failure["message"]) == (
            "Forbidden",
            f"Action {name} failed: User system:serviceaccount:{ns}:deployer has no permission to {lacks} in namespace {ns}",
        )
        command = failure["hint"].partition(": ")[2]
        kubectl = f"{cluster.kubectl_path} --kubeconfig={cluster.kubeconfig}"
        subprocess.run(["bash", "-c", command.replace("kubectl", kubectl)], check=True, capture_output=True)
        if name.startswith("quota"):
            found = cluster.wait_chart(
                ns,
                "a",
                lambda chart: "ready (http)" in str(chart["status"].get("lastFailure")),
                what="at the next action",
            )
            failure = found["status"]["lastFailure"]

    cluster.wait_ready(ns, "a")


def test_a_server_that_no_administrator_allows_is_not_asked(cluster: Cluster, ns: str) -> None:
    """Without the setting none is, and nothing runs."""
    metric = {"url": "https://thanos.example.com", "query": "up", "expr": "value == 1.0"}
    check = {"name": "up", "phase": "Validate", "metric": metric}

    failure = refused(cluster, ns, "a", WEB, lifecycle={"actions": [check]})

    assert (failure["reason"], failure["message"]) == (
        "LifecycleInvalid",
        "Action up (metric): https://thanos.example.com is not one of the metric sources that the operator allows",
    )
    assert "MANAGEDCHART_METRIC_SOURCES" in failure["hint"]
    assert cluster.get(f"/apis/apps/v1/namespaces/{ns}/deployments/a") is None
    for wrong, why in (({"service": "p"}, "set exactly one of service and url"), ({"port": 80}, "go with service")):
        two = managedchart("b", WEB, lifecycle={"actions": [{**check, "metric": {**metric, **wrong}}]})
        with pytest.raises(KubectlError, match=why):
            cluster.kubectl_apply(two, namespace=ns)


def test_a_service_without_pods_is_named(cluster: Cluster, ns: str) -> None:
    cluster.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app"}, "spec": {"ports": [{"port": 80}]}},
        namespace=ns,
    )
    check = {"name": "ready", "phase": "CheckPrerequisites", "http": {"service": "app", "port": "80"}}

    failure = refused(cluster, ns, "a", WEB, lifecycle={"actions": [check]})

    assert failure["message"] == f"Action ready (http) failed: Service {ns}/app has no pod that is ready"


def test_a_service_that_does_not_answer_is_named(cluster: Cluster, ns: str, address: str) -> None:
    with Server(lambda _: (200, {}, b""), host=address) as ended:
        serve(cluster, ns, ended, address)
    check = {"name": "ready", "phase": "CheckPrerequisites", "http": {"service": "app", "port": "80"}}

    for name, port, why in (
        ("a", "80", "cannot be reached: connection refused"),
        ("b", "81", "has no port 81"),
        ("c", "web", "has no pod that is ready, or no port web"),
    ):
        lifecycle = {"actions": [{**check, "http": {**check["http"], "port": port}}]}
        failure = refused(cluster, ns, name, WEB, lifecycle=lifecycle)
        assert failure["message"] == f"Action ready (http) failed: Service {ns}/app {why}"


def test_waits_by_a_watch_until_the_goal_is_reached(cluster: Cluster, ns: str) -> None:
    """The object appears only while the action waits."""
    gate = {
        "name": "gate",
        "phase": "PreExec",
        "timeout": "40s",
        "waitFor": {"kind": "ConfigMap", "name": "gate", "jsonPath": "{.data.open}", "value": "now"},
    }
    cluster.apply(managedchart("a", WEB, lifecycle={"actions": [gate]}), namespace=ns)
    cluster.wait_chart(
        ns, "a", lambda chart: chart.get("status", {}).get("attempt", {}).get("phase") == "PreExec", what="in PreExec"
    )

    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gate"}, "data": {"open": "now"}}, namespace=ns
    )

    cluster.wait_ready(ns, "a")


def test_a_wait_says_what_it_waited_for(cluster: Cluster, ns: str) -> None:
    gate = {
        "name": "gate",
        "phase": "PreExec",
        "timeout": "3s",
        "waitFor": {"kind": "ConfigMap", "name": "gate", "jsonPath": "{.data.open}"},
    }

    failure = refused(cluster, ns, "a", WEB, lifecycle={"actions": [gate]})

    assert failure["reason"] == "PhaseTimeout"
    assert (
        failure["message"] == f"Action gate (waitFor) failed: It did not end within 3s: there is no ConfigMap {ns}/gate"
    )
