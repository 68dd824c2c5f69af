"""What the API server would say to a chart, asked without changing anything.

Purpose: helm's own `--dry-run=server` renders with the cluster's versions and `lookup`, but sends no object to the API
server: a wrong field, a forbidden name, a quota or a policy shows up in the real run only (measured with helm 4.3.1). So the
rendered objects are applied here, in helm's way and as a dry run of the API server. Boundary: hooks are not tried. Invariant:
an error has the text, and so the reason and the words, of the real upgrade's error.
Source: Kubernetes documentation, "Dry-run", "Field validation", "Server-Side Apply".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from managedchart_operator.diagnosis.apply_refusals import refused
from managedchart_operator.errors import UNREADABLE, HelmError, KubeError, LifecycleError
from managedchart_operator.helm.manifest import ManifestError, as_sent, parse_manifest
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.storage import read_document
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason


def rendered_objects(output: HelmOutput) -> list[dict[str, Any]]:
    """Return the objects of a dry run's JSON output as helm sends them, hooks left out; to be called in a thread.

    Raises HelmError.
    """
    try:
        return [as_sent(item) for item in parse_manifest(read_document(output.stdout).get("manifest") or "")]
    except (*UNREADABLE, ManifestError) as error:
        raise HelmError(
            f"helm's dry run cannot be read: {error}", reason=Reason.HELM_FAILED, transient=False
        ) from error


@dataclass(frozen=True, slots=True)
class Trial:
    """A dry run of one release. Fields of other managers are no obstacle, since helm takes them over."""

    objects: Objects
    namespace: str

    async def judge(self, rendered: Sequence[dict[str, Any]]) -> str:
        """Let the API server judge each object; returns a sentence on what was found.

        Objects whose namespace is still to be made cannot be judged, which the sentence tells. Raises the HelmError of
        the real upgrade for all objects that would be refused, and KubeError when the API server does not answer.
        """
        made = (item for item in rendered if (item.get("apiVersion"), item["kind"]) == ("v1", "Namespace"))
        to_be_made = {(item.get("metadata") or {}).get("name") for item in made} | {self.namespace}
        refusals, untried = [], 0
        for item in rendered:
            ref = await _reference(self.objects, item, namespace=self.namespace)
            try:
                await self.objects.try_apply(ref, item)
            except KubeError as error:
                if not error.answer:
                    raise
                if error.answer == f'namespaces "{ref.namespace}" not found' and ref.namespace in to_be_made:
                    untried += 1
                else:
                    refusals.append((ref, error.answer))
        if refusals:
            raise refused(refusals, rendered=rendered)
        if untried:
            return f"{len(rendered)} objects rendered, {untried} not validated since their namespace does not exist yet"
        return f"{len(rendered)} objects rendered and validated, nothing changed"


async def _reference(objects: Objects, item: dict[str, Any], *, namespace: str) -> ObjectRef:
    meta = item.get("metadata") or {}
    if not meta.get("name"):
        # helm refuses it too ("resource name may not be empty"), but only halfway through the real run.
        raise LifecycleError(
            f"a {item['kind']} of the chart has no name, so helm cannot apply it",
            reason=Reason.OBJECT_INVALID,
            transient=False,
        )
    where = (meta.get("namespace") or namespace) if await objects.namespaced(item["apiVersion"], item["kind"]) else ""
    return ObjectRef(item["apiVersion"], item["kind"], meta["name"], where)
