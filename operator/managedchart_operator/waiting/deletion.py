"""The deletion of a release's objects: whether pods have to end, when all of it is over, and what blocks it.

An uninstall is over when none of its objects is being deleted any more; until then the release must not be forgotten. So
`until_deleted` covers all objects: one that cannot be read does not count as deleted. `find_blockers` is for people: the number
of requests and the time are bounded, and objects that cannot be read are left out. All of this only reads.
Source: Kubernetes documentation, "Garbage collection", "Finalizers"; kube-controller-manager --kube-api-qps.
"""

import asyncio
import contextlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from managedchart_operator.errors import KubeError, UninstallBlockedError
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.status_fields import Parts

# The status field with the number of pods. A Job keeps pods that have ended, which its status does not count.
_COUNTS = {
    ("apps/v1", "Deployment"): "replicas",
    ("apps/v1", "ReplicaSet"): "replicas",
    ("apps/v1", "StatefulSet"): "replicas",
    ("apps/v1", "DaemonSet"): "currentNumberScheduled",
}
# The kinds of Kubernetes itself in these groups have no dependents, except _KINDS_WITH.
_GROUPS_WITHOUT = {
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "autoscaling",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
}
_KINDS_WITH = {"Pod", "ReplicationController", "Namespace"}

# Objects without finalizers are deleted within milliseconds of their last pod.
LOOK_SECONDS = 0.3
# How many are asked for at once: a release may have thousands of objects, and a task for each would hold up all others.
_AT_ONCE = 200
# Enough blockers to see what is wrong; kubectl shows the rest.
MAX_LOOKS = 60
MAX_NAMED = 5
_FIND_SECONDS = 5.0


async def have_dependents(objects: Objects, namespace: str, rendered: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of a release's objects has dependents, such as pods, that an uninstall has to wait for.

    A deletion in the foreground makes the garbage collector visit each object twice, with or without dependents, and by default
    that collector makes 20 requests a second for the whole cluster. So it is only worth it where pods have to end. In doubt,
    and for kinds that are not listed here, there are dependents. Raises nothing except when cancelled.
    """
    for ref in (reference(item, namespace) for item in rendered):
        group, kind = ref.group_kind
        if field := _COUNTS.get((ref.api_version, kind)):
            if await _has_pods(objects, ref, field):
                return True
        elif kind in _KINDS_WITH or group not in _GROUPS_WITHOUT:
            return True
    return False


async def _has_pods(objects: Objects, ref: ObjectRef, field: str) -> bool:
    try:
        parts = Parts.of(await objects.get(ref) or {})  # all of these kinds are namespaced
    except KubeError:
        return True
    return not parts.is_observed or parts.count(field) > 0


async def until_deleted(objects: Objects, refs: Iterable[ObjectRef], seconds: float) -> bool:
    """Wait until none of the objects is being deleted any more; False if some are after so many seconds.

    Asks again if the API server does not answer. Raises KubeError if it refuses to.
    """
    left = list(refs)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            # They are of any kinds: a watch on each would cost more than a few requests.
            while left:
                try:
                    left = await being_deleted(objects, left)
                except KubeError as error:
                    if error.reason is not Reason.API_UNAVAILABLE:
                        raise
                if left:
                    await asyncio.sleep(LOOK_SECONDS)
    return not left


async def being_deleted(objects: Objects, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
    """Return all of the objects that exist and are marked for deletion. Raises KubeError."""
    left: list[ObjectRef] = []
    for start in range(0, len(refs), _AT_ONCE):
        together = refs[start : start + _AT_ONCE]
        found = zip(together, await asyncio.gather(*map(objects.get, together)), strict=True)
        left += [ref for ref, body in found if body and body["metadata"].get("deletionTimestamp")]
    return left


@dataclass(frozen=True, slots=True)
class Blocker:
    """An object that is being deleted and still exists."""

    ref: ObjectRef
    finalizers: tuple[str, ...]

    def __str__(self) -> str:
        if self.finalizers:
            return f"{self.ref} (held by the finalizer {', '.join(self.finalizers)})"
        return f"{self.ref} (being deleted)"


async def find_blockers(objects: Objects, refs: Iterable[ObjectRef]) -> list[Blocker]:
    """Return the objects that are being deleted, those with finalizers first."""
    found: list[Blocker] = []

    async def look(ref: ObjectRef) -> None:
        with contextlib.suppress(KubeError):
            there = await objects.get(ref)
            if there is not None and there["metadata"].get("deletionTimestamp"):
                found.append(Blocker(ref, tuple(there["metadata"].get("finalizers") or ())))

    with contextlib.suppress(TimeoutError):  # what was found until now is better than nothing
        async with asyncio.timeout(_FIND_SECONDS):
            await asyncio.gather(*map(look, list(refs)[:MAX_LOOKS]))
    found.sort(key=lambda blocker: (not blocker.finalizers, str(blocker)))
    return found[:MAX_NAMED]


def blocked(blockers: list[Blocker], *, text: str = "") -> UninstallBlockedError:
    """Return the error that names what blocks an uninstall, at least one object; `text` is helm's own."""
    return UninstallBlockedError(
        f"The uninstall waits for {'; '.join(map(str, blockers))}",
        objects=[(ref.api_version, ref.kind, ref.name, ref.namespace) for ref in (each.ref for each in blockers)],
        text=text,
        hint=_hint(blockers[0]),  # which has a finalizer if any of them has
    )


def _hint(blocker: Blocker) -> str:
    namespace = ["--namespace", blocker.ref.namespace] if blocker.ref.namespace else []
    what = shlex.join([blocker.ref.kind, blocker.ref.name, *namespace])
    if not blocker.finalizers:
        return f"See why it is not deleted yet: kubectl describe {what}"
    return (
        "Make sure that the controller that owns the finalizer is running. If it was removed for good, remove the finalizer: "
        f"""kubectl patch {what} --type=merge --patch '{{"metadata": {{"finalizers": null}}}}'"""
    )
