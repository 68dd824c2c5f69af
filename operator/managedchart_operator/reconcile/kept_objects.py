"""Names what an uninstall leaves in the cluster by design: volume claims of StatefulSets, and objects that the chart keeps.

The data in a volume claim outlives the release, and with it the passwords that are stored in the data. A chart that generates a
password generates another one for the next install, which then does not fit. So whoever installs again has to know.
Source: Kubernetes documentation, "StatefulSets", "Stable Storage"; Helm documentation, "Tell Helm not to uninstall a resource".
"""

import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.waiting.claims import CLAIM
from managedchart_operator.waiting.status_fields import mapping

_POLICY = "helm.sh/resource-policy"
_STATEFUL_SET = ("apps", "StatefulSet")
# A person needs to know that something stays, and where to begin; kubectl has the rest.
_NAMED = 5
# How many objects may be looked for after an uninstall.
_LOOKED_FOR = 20


async def kept_objects(
    objects: Objects, rendered: Sequence[Mapping[str, Any]], *, namespace: str, spared: Sequence[ObjectRef] = ()
) -> str:
    """Return the end of a sentence that names what is still there; "" where nothing is.

    `rendered` is what the release rendered; `spared` was named already. Raises nothing except when cancelled: what cannot be
    read is not named.
    """
    kept = [ref async for ref in _there(objects, rendered, namespace)]
    kept = [ref for ref in dict.fromkeys(kept) if ref not in spared]
    claims = [ref for ref in kept if ref.group_kind == CLAIM]
    others = [ref for ref in kept if ref.group_kind != CLAIM]
    sentence = ""
    if claims:
        sentence += f"; {_named(claims)} kept with the data (the next install needs the same passwords for it)"
    if others:
        sentence += f"; {_named(others)} kept by {_POLICY}"
    return sentence


def claims_of_templates(item: Mapping[str, Any]) -> Iterator[re.Pattern[str]]:
    """Yield for each claim template of a StatefulSet that keeps its claims a pattern of their names."""
    spec = mapping(item.get("spec"))
    if mapping(spec.get("persistentVolumeClaimRetentionPolicy")).get("whenDeleted") == "Delete":
        return
    templates = spec.get("volumeClaimTemplates")
    name = mapping(item.get("metadata")).get("name")
    for template in templates if isinstance(templates, list) else ():
        claim = mapping(mapping(template).get("metadata")).get("name")
        yield re.compile(rf"{re.escape(f'{claim}-{name}')}-[0-9]+")


async def _there(objects: Objects, rendered: Iterable[Mapping[str, Any]], namespace: str) -> AsyncIterator[ObjectRef]:
    looked_for = 0
    for item in rendered:
        ref = reference(item, namespace)
        with contextlib.suppress(KubeError):
            if ref.group_kind == _STATEFUL_SET and (patterns := list(claims_of_templates(item))):
                found = await objects.list("v1", "PersistentVolumeClaim", namespace=ref.namespace, metadata_only=True)
                names = [body["metadata"]["name"] for body in found if not _is_deleted(body)]
                for name in names:
                    if any(pattern.fullmatch(name) for pattern in patterns):
                        yield ObjectRef("v1", "PersistentVolumeClaim", name, ref.namespace)
            annotations = mapping(mapping(item.get("metadata")).get("annotations"))
            if str(annotations.get(_POLICY) or "").strip().lower() == "keep" and looked_for < _LOOKED_FOR:
                looked_for += 1
                located = await objects.locate(item, namespace)
                there = await objects.get(located)
                if there is not None and not _is_deleted(there):
                    yield located


def _is_deleted(found: Mapping[str, Any]) -> bool:
    """Whether an object is being deleted."""
    return mapping(found.get("metadata")).get("deletionTimestamp") is not None


def _named(refs: Sequence[ObjectRef]) -> str:
    more = f" and {len(refs) - _NAMED} more" if len(refs) > _NAMED else ""
    verb = "are" if len(refs) > 1 else "is"
    return f"{', '.join(map(str, refs[:_NAMED]))}{more} {verb}"
