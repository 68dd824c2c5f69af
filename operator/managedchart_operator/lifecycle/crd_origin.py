"""Whether a release created a CustomResourceDefinition, by the metadata of the CRD.

helm puts its ownership marks on what a chart renders, but not on what it installs from crds/. There the field managers decide:
whoever wrote a whole CRD owns `spec.group`, which never changes afterwards, and for the creator the time of that entry is the
time of creation. helm 4 also applies crds/ over an existing CRD, so ownership of fields alone proves nothing.
Source: Kubernetes documentation, "Server-Side Apply", field management.
"""

from collections.abc import Mapping
from typing import Any

from managedchart_operator.helm.ownership import is_kept, is_marked, other_release
from managedchart_operator.kube.field_owners import HELM


def why_foreign(metadata: Mapping[str, Any], *, name: str, namespace: str) -> str | None:
    """Return why the release must not delete a CRD; None if it may.

    It may if the CRD has the release's marks, or has none and helm created it. A CRD without field managers counts as helm's.
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
