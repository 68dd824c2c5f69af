"""Finds the autoscalers that target objects of a release: objects with a `spec.scaleTargetRef`.

HorizontalPodAutoscalers are always looked for; KEDA makes one for each ScaledObject. Other kinds are looked for only where
somebody has set the number of replicas of an object that none of those targets, since that takes a list for each kind.
Source: Kubernetes documentation, "Horizontal Pod Autoscaling"; KEDA documentation, "ScaledObject specification".
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.adopted import place_of

logger = logging.getLogger(__name__)

HPA = ("autoscaling/v2", "HorizontalPodAutoscaler")
# Like ScaledObject and WatermarkPodAutoscaler.
_NAMED = re.compile(r"(?i)scale[dr]|scaling")
# A cluster with all known autoscalers installed has some ten of these kinds.
_MOST_KINDS = 20

Place = tuple[str, str, str, str]
"""Group, kind, name and namespace of an object, as `adopted.place_of` returns them."""
Autoscalers = Mapping[Place, list[ObjectRef]]
"""The autoscalers of each target."""


async def horizontal_autoscalers(objects: Objects, namespaces: Iterable[str]) -> Autoscalers:
    """Return the HorizontalPodAutoscalers of these namespaces by target. Raises KubeError, except for a missing permission."""
    return await _in(objects, [HPA], namespaces)


async def other_autoscalers(objects: Objects, namespaces: Iterable[str]) -> Autoscalers:
    """Return the autoscalers of other kinds in these namespaces by target. Raises KubeError, except for missing permissions."""
    kinds = [kind for kind in await objects.discovery.namespaced_kinds(_NAMED) if kind[1] != HPA[1]]
    return await _in(objects, kinds[:_MOST_KINDS], namespaces)


def autoscalers_in(manifest: str, namespace: str) -> Autoscalers:
    """Return the autoscalers that a manifest renders, by target; to be called in a thread."""
    found: defaultdict[Place, list[ObjectRef]] = defaultdict(list)
    try:
        kinds = {item["kind"] for item in outline(manifest) if item["kind"] == HPA[1] or _NAMED.search(item["kind"])}
        rendered = outline(manifest, whole=kinds) if kinds else []
    except ManifestError as error:
        logger.warning("cannot read which autoscalers a revision in namespace %s has: %s", namespace, error)
        return {}
    for item in rendered:
        ref = reference(item, namespace)
        if item["kind"] in kinds and (target := _target(item, ref.namespace)):
            found[target].append(ref)
    return found


async def _in(objects: Objects, kinds: Iterable[tuple[str, str]], namespaces: Iterable[str]) -> Autoscalers:
    found: defaultdict[Place, list[ObjectRef]] = defaultdict(list)
    for namespace in sorted(set(namespaces)):
        for api_version, kind in kinds:
            try:
                items = await objects.list(api_version, kind, namespace=namespace, keep=_essential)
            except KubeError as error:
                if error.reason not in (Reason.FORBIDDEN, Reason.KIND_MISSING):
                    raise
                logger.warning("cannot look for autoscalers in namespace %s: %s", namespace, error.message)
                continue
            for item in items:
                if target := _target(item, namespace):
                    found[target].append(ObjectRef(api_version, kind, item["metadata"]["name"], namespace))
    return found


def _essential(autoscaler: dict[str, Any]) -> dict[str, Any]:
    """Return what is read of an autoscaler; it may have thousands of metrics."""
    spec = autoscaler.get("spec")
    target = {"scaleTargetRef": spec["scaleTargetRef"]} if isinstance(spec, dict) and "scaleTargetRef" in spec else {}
    return {"metadata": {"name": autoscaler["metadata"]["name"]}, "spec": target}


def _target(autoscaler: Mapping[str, Any], namespace: str) -> Place | None:
    """Return the target of an autoscaler; KEDA's default is a Deployment."""
    spec = autoscaler.get("spec")
    ref = spec.get("scaleTargetRef") if isinstance(spec, Mapping) else None
    if not isinstance(ref, Mapping) or not ref.get("name"):
        return None
    api_version, kind = str(ref.get("apiVersion") or "apps/v1"), str(ref.get("kind") or "Deployment")
    return place_of(ObjectRef(api_version, kind, str(ref["name"]), namespace))
