"""Which objects of a release the wait leaves out, since they do not become ready by design.

`spec.waitFor.exclude` selects them, or the chart itself annotates them. They are applied as all others. Nothing that happens to
them, or to their pods, ends the wait or is the cause of a failure; as evidence it is still shown. Hooks are never left out:
helm runs them, and waits for each.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from managedchart_operator.api.object_selector import ObjectSelector
from managedchart_operator.api.resource import WAIT_ANNOTATION
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.waiting.status_fields import mapping


def is_annotated(rendered: Mapping[str, Any]) -> bool:
    """Whether a rendered object has the annotation that leaves it out."""
    annotations = mapping(mapping(rendered.get("metadata")).get("annotations"))
    return annotations.get(WAIT_ANNOTATION) == "false"


async def left_out(
    objects: Objects, rendered: Iterable[Mapping[str, Any]], *, exclude: Sequence[ObjectSelector], namespace: str
) -> frozenset[ObjectRef]:
    """Return the references, as `reference` makes them, of the rendered objects that a wait leaves out.

    `namespace` is the release's. Raises nothing except when cancelled: a kind that cannot be looked up counts as namespaced.
    """
    found = set()
    for item in rendered:
        ref = reference(item, namespace)
        if is_annotated(item) or (exclude and await _is_selected(objects, ref, exclude)):
            found.add(ref)
    return frozenset(found)


async def _is_selected(objects: Objects, ref: ObjectRef, exclude: Sequence[ObjectSelector]) -> bool:
    group, kind = ref.group_kind
    fitting = [each for each in exclude if each.matches(group=group, kind=kind, namespace=ref.namespace, name=ref.name)]
    if any(selector.namespace is None for selector in fitting):
        return True
    return bool(fitting) and await _is_namespaced(objects, ref)


async def _is_namespaced(objects: Objects, ref: ObjectRef) -> bool:
    try:
        return await objects.namespaced(ref.api_version, ref.kind)
    except KubeError:
        return True
