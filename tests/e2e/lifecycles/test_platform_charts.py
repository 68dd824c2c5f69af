"""The actions of docs/lifecycles.md, "What platform charts need": all of them, as they stand there, in one run."""

import re
from typing import Any

import pytest
import yaml

from conftest import CHARTS, REPOSITORY
from e2e.fields.steps import deploy
from e2e.lifecycles.test_actions import actions_of
from e2e.lifecycles.test_builtin_profiles import config_map, crd, workload
from harness.cluster import CRDS, Cluster, wait_established

pytestmark = pytest.mark.usefixtures("operator")

RAW = {"path": str(CHARTS / "raw")}
RBAC = "rbac.authorization.k8s.io"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
NAME = "aws-load-balancer-controller"


def page_actions() -> list[dict[str, Any]]:
    """Return the actions below the table."""
    page = (REPOSITORY / "docs" / "lifecycles.md").read_text()
    section = page.partition("\n## What platform charts need\n")[2].partition("\n## ")[0]
    (text,) = re.findall(r"^```yaml\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    found: list[dict[str, Any]] = yaml.safe_load(text)
    return found


def in_the_test(action: dict[str, Any], ns: str) -> dict[str, Any]:
    """Return an action for objects of the test's namespace, and for a CRD of its own in the place of a real one."""
    text = yaml.safe_dump(action).replace("podmonitors.monitoring.coreos.com", f"podmonitors.{ns}.example.com")
    own: dict[str, Any] = yaml.safe_load(text.replace("namespace: cert-manager", f"namespace: {ns}"))
    return own


def test_every_action_of_the_page_does_what_the_table_says(cluster: Cluster, ns: str) -> None:
    account = {"kind": "ServiceAccount", "name": "iam-mapper", "namespace": ns}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "iam-mapper"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "iam-mapper"},
        "subjects": [account],
    }
    balancer = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "ingress-nginx-controller",
            "annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": "nlb"},
        },
        "spec": {"ports": [{"port": 80}]},
    }
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": f"{ns}-{NAME}", "labels": {"app.kubernetes.io/name": NAME}},
        "webhooks": [],
    }
    monitors = crd(f"{ns}.example.com", "PodMonitor", "podmonitors")
    monitors["metadata"]["annotations"] = {"operator.prometheus.io/version": "0.85.0"}
    scalers = crd("autoscaling.k8s.io", "VerticalPodAutoscaler", "verticalpodautoscalers")
    # The API server wants to know who has approved a kind of this group.
    scalers["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, of a test"}
    cluster.apply(binding, balancer, webhook, monitors, scalers, namespace=ns)
    cluster.apply(config_map("cluster-version", version="1.37"), namespace=ns)
    deploy(cluster, ns, "cluster-autoscaler", RAW)
    cluster.apply(
        *(workload("Deployment", name, {"app": name}) for name in ("karpenter", "cert-manager-webhook")), namespace=ns
    )
    wait_established(cluster, scalers["metadata"]["name"])
    try:
        lifecycle = {"actions": [in_the_test(each, ns) for each in page_actions()]}
        found = deploy(cluster, ns, "a", RAW, lifecycle=lifecycle)

        states = {
            name: action["message"]
            for phase in ("CheckPrerequisites", "PreExec", "PostExec", "Validate")
            for name, action in actions_of(found, phase).items()
        }
        assert states == {
            "webhook": "condition Available: 1 Deployment",
            "load-balancer-webhook": f"1 MutatingWebhookConfiguration with app.kubernetes.io/name={NAME}",
            "remove-autoscaler": f"Patched ManagedChart {ns}/cluster-autoscaler",
            "autoscaler-removed": "{.status.phase} = Destroyed: 1 ManagedChart",
            "old-load-balancer": f"Deleted Service {ns}/ingress-nginx-controller",
            "after-cluster-upgrade": f"Restarted Deployment {ns}/karpenter",
            "autoscaler": f"Applied VerticalPodAutoscaler {ns}/metrics-server",
            "role-binding": "True for 1 RoleBinding",
            "crd-version": (
                r"{.metadata.annotations.operator\.prometheus\.io/version} = 0.85.0: 1 CustomResourceDefinition"
            ),
        }
        assert cluster.revisions(ns, "cluster-autoscaler") == []
    finally:
        cluster.delete(f"{WEBHOOKS}/{webhook['metadata']['name']}")
        for each in (monitors, scalers):
            cluster.delete(f"{CRDS}/{each['metadata']['name']}")
