"""The annotations and the label by which helm recognises which release an object belongs to.

Pure, over an object's metadata. helm accepts an object as part of a release only if all three are present.
Source: helm 4.3.1, `pkg/action/validate.go`; Helm documentation, "Tell Helm Not To Uninstall a Resource".
"""

from collections.abc import Mapping
from typing import Any

RELEASE_NAME = "meta.helm.sh/release-name"
RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"
MANAGED_BY = "app.kubernetes.io/managed-by"
RESOURCE_POLICY = "helm.sh/resource-policy"
HOOK = "helm.sh/hook"


def marks(*, name: str, namespace: str) -> dict[str, dict[str, str]]:
    """Return the metadata that makes an object part of the release."""
    return {
        "annotations": {RELEASE_NAME: name, RELEASE_NAMESPACE: namespace},
        "labels": {MANAGED_BY: "Helm"},
    }


def is_marked(metadata: Mapping[str, Any], *, name: str, namespace: str) -> bool:
    """Whether an object has all the marks of this release."""
    return all(
        (metadata.get(part) or {}).items() >= wanted.items()
        for part, wanted in marks(name=name, namespace=namespace).items()
    )


def other_release(metadata: Mapping[str, Any], *, name: str, namespace: str) -> str | None:
    """Return the other release that an object's marks name, as NAMESPACE/NAME with ? for missing parts, or None."""
    annotations = metadata.get("annotations") or {}
    expected = marks(name=name, namespace=namespace)["annotations"]
    if all(annotations.get(key, value) == value for key, value in expected.items()):
        return None
    return f"{annotations.get(RELEASE_NAMESPACE, '?')}/{annotations.get(RELEASE_NAME, '?')}"


def is_kept(metadata: Mapping[str, Any]) -> bool:
    """Whether an object is annotated to outlive its release."""
    policy = (metadata.get("annotations") or {}).get(RESOURCE_POLICY)
    return isinstance(policy, str) and policy.strip().lower() == "keep"
