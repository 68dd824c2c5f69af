"""Lets the API server validate the objects of a chart without changing anything.

helm's own `--dry-run=server` renders with the cluster's versions and `lookup`, but sends no object to the API server: a wrong
field, a forbidden name, a quota or a policy shows up in the real run only (measured with helm 4.3.1). So this module applies
the rendered objects as helm does, with the API server's dry run. Hooks are not validated. An error has the reason and the
wording of the real upgrade's error.
Source: Kubernetes documentation, "Dry-run", "Field validation", "Server-Side Apply".
"""

from collections.abc import Sequence
from typing import Any

from managedchart_operator.diagnosis.apply_refusals import refused
from managedchart_operator.errors import UNREADABLE, HelmError, KubeError, LifecycleError
from managedchart_operator.helm.manifest import ManifestError, as_sent, parse_manifest
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.stored_release import read_document
from managedchart_operator.kube.objects import Objects, reference
from managedchart_operator.reasons import Reason


def rendered_objects(output: HelmOutput) -> list[dict[str, Any]]:
    """Return the objects of a dry run's JSON output as helm sends them, without hooks; call it in a thread.

    Raises HelmError.
    """
    try:
        return [as_sent(item) for item in parse_manifest(read_document(output.stdout).get("manifest") or "")]
    except (*UNREADABLE, ManifestError) as error:
        raise HelmError(
            f"The output of Helm's dry run cannot be read: {error}", reason=Reason.HELM_FAILED, transient=False
        ) from error


async def validate(rendered: Sequence[dict[str, Any]], objects: Objects, *, namespace: str) -> str:
    """Validate each object with the API server; returns a sentence about the result.

    Fields of other managers are not refused, since helm takes them over. Objects whose namespace does not exist yet cannot be
    validated; the sentence counts them. Raises the HelmError of the real upgrade for all objects that would be refused, and
    KubeError when the API server does not answer.
    """
    created = (item for item in rendered if (item.get("apiVersion"), item["kind"]) == ("v1", "Namespace"))
    to_be_created = {(item.get("metadata") or {}).get("name") for item in created} | {namespace}
    refusals, skipped = [], 0
    for item in rendered:
        if not reference(item, namespace).name:
            raise _nameless(item)
        ref = await objects.locate(item, namespace)
        try:
            await objects.try_apply(ref, item)
        except KubeError as error:
            if not error.answer:
                raise
            if error.answer == f'namespaces "{ref.namespace}" not found' and ref.namespace in to_be_created:
                skipped += 1
            else:
                refusals.append((ref, error.answer))
    if refusals:
        raise refused(refusals, rendered=rendered)
    if skipped:
        return f"{len(rendered)} objects rendered, {skipped} not validated because their namespace does not exist yet"
    return f"{len(rendered)} objects rendered and validated, nothing changed"


def _nameless(item: dict[str, Any]) -> LifecycleError:
    """Return the error for an object that helm would refuse too ("resource name may not be empty"), halfway through its run."""
    return LifecycleError(
        f"A {item['kind']} of the chart has no name, so Helm cannot apply it",
        reason=Reason.OBJECT_INVALID,
        transient=False,
        hint="Set metadata.name in the template; Helm does not support generateName.",
    )
