"""Which CRDs a release may delete, by what their metadata shows."""

from typing import Any

import pytest

from managedchart_operator.lifecycle.release_crds import why_foreign

CREATED, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
OURS = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "apps"}


def entry(manager: str, time: str, *, operation: str = "Apply", **fields: Any) -> dict[str, Any]:
    """A field manager; by default one that wrote the whole CRD."""
    written = fields or {"f:spec": {"f:group": {}, "f:names": {"f:kind": {}}, "f:versions": {}}}
    return {"manager": manager, "operation": operation, "time": time, "fieldsV1": written}


def crd(*entries: dict[str, Any], labels: dict[str, str] | None = None, **annotations: str) -> dict[str, Any]:
    return {
        "name": "probes.monitoring.coreos.com",
        "creationTimestamp": CREATED,
        "managedFields": list(entries),
        "annotations": annotations,
        "labels": labels or {},
    }


CONDITIONS = entry("kube-apiserver", CREATED, operation="Update", **{"f:status": {"f:conditions": {}}})


@pytest.mark.parametrize(
    "metadata",
    [
        crd(entry("helm", CREATED), CONDITIONS),
        crd(entry("helm", LATER)),
        crd(entry("helm", CREATED, operation="Update")),
        crd(entry("helm", CREATED), entry("kubectl", LATER)),
        crd(entry("helm", CREATED), entry("cainjector", CREATED, **{"f:spec": {"f:conversion": {}}})),
        crd(entry("helm", CREATED), entry("kubectl-annotate", CREATED, **{"f:metadata": {"f:annotations": {}}})),
        crd(entry("kubectl", CREATED), labels={"app.kubernetes.io/managed-by": "Helm"}, **OURS),
        {"name": "probes.monitoring.coreos.com"},
    ],
    ids=[
        "helm alone",
        "helm, changed since",
        "helm 3",
        "upgraded by hand since",
        "a certificate injected",
        "annotated by hand",
        "marked as ours",
        "no field managers",
    ],
)
def test_crds_that_helm_created_may_be_deleted(metadata: dict[str, Any]) -> None:
    assert why_foreign(metadata, name="web", namespace="apps") is None


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (
            crd(entry("kubectl-client-side-apply", CREATED, operation="Update")),
            "kubectl-client-side-apply applied them",
        ),
        (crd(entry("kubectl", CREATED), entry("helm", LATER)), "kubectl applied them"),
        (crd(entry("kubectl", CREATED), entry("helm", CREATED)), "kubectl applied them"),
        (crd(entry("argocd-controller", LATER), entry("helm", LATER)), "argocd-controller applied them"),
        (crd(entry("b", CREATED), entry("a", LATER)), "a and b applied them"),
        (crd(entry("helm", CREATED), **{**OURS, "meta.helm.sh/release-name": "theirs"}), "the release apps/theirs"),
        (crd(entry("helm", CREATED), **{"meta.helm.sh/release-namespace": "other"}), "the release other/?"),
        (crd(entry("helm", CREATED), **{"helm.sh/resource-policy": "keep"}), "helm.sh/resource-policy is keep"),
        (
            crd(entry("helm", CREATED), labels={"app.kubernetes.io/managed-by": "Helm"}, **OURS)
            | {"annotations": {**OURS, "helm.sh/resource-policy": "keep"}},
            "helm.sh/resource-policy is keep",
        ),
    ],
    ids=[
        "kubectl alone",
        "applied over by helm",
        "within the same second",
        "created by neither, as far as is seen",
        "two others",
        "another name",
        "another namespace",
        "kept",
        "kept, ours",
    ],
)
def test_crds_of_others_are_kept(metadata: dict[str, Any], why: str) -> None:
    found = why_foreign(metadata, name="web", namespace="apps")
    assert found is not None
    assert why in found
