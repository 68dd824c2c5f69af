"""`backup`: objects are saved in a Secret, from which `restore` creates them again."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.lifecycle.actions import places
from managedchart_operator.lifecycle.actions.backups import (
    SAVED_FOR_TENANT,
    Backup,
    Present,
    Saved,
    load,
    packed_objects,
    save,
    secret_of,
)
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import Keep, ObjectsRef, find
from managedchart_operator.lifecycle.actions.verb import Done, TenantData, Verb

ALL_NAMESPACES = "*"
EVERYWHERE_BY_SELECTOR = 'namespace "*" goes with selector'


class SavedObjects(ObjectsRef):
    """Objects to save: one by its name, or several by a selector."""

    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace of the objects; default the release's; "*" with a selector for all. Not for cluster-wide kinds."""

    @model_validator(mode="after")
    def _everywhere_by_selector(self) -> Self:
        if self.namespace == ALL_NAMESPACES and self.name is not None:
            raise ValueError(EVERYWHERE_BY_SELECTOR)
        return self

    async def find(self, objects: Objects, namespace: str, *, keep: Keep) -> list[dict[str, Any]]:
        """Return the objects that exist now, of each what is to be kept; `namespace` is the default. Raises KubeError."""
        if self.namespace != ALL_NAMESPACES or self.selector is None:
            return await super().find(objects, namespace, keep=keep)
        return await find(objects, self, name=None, labels=self.selector.text(), namespace="", keep=keep)


class SaveObjects(Verb):
    """Saves objects in a Secret in the namespace of the release, from which restore creates them again."""

    verb: ClassVar[str] = "backup"
    needs: ClassVar[tuple[str, ...]] = ("get", "list")

    objects: list[SavedObjects] = Field(min_length=1, max_length=16)
    """Which objects; those that a controller makes again are left out."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the kinds."""
        for number, each in enumerate(self.objects):
            if problem := each.kind_problem():
                yield f"objects[{number}].kind: {problem}"

    def tenant_data(self) -> TenantData:
        """Return what it leaves to the tenant: the Secret is in the namespace of the release."""
        return TenantData(SAVED_FOR_TENANT)

    async def run(self, scene: Scene) -> Done:
        """Save the objects as they are now, once for one change. Raises LifecycleError, KubeError."""
        ref = secret_of(scene.kept_as(scene.action), scene.namespace)
        packed, count, uid = await self._packed(scene, ref)
        if packed is None:
            return Done(f"{count} objects were saved in {ref} for this change already")
        await save(scene, ref, packed, uid=uid)
        return Done(f"Saved {count} objects in {ref}")

    async def preview(self, scene: Scene) -> Done:
        """Say how many objects it would save."""
        ref = secret_of(scene.kept_as(scene.action), scene.namespace)
        async with places.for_backup(scene):
            now = await self._present(scene, ref)
            await asyncio.to_thread(packed_objects, now, ref)
            return Done(f"Would save {len(now)} objects in {ref}")

    async def _packed(self, scene: Scene, ref: ObjectRef) -> tuple[bytes | None, int, str]:
        """Return what to save (None if that was done for this change), how many objects, and the UID of the Secret."""
        async with places.for_backup(scene):
            earlier = await load(scene, ref)
            if earlier is not None and earlier.stamp == scene.stamp:
                return None, len(earlier.objects), earlier.uid
            now = await self._present(scene, ref)
            backup = earlier.with_now(now, scene.stamp) if earlier else Backup(now, scene.stamp)
            return await asyncio.to_thread(packed_objects, backup.objects, ref), len(backup.objects), backup.uid

    async def _present(self, scene: Scene, ref: ObjectRef) -> Sequence[Saved]:
        """Return the objects that exist and are not being deleted, each once."""
        present = Present()
        for each in self.objects:
            await each.find(scene.cluster, scene.namespace, keep=present.take)
        return present.objects(ref)
