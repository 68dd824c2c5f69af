"""Fields that another manager holds by design are left to it, while helm upgrades, rolls back and replaces."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e.fields.steps import CHARTS, WEB, deploy, refused
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")

RAW = {"path": str(CHARTS / "raw")}
BAD_IMAGE = {"podAnnotations": {"devcluster.managedchart.dev/fail": "image"}}
ONCE = {"retry": {"limit": 0}}
DEPLOYMENTS = "/apis/apps/v1/namespaces/{ns}/deployments"


def test_an_autoscaler_keeps_its_replicas(cluster: Cluster, ns: str, helm_binary: str) -> None:
    """A HorizontalPodAutoscaler needs no metrics to hold its minimum. A watch sees every number that there ever was."""
    _helm(
        cluster,
        helm_binary,
        "install",
        "web",
        WEB["path"],
        f"--namespace={ns}",
        "--server-side=false",
        "--set=replicas=2",
    )
    _autoscale(cluster, ns, minimum=6)
    with _replicas_of(cluster, ns) as seen:
        deploy(cluster, ns, "web", WEB, values={"replicas": 2, "message": "taken over"})
        deploy(cluster, ns, "web", WEB, values={"replicas": 2, "message": "upgraded"})
        deploy(cluster, ns, "web", WEB, values={"replicas": 3, "message": "more replicas"})
        _fail(cluster, ns, values={"replicas": 4, **BAD_IMAGE})
        deploy(cluster, ns, "web", WEB, values={"replicas": 4}, forceUpgrade=True)
        _fail(cluster, ns, values={"replicas": 5, **BAD_IMAGE}, forceUpgrade=True)
        deploy(cluster, ns, "web", WEB, values={"replicas": 5, "message": "after forceUpgrade"})
        leave = [{"subresource": "scale"}]
        deploy(cluster, ns, "web", WEB, values={"replicas": 1}, conflicts={"leave": leave})
        deploy(cluster, ns, "web", WEB, values={"replicas": 1}, conflicts={})
    assert set(seen) == {6}


def test_a_scaled_deployment_keeps_its_replicas(cluster: Cluster, ns: str) -> None:
    """As long as the chart's own value does not change, over several revisions; then the chart wins, and an Event says it."""
    deploy(cluster, ns, "web", WEB, values={"replicas": 2})
    _scale(cluster, ns, 5)
    for message in ("one", "two"):
        deploy(cluster, ns, "web", WEB, values={"replicas": 2, "message": message})
    _fail(cluster, ns, values={"replicas": 2, **BAD_IMAGE})
    assert _replicas(cluster, ns) == 5
    assert cluster.wait_chart(ns, "web", lambda _: True, what="there")["status"]["release"]["status"] == "deployed"
    deploy(cluster, ns, "web", WEB, values={"replicas": 3})
    assert _replicas(cluster, ns) == 3
    [event] = cluster.wait_event(ns, "web", "FieldsTakenOver")
    assert event["message"].endswith(f"Deployment {ns}/web spec.replicas (set by kubectl, subresource scale)")


def test_a_rollback_restores_a_field_that_nobody_holds_any_more(cluster: Cluster, ns: str) -> None:
    """The revision that it returns to left the field out, so that helm would reset it."""
    deploy(cluster, ns, "web", WEB, values={"replicas": 2})
    _scale(cluster, ns, 5)
    deploy(cluster, ns, "web", WEB, values={"replicas": 2, "message": "left"})
    _fail(cluster, ns, values={"replicas": 3, **BAD_IMAGE})
    assert _replicas(cluster, ns) == 2
    assert cluster.revisions(ns, "web") == [
        (1, "superseded"), (2, "superseded"), (3, "failed"), (4, "failed"), (5, "deployed"),
    ]  # fmt: skip


def test_replicas_that_the_chart_no_longer_renders(cluster: Cluster, ns: str) -> None:
    """helm alone owns them, so it would reset them to 1, in upgrades and in a rollback that restores an autoscaler."""
    deploy(cluster, ns, "web", RAW, values=_objects(6))
    _autoscale(cluster, ns, minimum=6)
    with _replicas_of(cluster, ns) as seen:
        deploy(cluster, ns, "web", RAW, values=_objects(None, "one"))
        deploy(cluster, ns, "web", RAW, values=_objects(None, "two"), forceUpgrade=True)
    assert set(seen) == {6}
    cluster.kubectl("delete", "hpa", "web", f"--namespace={ns}")
    deploy(cluster, ns, "web", RAW, values=_objects(None, "three", autoscaler=True))
    with _replicas_of(cluster, ns) as seen:
        _fail(cluster, ns, RAW, values=_objects(5, "four", **BAD_IMAGE["podAnnotations"]))
    assert set(seen) <= {5, 6}


def test_a_rollback_after_forced_upgrades(cluster: Cluster, ns: str) -> None:
    """The server applies the prepared revision: a client-side rollback would keep what the failed one added, and never end."""
    deploy(cluster, ns, "web", RAW, values=_objects(2), forceUpgrade=True)
    _autoscale(cluster, ns, minimum=6)
    with _replicas_of(cluster, ns) as seen:
        _fail(cluster, ns, RAW, values=_objects(2, "two", **BAD_IMAGE["podAnnotations"]))
    assert set(seen) == {6}
    found = cluster.get(f"{DEPLOYMENTS.format(ns=ns)}/web")
    assert found is not None
    assert found["spec"]["template"]["metadata"]["annotations"] == {"message": "one"}


def test_a_rollback_recreates_an_object_with_all_of_its_fields(cluster: Cluster, ns: str) -> None:
    """Also those that the revision left to somebody else."""
    deploy(cluster, ns, "web", RAW, values=_objects(2))
    _scale(cluster, ns, 5)
    deploy(cluster, ns, "web", RAW, values=_objects(2, "left"))
    _fail(cluster, ns, RAW, values=_objects(2, "other", name="other", **BAD_IMAGE["podAnnotations"]))
    assert _replicas(cluster, ns) == 2
    cluster.wait(DEPLOYMENTS.format(ns=ns), "other", lambda found: found is None, what="deleted")


@pytest.mark.parametrize("left", [True, False])
def test_an_injected_certificate(cluster: Cluster, ns: str, *, left: bool) -> None:
    """Taken over, or left to the injector; in neither case does it block the upgrade."""
    leave = [{"managers": ["certgen"], "paths": ["/webhooks/*/clientConfig/caBundle"]}]
    conflicts = {"leave": leave} if left else {}
    deploy(cluster, ns, "hook", RAW, values=_webhook(ns, "1"), conflicts=conflicts)
    bundle = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "LS0tLS1CRUdJTg=="}]
    patch = ("--type=json", "--field-manager=certgen", "-p", json.dumps(bundle))
    cluster.kubectl("patch", "validatingwebhookconfiguration", ns, *patch)
    deploy(cluster, ns, "hook", RAW, values=_webhook(ns, "2"), conflicts=conflicts)
    found = cluster.get(f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{ns}")
    assert found is not None
    assert found["metadata"]["labels"]["version"] == "2"
    assert found["webhooks"][0]["clientConfig"].get("caBundle") == ("LS0tLS1CRUdJTg==" if left else None)
    if not left:
        [event] = cluster.wait_event(ns, "hook", "FieldsTakenOver")
        field = "webhooks[name=check.example.com].clientConfig.caBundle"
        assert event["message"].endswith(f"ValidatingWebhookConfiguration {ns} {field} (set by certgen)")


def test_a_conflict_may_fail(cluster: Cluster, ns: str) -> None:
    """In a dry run as in an upgrade; the hint names the field of the spec. What is left causes no conflict."""
    fail = {"policy": "Fail"}
    deploy(cluster, ns, "web", WEB, conflicts=fail)
    _scale(cluster, ns, 3)
    cluster.kubectl("set", "image", "deployment/web", "web=registry.example/other:1", f"--namespace={ns}")
    for spec in ({"dryRun": True}, {"dryRun": False}):
        failure = refused(cluster, ns, "web", WEB, values={"message": "two"}, conflicts=fail, **ONCE, **spec)
        assert failure["reason"] == "FieldConflict"
        assert "kubectl-set owns .spec.template.spec.containers" in failure["message"]
        assert ".spec.replicas" not in failure["message"]
        assert failure["hint"].startswith(
            "Set spec.conflicts.policy: Force to let Helm take these fields over, or leave"
        )
    leave = [{"managers": ["kubectl-set"], "target": {"kind": "Deployment"}}]
    deploy(cluster, ns, "web", WEB, values={"message": "two"}, conflicts={"leave": leave, **fail})
    assert _replicas(cluster, ns) == 3


def _autoscaler(minimum: int) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": minimum,
            "maxReplicas": 9,
        },
    }


def _objects(
    replicas: int | None, message: str = "one", *, name: str = "web", autoscaler: bool = False, **annotations: str
) -> dict[str, Any]:
    """Values of the chart raw: a Deployment, with an autoscaler where it is wanted."""
    labels, container = {"app": name}, {"name": "web", "image": "registry.example/web:1.0"}
    pod = {
        "metadata": {"labels": labels, "annotations": {"message": message, **annotations}},
        "spec": {"containers": [container]},
    }
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    if replicas is not None:
        spec["replicas"] = replicas
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    return {"objects": [web, *([_autoscaler(6)] if autoscaler else [])]}


def _autoscale(cluster: Cluster, ns: str, *, minimum: int) -> None:
    """Let an autoscaler target the Deployment, and return when it has scaled it."""
    cluster.apply(_autoscaler(minimum), namespace=ns)
    cluster.wait(
        DEPLOYMENTS.format(ns=ns), "web", lambda found: found and found["spec"]["replicas"] == minimum, what="scaled"
    )


@contextmanager
def _replicas_of(cluster: Cluster, ns: str) -> Iterator[list[int]]:
    """Note every number of replicas that the Deployment has inside this context."""
    path, seen = DEPLOYMENTS.format(ns=ns), []
    version = cluster.version(path)
    yield seen
    seen += [each["spec"]["replicas"] for each in cluster.states_since(path, "web", version)]


def _fail(cluster: Cluster, ns: str, chart: dict[str, Any] = WEB, **spec: Any) -> None:
    """Deploy something that does not become ready, and return when it was rolled back."""
    cluster.apply(managedchart("web", chart, **ONCE, **spec), namespace=ns)
    cluster.wait_chart(
        ns,
        "web",
        lambda found: condition_of(found, "Stalled").get("message", "").startswith("Rolled back to revision"),
        what="rolled back",
    )


def _webhook(ns: str, version: str) -> dict[str, Any]:
    webhook = {
        "name": "check.example.com",
        "clientConfig": {"caBundle": "", "service": {"name": "check", "namespace": ns}},
        "rules": [{"apiGroups": ["none.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }  # fmt: skip
    rendered = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": ns, "labels": {"version": version}},
        "webhooks": [webhook],
    }
    return {"objects": [rendered]}


def _scale(cluster: Cluster, ns: str, replicas: int) -> None:
    cluster.kubectl("scale", "deployment", "web", f"--replicas={replicas}", f"--namespace={ns}")


def _replicas(cluster: Cluster, ns: str) -> int:
    found = cluster.get(f"{DEPLOYMENTS.format(ns=ns)}/web")
    assert found is not None
    return int(found["spec"]["replicas"])


def _helm(cluster: Cluster, helm: str, *arguments: str) -> None:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    subprocess.run([helm, *arguments], check=True, capture_output=True, env=environment)
