"""Decides which CustomResourceDefinitions a release brought, and may delete when it is uninstalled.

Deleting a CRD deletes all objects of its kind, and helm marks none that it installs from crds/, so a CRD stays in doubt.
"""

from collections.abc import Mapping
from typing import Any

from managedchart_operator.helm.ownership import is_kept, is_marked, other_release
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.kube.field_owners import HELM
from managedchart_operator.lifecycle.context import ChartCrds, PhaseContext

NOT_DEPLOYED = "this ManagedChart has not deployed the release"
"""Why all CRDs are kept where the release is not this resource's."""


def belongs(context: PhaseContext, crd: Mapping[str, Any], installed: ChartCrds) -> bool:
    """Whether the metadata of a CRD, or the installed chart, says that it is of the release."""
    release = context.release
    return (
        crd["name"] in installed.names
        or is_marked(crd, name=release.name, namespace=release.namespace)
        or applied_by(crd, context.chart.uid)
    )


def applied_by(crd: Mapping[str, Any], uid: str) -> bool:
    """Whether an action of this ManagedChart has created a CRD."""
    return (crd.get("labels") or {}).get(OWNER_LABEL) == uid


def why_kept(context: PhaseContext, crd: Mapping[str, Any], installed: ChartCrds) -> str | None:
    """Return why the release must not delete a CRD; None if it may."""
    unknown = None
    if not belongs(context, crd, installed):
        unknown = (
            f"it is unknown whether the installed chart has them: {installed.incomplete}"
            if installed.incomplete
            else "the release did not bring them"
        )
    release = context.release
    return why_foreign(crd, name=release.name, namespace=release.namespace, uid=context.chart.uid) or unknown


def why_foreign(metadata: Mapping[str, Any], *, name: str, namespace: str, uid: str = "") -> str | None:
    """Return why the release must not delete a CRD; None if it may.

    It may if the CRD has the release's marks, if an action of the ManagedChart with this UID created it, or if it has no marks
    and helm created it: helm does not mark what it installs from crds/.
    There the field managers decide. Whoever wrote a whole CRD owns `spec.group`, which never changes afterwards, and for the
    creator the time of that entry is the time of creation. helm 4 also applies crds/ over an existing CRD, so ownership of
    fields alone proves nothing. A CRD without field managers counts as helm's.
    Source: Kubernetes documentation, "Server-Side Apply", field management.
    """
    if other := other_release(metadata, name=name, namespace=namespace):
        return f"their ownership metadata names the release {other}"
    if is_kept(metadata):
        return "their annotation helm.sh/resource-policy is keep"
    if is_marked(metadata, name=name, namespace=namespace) or (uid and applied_by(metadata, uid)):
        return None
    writers = [entry for entry in metadata.get("managedFields") or [] if _wrote_all(entry)]
    creators = {entry.get("manager") for entry in writers if entry.get("time") == metadata.get("creationTimestamp")}
    others = sorted({str(entry.get("manager")) for entry in writers} - {HELM})
    if not others or creators == {HELM}:
        return None
    return f"{' and '.join(others)} applied them, and nothing proves that Helm created them"


def _wrote_all(entry: Mapping[str, Any]) -> bool:
    return "f:group" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
