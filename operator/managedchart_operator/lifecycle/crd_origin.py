"""Who brought a CustomResourceDefinition into the cluster, as its metadata shows it.

helm puts its marks on what a chart renders, but not on what it installs from crds/. There the field managers tell: whoever
wrote a whole CRD owns `spec.group`, which never changes afterwards, and the time of that entry is the time of creation for
whoever created it. helm 4 also applies crds/ over a CRD that exists already, so being one of the owners proves nothing.
Source: Kubernetes documentation, "Server-Side Apply", field management.
"""

from collections.abc import Mapping
from typing import Any

from managedchart_operator.helm.ownership import is_kept, is_marked, other_release
from managedchart_operator.kube.field_owners import HELM


def why_foreign(metadata: Mapping[str, Any], *, name: str, namespace: str) -> str | None:
    """Say why the release must leave a CRD; None when it may delete it.

    It may when the CRD has the release's marks, or none and helm created it. Without field managers nothing speaks against it.
    """
    if other := other_release(metadata, name=name, namespace=namespace):
        return f"they carry the marks of the release {other}"
    if is_kept(metadata):
        return "their annotation helm.sh/resource-policy is keep"
    if is_marked(metadata, name=name, namespace=namespace):
        return None
    writers = [entry for entry in metadata.get("managedFields") or [] if _wrote_all(entry)]
    creators = {entry.get("manager") for entry in writers if entry.get("time") == metadata.get("creationTimestamp")}
    others = sorted({str(entry.get("manager")) for entry in writers} - {HELM})
    if not others or creators == {HELM}:
        return None
    return f"{' and '.join(others)} applied them, and nothing proves that Helm created them"


def _wrote_all(entry: Mapping[str, Any]) -> bool:
    return "f:group" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
