"""An upgrade fails, and its rollback fails as well."""

import json

from conftest import CHARTS
from harness.cluster import Cluster, KubectlError, condition_of, managedchart
from harness.operator_process import OperatorProcess

WEB = {"path": str(CHARTS / "web")}
_FAIL = "devcluster.managedchart.dev/fail"


def test_a_failed_rollback_is_reported_and_finished_later(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """lastFailure keeps the first failure, which needs a correction; an Event and the conditions report the second."""
    cluster.apply(managedchart("web", WEB), namespace=ns)
    cluster.wait_ready(ns, "web")
    never = {"podAnnotations": {_FAIL: "never"}}
    spec = {"timeout": "3s", "retry": {"limit": 0, "backoff": "1s", "maxBackoff": "1s"}}
    cluster.apply(_webhook_that_nobody_answers(ns))
    try:
        _until_refused(cluster, ns)
        cluster.apply(managedchart("web", WEB, values=never, **spec), namespace=ns)
        events = cluster.wait_event(ns, "web", "RollbackFailed", count=3)
        assert events[0]["type"] == "Warning"
        assert events[0]["message"].startswith("The rollback failed: Admission webhook gone.example.com")
        chart = cluster.wait_failed(ns, "web", "Timeout")
        assert chart["status"]["lastFailure"]["reason"] == "Timeout"
        told = condition_of(chart, "Stalled")["message"]
        assert told.startswith("The rollback failed: Admission webhook gone.example.com")
        assert told.count("The rollback failed") == 1, "it tells of the last try, not of all"
        assert "Not retried automatically, since each attempt disrupts what runs" in told
    finally:
        cluster.kubectl("delete", "validatingwebhookconfiguration", ns)
    cluster.wait_chart(
        ns,
        "web",
        lambda found: (
            condition_of(found, "Stalled")
            .get("message", "")
            .startswith("Rolled back to revision 1. Not retried automatically")
        ),
        what="rolled back",
    )
    assert cluster.revisions(ns, "web")[-1][1] == "deployed"


# What an upgrade adds, a rollback takes away.
_ROLLBACK = (
    "[oldObject, object].map(each, each.spec.template.metadata.?annotations.orValue({}))"
    f".map(each, '{_FAIL}' in each) == [true, false]"
)
_PROBE = "'example.com/touched' in object.metadata.?annotations.orValue({})"


def _webhook_that_nobody_answers(ns: str) -> dict[str, object]:
    """It is asked about the rollback, and about a probe of the test's; not about the upgrade."""
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    webhook = {
        "name": "gone.example.com",
        "clientConfig": {"service": {"name": "gone", "namespace": ns}},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns}},
        "matchConditions": [{"name": "rollback", "expression": f"{_ROLLBACK} || {_PROBE}"}],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": ns},
        "webhooks": [webhook],
    }


def _until_refused(cluster: Cluster, ns: str) -> None:
    """A webhook takes a moment to be in force, which only a dry run shows."""
    patch = json.dumps({"metadata": {"annotations": {"example.com/touched": "yes"}}})
    for _ in range(100):
        try:
            cluster.kubectl(
                "patch", "deployment", "web", "--dry-run=server", f"--namespace={ns}", "--type=merge", "-p", patch
            )
        except KubectlError as error:
            if "gone.example.com" in error.stderr:
                return
            raise
    raise AssertionError("the webhook never came into force")
