"""`delete`: objects by name or selector, never more than was allowed, and only those that were looked at.

A request names the UID of the object, and its resourceVersion where a condition was evaluated, so what was re-created or has
changed meanwhile is not deleted. What exists when the action begins counts: a run that is repeated after a crash deletes what
matches then, so a condition that new objects do not fulfil makes it happen once.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from managedchart_operator.api import resource
from managedchart_operator.api.schema import ApiModel, rules
from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.single_writes import delete_exactly
from managedchart_operator.lifecycle.actions import expressions
from managedchart_operator.lifecycle.actions.envelope import CelText
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import NAME_OR_SELECTOR, ObjectsRef
from managedchart_operator.lifecycle.actions.verb import Done, Expression, Verb
from managedchart_operator.lifecycle.actions.writing import CRD, about, ref_of, refusals, these
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.deletion import LOOK_SECONDS, Blocker

CRASHES = 5
"""From how many restarts on a container in CrashLoopBackOff makes its pod one that does not recover."""
DATA_KINDS = ("Namespace", "PersistentVolume", "PersistentVolumeClaim")
RESOURCE_KINDS = (resource.KIND, "LifecycleProfile")

MAX_NEEDED = "a selector needs max: the number of objects above which nothing is deleted"
NO_CRDS = "use the verb deleteCRDs for CustomResourceDefinitions: with them all objects of their kinds are deleted"
NO_RESOURCES = "ManagedCharts and LifecycleProfiles are not deleted by actions"
CONFIRM = "set confirmDataLoss: true to delete objects of this kind: data is lost with them"
SOME_CONDITION = "set crashLooping, expr or both"
PODS_ONLY = "crashLooping is about pods: set kind: Pod"

_VARIABLES = ("object", "release", "spec", "payload")
# The condition is evaluated again where the object was changed after it was looked at; pods change every few seconds.
_TRIES = 5
_METADATA = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp", "finalizers")
_STATUSES = ("initContainerStatuses", "containerStatuses")
_RETENTION = "persistentVolumeClaimRetentionPolicy"


def _listed(names: tuple[str, ...]) -> str:
    return f"[{', '.join(repr(each) for each in names)}]"


class Condition(ApiModel):
    """Which of the objects are deleted; all that is given must hold."""

    model_config = ConfigDict(
        json_schema_extra=rules(("has(self.expr) || (has(self.crashLooping) && self.crashLooping)", SOME_CONDITION))
    )

    crash_looping: bool = False
    """Only pods with a container in CrashLoopBackOff that was restarted 5 times or more."""
    expr: CelText | None = None
    """Only if this CEL expression over object, release, spec and payload is true; data of Secrets is left out of the object."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.crash_looping and self.expr is None:
            raise ValueError(SOME_CONDITION)
        return self


class Delete(ObjectsRef, Verb):
    """Deletes objects and their dependents."""

    verb: ClassVar[str] = "delete"
    needs: ClassVar[tuple[str, ...]] = ("get", "list", "delete")
    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.name) != has(self.selector)", NAME_OR_SELECTOR),
            ("!has(self.selector) || has(self.max)", MAX_NEEDED),
            (f"self.kind != '{CRD}'", NO_CRDS),
            (f"!(self.kind in {_listed(RESOURCE_KINDS)})", NO_RESOURCES),
            (
                f"!(self.kind in {_listed(DATA_KINDS)}) || (has(self.confirmDataLoss) && self.confirmDataLoss)",
                CONFIRM,
            ),
            (
                "!has(self.when) || !has(self.when.crashLooping) || !self.when.crashLooping || self.kind == 'Pod'",
                PODS_ONLY,
            ),
        )
    )

    max: int | None = Field(default=None, ge=1, le=1000, strict=True)
    """How many objects may be deleted; if more match, none is. Required with a selector."""
    when: Condition | None = None
    """Which of the objects are deleted; by default all."""
    wait: bool = True
    """Wait until they no longer exist, within the action's timeout."""
    orphan: bool = False
    """Leave the dependents, like the pods of a StatefulSet; by default they are deleted first."""
    confirm_data_loss: bool = False
    """Needed for Namespaces, PersistentVolumes, PersistentVolumeClaims, and StatefulSets that delete their claims."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.selector is not None and self.max is None:
            raise ValueError(MAX_NEEDED)
        return self

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kind."""
        if problem := self.kind_problem():
            yield f"kind: {problem}"
        if self.kind == CRD:
            yield f"kind: {NO_CRDS}"
        if self.kind in RESOURCE_KINDS:
            yield f"kind: {NO_RESOURCES}"
        if self.kind in DATA_KINDS and not self.confirm_data_loss:
            yield f"confirmDataLoss: {CONFIRM}"
        if self.when is not None and self.when.crash_looping and self.kind != "Pod":
            yield f"when: {PODS_ONLY}"

    def expressions(self) -> Iterator[Expression]:
        """Yield its expression, if it has one."""
        if self.when is not None and self.when.expr is not None:
            yield Expression("delete.when.expr", self.when.expr, _VARIABLES)

    async def run(self, scene: Scene) -> Done:
        """Delete the objects and wait. Raises LifecycleError, KubeError."""
        matching, ending = await self._matching(scene)
        deleted = [each for each in matching if await self._delete(scene, each)]
        if self.wait:
            await self._until_deleted(scene, [*deleted, *ending])
        if not deleted:
            return Done(
                f"No {self.kind} to delete" if not ending else f"{len(ending)} {self.kind} were being deleted already"
            )
        return Done(f"Deleted {self._these(scene, deleted)}", {"count": len(deleted)})

    async def preview(self, scene: Scene) -> Done:
        """Say what it would delete."""
        matching, _ = await self._matching(scene)
        if not matching:
            return Done(f"No {self.kind} to delete")
        return Done(f"Would delete {self._these(scene, matching)}")

    def _these(self, scene: Scene, objects: list[dict[str, Any]]) -> str:
        return these(scene, self, [ref_of(each) for each in objects], chosen=self.selector is not None)

    async def _matching(self, scene: Scene) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return what is to be deleted, and what is being deleted already. Raises LifecycleError if it is too much."""
        with refusals(scene, about(self, self.name, self.namespace or scene.namespace)):
            found = await self.find(scene.cluster, scene.namespace, keep=_essential)
        ending = [each for each in found if each["metadata"].get("deletionTimestamp")]
        living = [each for each in found if not each["metadata"].get("deletionTimestamp")]
        looked_at = [await self._chosen(scene, each) for each in living]
        matching = [each for each in looked_at if each is not None]
        if self.max is not None and len(matching) > self.max:
            raise LifecycleError(
                f"{len(matching)} {self.kind} match, more than max: {self.max}; nothing was deleted",
                transient=self.when is not None,
                hint=f"Write a narrower selector, or set max to {len(matching)}.",
            )
        for each in matching:
            self._check(each)
        return matching, ending

    def _check(self, found: Mapping[str, Any]) -> None:
        """Raise LifecycleError for what holds data that its kind alone does not show."""
        if found["kind"] == "Secret" and found.get("type") == "helm.sh/release.v1":
            raise LifecycleError(
                f"{ref_of(found)} is where Helm stores a release; nothing was deleted",
                reason=Reason.LIFECYCLE_INVALID,
                transient=False,
                hint="Write a narrower selector.",
            )
        retention = (found.get("spec") or {}).get(_RETENTION) or {}
        if found["kind"] == "StatefulSet" and retention.get("whenDeleted") == "Delete" and not self.confirm_data_loss:
            raise LifecycleError(
                f"{ref_of(found)} deletes its PersistentVolumeClaims when it is deleted; nothing was deleted",
                reason=Reason.LIFECYCLE_INVALID,
                transient=False,
                hint="Set confirmDataLoss: true in the action, or set whenDeleted: Retain in the StatefulSet first.",
            )

    async def _chosen(self, scene: Scene, found: dict[str, Any]) -> dict[str, Any] | None:
        """Return an object as it was looked at if the conditions hold for it, else None. Raises LifecycleError, KubeError.

        An expression may look at all of it, so it is read again, alone: of many objects no more than the essential is held.
        """
        if self.when is None:
            return found
        if self.when.crash_looping and not crash_looping(found):
            return None
        if self.when.expr is None:
            return found
        ref = ref_of(found)
        with refusals(scene, ref):
            now = await scene.cluster.get(ref)
        if now is None or now["metadata"]["uid"] != found["metadata"]["uid"]:
            return None
        return _essential(now) if await self._holds(scene, now) else None

    async def _holds(self, scene: Scene, found: Mapping[str, Any]) -> bool:
        """Whether the conditions hold for a whole object. Raises LifecycleError."""
        if self.when is None:
            return True
        if self.when.crash_looping and not crash_looping(found):
            return False
        for expression in self.expressions():
            return await expressions.holds(expression, {**scene.variables, "object": expressions.visible(found)})
        return True

    async def _delete(self, scene: Scene, found: dict[str, Any]) -> bool:
        """Delete an object as it was looked at; False if it is not there any more, or the condition no longer holds."""
        ref, uid = ref_of(found), found["metadata"]["uid"]
        for left in reversed(range(_TRIES)):
            version = None if self.when is None else found["metadata"].get("resourceVersion")
            with refusals(scene, ref):
                if await delete_exactly(scene.cluster, ref, uid=uid, version=version, orphan=self.orphan):
                    return True
                now = await scene.cluster.get(ref) if version else None
            if now is None or now["metadata"]["uid"] != uid or not await self._holds(scene, now):
                return False
            if not left:
                raise LifecycleError(f"{ref} was changed each time that it was to be deleted")
            found = now
        return False

    async def _until_deleted(self, scene: Scene, objects: list[dict[str, Any]]) -> None:
        """Wait until none of the objects exists any more; one of the same name is another one. The action has the deadline."""
        left = {each["metadata"]["uid"]: ref_of(each) for each in objects}
        while left:
            there = await self._there(scene)
            left = {uid: ref for uid, ref in left.items() if uid in there}
            if left:
                uid, ref = next(iter(left.items()))
                held = Blocker(ref, tuple(there[uid].get("finalizers") or ()))
                like = "" if scene.foreign and self.selector is not None else f", like {held}"
                scene.progress = f"{len(left)} {self.kind} still exist{like}"
                await asyncio.sleep(LOOK_SECONDS)

    async def _there(self, scene: Scene) -> dict[str, Mapping[str, Any]]:
        """Return the metadata of what has the name or the labels now, by UID. Raises LifecycleError, KubeError."""
        ref = await scene.cluster.resolve(about(self, self.name, self.namespace or scene.namespace))
        with refusals(scene, ref):
            if self.selector is None:
                one = await scene.cluster.get(ref)
                found = [one] if one else []
            else:
                found = await scene.cluster.list(
                    ref.api_version,
                    ref.kind,
                    namespace=ref.namespace,
                    labels=self.selector.text(),
                    metadata_only=True,
                    keep=_identity,
                )
        return {each["metadata"]["uid"]: each["metadata"] for each in found}


def _identity(item: dict[str, Any]) -> dict[str, Any]:
    """Return of an object what is looked at until it no longer exists."""
    return {"metadata": {key: item["metadata"][key] for key in ("uid", "finalizers") if key in item["metadata"]}}


def _essential(item: dict[str, Any]) -> dict[str, Any]:
    """Return of an object what is looked at without an expression."""
    metadata = {key: value for key, value in item["metadata"].items() if key in _METADATA}
    found: dict[str, Any] = {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata}
    if "type" in item:
        found["type"] = item["type"]
    if item["kind"] == "Pod" and "status" in item:
        found["status"] = {key: value for key, value in item["status"].items() if key in _STATUSES}
    if item["kind"] == "StatefulSet" and "spec" in item:
        found["spec"] = {key: value for key, value in item["spec"].items() if key == _RETENTION}
    return found


def crash_looping(pod: Mapping[str, Any]) -> bool:
    """Whether a container of a pod crashes again and again."""
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return any(
        ((each.get("state") or {}).get("waiting") or {}).get("reason") == "CrashLoopBackOff"
        and each.get("restartCount", 0) >= CRASHES
        for each in containers
    )
