"""Lets the API server validate the objects of a chart without changing anything.

helm's own `--dry-run=server` renders with the cluster's versions and `lookup`, but sends no object to the API server: a wrong
field, a forbidden name, a quota or a policy shows up in the real run only (measured with helm 4.3.1). So the rendered objects
are applied here, as helm applies them and as a dry run of the API server. Hooks are not validated. An error has the reason and
the wording of the real upgrade's error.
Source: Kubernetes documentation, "Dry-run", "Field validation", "Server-Side Apply".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from managedchart_operator.diagnosis.apply_refusals import refused
from managedchart_operator.errors import UNREADABLE, HelmError, KubeError, LifecycleError
from managedchart_operator.helm.manifest import ManifestError, as_sent, parse_manifest
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.stored_release import read_document
from managedchart_operator.kube.objects import Objects, reference
from managedchart_operator.reasons import Reason


def rendered_objects(output: HelmOutput) -> list[dict[str, Any]]:
    """Return the objects of a dry run's JSON output as helm sends them, without hooks; to be called in a thread.

    Raises HelmError.
    """
    try:
        return [as_sent(item) for item in parse_manifest(read_document(output.stdout).get("manifest") or "")]
    except (*UNREADABLE, ManifestError) as error:
        raise HelmError(
            f"The output of helm's dry run cannot be read: {error}", reason=Reason.HELM_FAILED, transient=False
        ) from error


@dataclass(frozen=True, slots=True)
class Trial:
    """A dry run of one release. Fields of other managers are not refused, since helm takes them over."""

    objects: Objects
    namespace: str

    async def judge(self, rendered: Sequence[dict[str, Any]]) -> str:
        """Let the API server validate each object; returns a sentence on the result.

        Objects whose namespace does not exist yet cannot be validated, which the sentence says. Raises the HelmError of the
        real upgrade for all objects that would be refused, and KubeError when the API server does not answer.
        """
        made = (item for item in rendered if (item.get("apiVersion"), item["kind"]) == ("v1", "Namespace"))
        to_be_made = {(item.get("metadata") or {}).get("name") for item in made} | {self.namespace}
        refusals, untried = [], 0
        for item in rendered:
            if not reference(item, self.namespace).name:
                raise _nameless(item)
            ref = await self.objects.locate(item, self.namespace)
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


def _nameless(item: dict[str, Any]) -> LifecycleError:
    """Return the error for an object that helm refuses too ("resource name may not be empty"), halfway through the real run."""
    return LifecycleError(
        f"A {item['kind']} of the chart has no name, so Helm cannot apply it",
        reason=Reason.OBJECT_INVALID,
        transient=False,
        hint="Set metadata.name in the template; Helm does not support generateName.",
    )
