"""`adopt`: existing objects become the release's own, so that helm takes them over instead of refusing to change them.

The objects get Helm's ownership metadata. What another release owns is refused, and all objects are looked at before the first
is marked. A failed first install does not delete them: the field manager of the marks shows that they were there before.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import KubeError, LifecycleError
from managedchart_operator.helm.ownership import is_marked, marks, other_release
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import NamedObject
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.lifecycle.actions.writing import missing, named, refusals, writer
from managedchart_operator.reasons import Reason

# A controller may write the object between the look and the mark; that often in a row is a defect of it.
_TRIES = 5
_CONFLICT = 409


class IfMissing(StrEnum):
    """What follows where an object does not exist."""

    IGNORE = "Ignore"
    FAIL = "Fail"


class Adopt(Verb):
    """Gives existing objects Helm's ownership metadata, so that the release takes them over."""

    verb: ClassVar[str] = "adopt"
    phases: ClassVar[tuple[Phase, ...]] = (Phase.PRE_EXEC,)
    needs: ClassVar[tuple[str, ...]] = ("get", "patch")

    objects: list[NamedObject] = Field(min_length=1, max_length=32)
    """The objects, which the chart renders too."""
    if_missing: IfMissing = IfMissing.IGNORE
    """Ignore leaves the object to the chart, which creates it; Fail ends the action."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kinds."""
        for number, each in enumerate(self.objects):
            if problem := each.kind_problem():
                yield f"objects[{number}].kind: {problem}"

    async def run(self, scene: Scene) -> Done:
        """Mark the objects. Raises LifecycleError (OBJECT_OWNED for one of another release), KubeError."""
        found = await self._unmarked(scene)
        for ref in found:
            await _mark(scene, ref)
        return _done("Adopted", found)

    async def preview(self, scene: Scene) -> Done:
        """Say which objects it would mark."""
        return _done("Would adopt", await self._unmarked(scene))

    async def _unmarked(self, scene: Scene) -> list[ObjectRef]:
        """Return the objects that exist and lack the marks."""
        found = []
        for each in self.objects:
            ref = await each.ref(scene.cluster, scene.namespace)
            with refusals(scene, ref):
                there = await scene.cluster.get(ref)
            if there is None and self.if_missing is IfMissing.FAIL:
                raise missing(ref)
            if there is not None and _to_mark(scene, ref, there):
                found.append(ref)
        return found


def _to_mark(scene: Scene, ref: ObjectRef, found: Mapping[str, Any]) -> bool:
    """Whether an object lacks the marks. Raises LifecycleError if it belongs to another release or is being deleted."""
    release, meta = scene.context.release, found["metadata"]
    if other := other_release(meta, name=release.name, namespace=release.namespace):
        raise LifecycleError(
            f"{ref} belongs to the release {other}",
            reason=Reason.OBJECT_OWNED,
            transient=False,
            hint="Uninstall that release, or leave the object out of the action and the chart.",
        )
    if meta.get("deletionTimestamp"):
        raise LifecycleError(f"{ref} is being deleted", reason=Reason.OBJECT_OWNED)
    return not is_marked(meta, name=release.name, namespace=release.namespace)


async def _mark(scene: Scene, ref: ObjectRef) -> None:
    """Mark an object as it was looked at: if it has changed since, it is looked at again. Raises LifecycleError, KubeError."""
    release = scene.context.release
    wanted = marks(name=release.name, namespace=release.namespace)
    for left in reversed(range(_TRIES)):
        found = await scene.cluster.get(ref)
        if found is None or not _to_mark(scene, ref, found):
            return
        version = found["metadata"].get("resourceVersion")
        try:
            with refusals(scene, ref):
                await writer(scene).merge(ref, {"metadata": {**wanted, "resourceVersion": version}})
        except LifecycleError as error:
            cause = error.__cause__
            if not left or not isinstance(cause, KubeError) or cause.status != _CONFLICT:
                raise
        else:
            return


def _done(did: str, refs: list[ObjectRef]) -> Done:
    if not refs:
        return Done("There is nothing to adopt")
    return Done(f"{did} {named(refs)}", {"objects": [str(ref) for ref in refs]})
