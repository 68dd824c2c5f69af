"""The API server does not serve the operator: that is reported where possible, and heals automatically.

Priority and fairness makes a real API server answer 429 for as long as a test likes, to one user, for one kind of request in
one namespace; nobody else notices.
"""

import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from pytest_kind import KindCluster

from conftest import CHARTS, DEVCLUSTER
from e2e.diagnosis.conftest import OwnCluster
from harness.cluster import WAIT_SECONDS, Cluster, condition_of, managedchart, namespace
from harness.operator_process import SERVICE_ACCOUNT, SYSTEM_NAMESPACE, OperatorProcess

WEB = {"path": str(CHARTS / "web")}
RETRY = {"limit": 20, "backoff": "1s", "maxBackoff": "1s"}
FLOW_CONTROL = "flowcontrol.apiserver.k8s.io/v1"


@contextmanager
def overloaded(cluster: Cluster, namespace: str, resource: str = "secrets") -> Iterator[None]:
    """Within the block the API server is too busy to list the objects of a namespace for the operator's identity."""
    level = {
        "apiVersion": FLOW_CONTROL,
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": namespace},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "lendablePercent": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    }
    operator = {"kind": "ServiceAccount", "serviceAccount": {"name": SERVICE_ACCOUNT, "namespace": SYSTEM_NAMESPACE}}
    rule = {"verbs": ["list"], "apiGroups": [""], "resources": [resource], "namespaces": [namespace]}
    schema = {
        "apiVersion": FLOW_CONTROL,
        "kind": "FlowSchema",
        "metadata": {"name": namespace},
        "spec": {
            "priorityLevelConfiguration": {"name": namespace},
            "matchingPrecedence": 2,  # 1 belongs to what is exempt
            "rules": [{"subjects": [operator], "resourceRules": [rule]}],
        },
    }
    cluster.apply(level, schema)
    over = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        occupying = pool.submit(_occupy, cluster, namespace, resource, over)
        try:
            _until_refused(cluster, namespace, resource)
            yield
        finally:
            over.set()
            occupying.result()
            cluster.kubectl("delete", "flowschema,prioritylevelconfiguration", namespace)


def _list(cluster: Cluster, namespace: str, resource: str, **query: str) -> int:
    """List objects under the operator's name, and return the answer's code."""
    headers = {"Impersonate-User": f"system:serviceaccount:{SYSTEM_NAMESPACE}:{SERVICE_ACCOUNT}"}
    url = f"{cluster._url}/api/v1/namespaces/{namespace}/{resource}"
    return int(cluster._session.get(url, params=query, headers=headers, timeout=10).status_code)


def _occupy(cluster: Cluster, namespace: str, resource: str, over: threading.Event) -> None:
    """Keep the one seat that every level has: what asks for a version that never comes is held for three seconds."""
    while not over.is_set():
        _list(cluster, namespace, resource, resourceVersion=str(2**60))


def _until_refused(cluster: Cluster, namespace: str, resource: str) -> None:
    """A FlowSchema takes a moment to be in force, which nothing reports."""
    for _ in range(100):
        if (code := _list(cluster, namespace, resource)) == requests.codes.too_many_requests:
            return
        time.sleep(0.1)
    raise AssertionError(f"the API server is not too busy: it answered {code}")


def test_a_busy_api_server_is_reported_and_heals(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Before any helm is started: the operator cannot look at the release."""
    with overloaded(cluster, ns):
        cluster.apply(managedchart("web", WEB, retry=RETRY), namespace=ns)
        chart = cluster.wait_failed(ns, "web", "ApiUnavailable")
        failure = chart["status"]["lastFailure"]
        assert "GET /api/v1/namespaces" in failure["message"]
        assert "returned 429" in failure["message"]
        assert condition_of(chart, "Reconciling")["reason"] == "RetryScheduled"
    chart = cluster.wait_ready(ns, "web")
    assert "lastFailure" not in chart["status"]


def test_a_busy_api_server_rolls_nothing_back(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The upgrade has succeeded; only its check is not answered."""
    check = {"name": "check", "phase": "Validate", "timeout": "1s", "exists": {"kind": "LimitRange", "count": 0}}
    cluster.apply(managedchart("web", WEB, retry=RETRY), namespace=ns)
    cluster.wait_ready(ns, "web")
    with overloaded(cluster, ns, "limitranges"):
        upgrade = managedchart("web", WEB, values={"a": 1}, retry=RETRY, lifecycle={"actions": [check]})
        cluster.apply(upgrade, namespace=ns)
        chart = cluster.wait_failed(ns, "web", "ApiUnavailable")
        assert chart["status"]["lastFailure"]["message"].startswith("Action check (exists) failed: The Kubernetes API")
        assert condition_of(chart, "Reconciling")["message"].startswith("The release stays as it is, because")
    cluster.wait_ready(ns, "web")
    assert cluster.revisions(ns, "web") == [(1, "superseded"), (2, "deployed")]


def test_a_killed_api_server_needs_no_manual_repair(own: OwnCluster, kind_cluster: KindCluster) -> None:
    """Nothing can be reported while it is down; afterwards the deployment is finished."""
    if Path(kind_cluster.kind_path).resolve() != DEVCLUSTER:
        pytest.skip("only the devcluster can kill its API server")
    slow = {"devcluster.managedchart.dev/fail": "slow", "devcluster.managedchart.dev/delay-seconds": "4"}
    with namespace(own.cluster, "outage") as ns, own.operator():
        own.cluster.apply(managedchart("web", WEB, values={"podAnnotations": slow}, retry=RETRY), namespace=ns)
        secrets = f"/api/v1/namespaces/{ns}/secrets"
        own.cluster.wait(secrets, "sh.helm.release.v1.web.v1", lambda found: found, what="there")
        name = own.name
        subprocess.run([kind_cluster.kind_path, "restart-apiserver", "--name", name], check=True)
        _until_served(own.cluster, ns)
        own.cluster.wait_ready(ns, "web")
        assert own.cluster.revisions(ns, "web")[-1][1] == "deployed"
        assert not any(status.startswith("pending") for _, status in own.cluster.revisions(ns, "web"))


def _until_served(cluster: Cluster, namespace: str) -> None:
    """An API server that is ready answers 429 for the kinds of a CRD until it has read what is stored of them."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            cluster.managedchart(namespace, "web")
            return
        time.sleep(0.1)
    raise AssertionError("the API server does not serve ManagedCharts again")


# helm works, and its first failure has the message that an API server gives when it has just started.
_REFUSED_ONCE = """#!/bin/bash
set -o pipefail
[ "$1" = upgrade ] && [ ! -e '{folder}/once' ] || exec '{helm}' "$@"
refused='jobs.batch is forbidden: User "a" cannot watch resource "jobs" in API group "batch" in the namespace "{namespace}"'
{{ '{helm}' "$@" 2>&1 >&3 | sed --unbuffered "s/^Error: UPGRADE FAILED: .*/Error: UPGRADE FAILED: $refused/" >&2; }} 3>&1
code=$?
[ $code = 0 ] || touch '{folder}/once'
exit $code
"""


def test_a_temporary_refusal_does_not_fail_the_upgrade(own: OwnCluster, tmp_path: Path) -> None:
    """It is rolled back and retried, and only the failure of the retry counts."""
    helm, chart = tmp_path / "helm", {"path": str(CHARTS / "hooks")}
    retry = {"limit": 5, "backoff": "1s", "maxBackoff": "1s"}
    failing = {"post": {"enabled": True, "podAnnotations": {"devcluster.managedchart.dev/fail": "job-fail"}}}
    with namespace(own.cluster, "refused-once") as ns:
        helm.write_text(_REFUSED_ONCE.format(helm=own.helm, folder=tmp_path, namespace=ns))
        helm.chmod(0o755)
        with own.operator(MANAGEDCHART_HELM_BINARY=str(helm)):
            own.cluster.apply(managedchart("web", chart, retry=retry), namespace=ns)
            own.cluster.wait_ready(ns, "web")
            own.cluster.apply(managedchart("web", chart, retry=retry, values=failing), namespace=ns)
            own.cluster.wait_chart(
                ns,
                "web",
                lambda found: condition_of(found, "Stalled").get("message", "").startswith("Rolled back to revision"),
                what="rolled back",
            )
            own.cluster.wait_failed(ns, "web", "HookFailed")
            states = ["superseded", "failed", "superseded", "failed", "deployed"]
            assert own.cluster.revisions(ns, "web") == list(enumerate(states, start=1))
