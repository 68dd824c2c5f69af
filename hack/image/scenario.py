"""Applies, watches and deletes ManagedCharts with kubectl while the operator runs.

It does not know how the operator runs. Each step succeeds or raises ImageError with what it found instead.
"""

import json
import time
from typing import Any

from cluster import NAME, NAMESPACE, ROOT, Cluster
from engine import ImageError

# A reconciliation takes a second or two; this is for an overloaded machine.
PATIENCE_SECONDS = 120
_OBJECT = ("managedchart", "hello")


def say(text: str) -> None:
    """Print what was seen."""
    print(f"image-test: {text}", flush=True)


def deploys(cluster: Cluster, *, namespace: str, values: dict[str, Any], create_namespace: bool = True) -> None:
    """Apply a ManagedChart of the chart `hello` and see it become Ready."""
    started = time.monotonic()
    _apply(cluster, namespace=namespace, values=values, create_namespace=create_namespace)
    _wait(cluster, namespace, "condition=Ready")
    target = f"--namespace={namespace}"
    made = cluster.kubectl(
        "get", "configmap,deployment", target, "--selector=app.kubernetes.io/managed-by=Helm", "-oname"
    )
    made += cluster.kubectl("get", "secret", target, "--selector=owner=helm,name=hello", "-oname")
    say(f"Ready after {time.monotonic() - started:.1f} s:\n{cluster.kubectl('get', 'managedcharts', target).rstrip()}")
    say("made by it: " + ", ".join(made.split()))


def fails(cluster: Cluster, *, namespace: str, values: dict[str, Any], create_namespace: bool = True) -> None:
    """Apply one whose container crashes, and check that its status says why, with all evidence despite few permissions."""
    started = time.monotonic()
    _apply(cluster, namespace=namespace, values=values, create_namespace=create_namespace)
    _wait(cluster, namespace, "jsonpath={.status.phase}=Failed")
    target = f"--namespace={namespace}"
    failure = json.loads(cluster.kubectl("get", *_OBJECT, target, "--output=json"))["status"]["lastFailure"]
    logs = [found for found in failure.get("containers", []) if found.get("log") or found.get("previousLog")]
    if failure.get("incomplete") or not failure.get("rootCause") or not failure.get("events") or not logs:
        raise ImageError(f"the evidence of the failure is not complete: {json.dumps(failure, indent=1)}")
    say(
        f"a crash is reported after {time.monotonic() - started:.1f} s: {failure['reason']}, {failure['message']} "
        f"({len(failure['events'])} events, the log of {logs[0]['pod']})"
    )


def deletes(cluster: Cluster, *, namespace: str) -> None:
    """Delete the ManagedChart and check that everything it made is deleted too."""
    started = time.monotonic()
    target = f"--namespace={namespace}"
    cluster.kubectl("delete", *_OBJECT, target, f"--timeout={PATIENCE_SECONDS}s")
    seconds = time.monotonic() - started
    left = cluster.kubectl(
        "get", "configmap,deployment", target, "--selector=app.kubernetes.io/managed-by=Helm", "-oname"
    )
    left += cluster.kubectl("get", "secret", target, "--selector=owner=helm", "-oname")
    if left:
        raise ImageError(f"the ManagedChart was deleted, but not what it made: {', '.join(left.split())}")
    say(f"deleted after {seconds:.1f} s, and nothing is left")


def narrow(cluster: Cluster, *, namespace: str) -> None:
    """Remove the role for all charts, and grant what one chart needs in one namespace."""
    target = f"--namespace={namespace}"
    cluster.kubectl("delete", "clusterrolebinding", f"{NAME}-charts")
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("create", target, f"--filename={ROOT / 'hack/image/narrow-role.yaml'}")
    subject = f"--serviceaccount={NAMESPACE}:{NAME}"
    cluster.kubectl("create", "rolebinding", NAME, target, f"--role={NAME}", subject)
    say("narrowed to the operator's own role, and in one namespace to what one chart needs")


def _apply(cluster: Cluster, *, namespace: str, values: dict[str, Any], create_namespace: bool) -> None:
    resource = {
        "apiVersion": "managedchart.dev/v1alpha1",
        "kind": "ManagedChart",
        "metadata": {"name": "hello"},
        "spec": {"chart": {"path": "/charts/hello"}, "createNamespace": create_namespace, "values": values},
    }
    cluster.kubectl("apply", f"--namespace={namespace}", "--filename=-", stdin=json.dumps(resource))


def _wait(cluster: Cluster, namespace: str, condition: str) -> None:
    target = f"--namespace={namespace}"
    try:
        cluster.kubectl("wait", *_OBJECT, target, f"--for={condition}", f"--timeout={PATIENCE_SECONDS}s")
    except ImageError as error:
        found = cluster.kubectl("get", *_OBJECT, target, "--output=yaml")
        raise ImageError(f"{error}\n{found}") from error
