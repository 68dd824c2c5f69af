"""Manifests are read by helm's rules, and an unreadable one does not block removal."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import config, delete, deploy, ready_reason, refused, small
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")

# Scalars that YAML 1.1, as PyYAML reads it, takes for dates, for numbers of base 60, or for texts.
DIALECT = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  annotations: {released: 2026-01-31, end: 2026-02-30, window: 12:30, not-a-number: 1e3x}
data:
  policy: 2012-10-17
  zero: 0000-00-00
  ports: 22:22
  late: 2026-01-01T24:00:00Z
  equals: =
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: {{ .Release.Namespace }}}
value: 1e+06
globalDefault: off
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, annotations: {until: 2026-13-45}}
spec:
  replicas: 0x1
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec:
      enableServiceLinks: y
      terminationGracePeriodSeconds: 010
      securityContext: {runAsUser: 2_147_483_647}
      volumes: [{name: c, configMap: {name: {{ .Release.Name }}, defaultMode: 0o644, optional: on}}]
      containers: [{name: a, image: registry.example/a, args: [12:30, 2026-01-31]}]
"""


def test_scalars_mean_what_they_mean_to_helm(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """The dry run sends what the real run sends, the wait reads it, and the deletion finishes."""
    chart = small(chart_root, name="dialect", objects=DIALECT)
    dry = deploy(cluster, ns, "a", chart, dryRun=True)
    assert ready_reason(dry) == "DryRunSucceeded"
    assert "3 objects rendered and validated" in condition_of(dry, "Ready")["message"]
    deploy(cluster, ns, "a", chart)
    assert config(cluster, ns, "a") == {
        "policy": "2012-10-17", "zero": "0000-00-00", "ports": "22:22", "late": "2026-01-01T24:00:00Z", "equals": "=",
    }  # fmt: skip
    priority = cluster.get(f"/apis/scheduling.k8s.io/v1/priorityclasses/{ns}")
    assert priority is not None
    assert priority["value"] == 1_000_000
    found = cluster.get(f"/apis/apps/v1/namespaces/{ns}/deployments/a")
    assert found is not None
    pod = found["spec"]["template"]["spec"]
    assert (pod["terminationGracePeriodSeconds"], pod["enableServiceLinks"]) == (8, True)
    assert pod["volumes"][0]["configMap"]["defaultMode"] == 0o644
    assert deploy(cluster, ns, "a", chart, dryRun=True)["status"]["phase"] == "Ready"
    delete(cluster, ns, "a")
    assert cluster.revisions(ns, "a") == []
    assert config(cluster, ns, "a") is None


def rewrite(cluster: Cluster, ns: str, secret: str, **parts: Any) -> None:
    """Give a stored release other parts, as anybody may who can write Secrets."""
    path = f"/api/v1/namespaces/{ns}/secrets/{secret}"
    found = cluster.get(path)
    assert found is not None
    document = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(found["data"]["release"]))))
    packed = base64.b64encode(gzip.compress(json.dumps(document | parts).encode()))
    data = json.dumps({"data": {"release": base64.b64encode(packed).decode()}})
    cluster.kubectl("patch", "secret", secret, f"--namespace={ns}", "--type=merge", f"-p={data}")


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
UNREADABLE: dict[str, dict[str, Any]] = {
    # helm reads both of them.
    "manifest": {"manifest": f"---\n{CONFIG}deep: {'[' * 300}{']' * 300}\n"},
    "document": {"config": {"a": [[]] * 150_000}},
}


@pytest.mark.parametrize("parts", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("how", ["deletion", "Destroy"])
def test_an_unreadable_release_is_removed_nevertheless(
    cluster: Cluster, ns: str, chart_root: Path, parts: dict[str, Any], how: str
) -> None:
    """By helm alone, with helm's wait."""
    chart = small(chart_root)
    deploy(cluster, ns, "a", chart)
    rewrite(cluster, ns, "sh.helm.release.v1.a.v1", **parts)
    if how == "deletion":
        delete(cluster, ns, "a")
    else:
        assert ready_reason(deploy(cluster, ns, "a", chart, action="Destroy")) == "Destroyed"
    assert cluster.revisions(ns, "a") == []
    assert config(cluster, ns, "a") is None


def test_a_manifest_too_large_to_read_is_reported(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """Three megabytes of empty lists once took 800 MB of the operator."""
    text = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx: [{{ repeat 1000000 "[]," }}]\n'
    chart = small(chart_root, name="many", objects=text)
    failure = refused(cluster, ns, "a", chart, dryRun=True, retry={"limit": 0})
    assert failure["reason"] == "HelmFailed"
    assert "more than 250000 values" in failure["message"]


@pytest.mark.parametrize("dry", [True, False], ids=["dry", "real"])
def test_an_impossible_object_name_is_refused(cluster: Cluster, ns: str, chart_root: Path, *, dry: bool) -> None:
    """It would lead to another object's URL."""
    text = CONFIG.replace("name: a", "name: ../../kube-system/secrets/cloud")
    chart = small(chart_root, name="path", objects=text)
    cluster.apply(managedchart("a", chart, dryRun=dry, retry={"limit": 0}), namespace=ns)
    failure = cluster.wait_failed(ns, "a", "ObjectInvalid")["status"]["lastFailure"]
    assert "invalid resource name" in failure["message"]
    delete(cluster, ns, "a")
