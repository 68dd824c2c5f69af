"""`restore`: objects that `backup` saved are created again."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from managedchart_operator.errors import LifecycleError, OperatorError
from managedchart_operator.kube.applying import apply
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.single_writes import delete_exactly
from managedchart_operator.lifecycle.actions import places
from managedchart_operator.lifecycle.actions.api_errors import summary
from managedchart_operator.lifecycle.actions.backups import SAVED_FOR_TENANT, Saved, load, secret_of
from managedchart_operator.lifecycle.actions.scene import FIELD_MANAGER, Scene
from managedchart_operator.lifecycle.actions.verb import Done, TenantData, Verb
from managedchart_operator.lifecycle.actions.writing import refusals
from managedchart_operator.reasons import Reason

# After an upgrade a webhook's pods need seconds to answer, and neither that nor discovery can be watched.
_POLL_SECONDS = 1.0
PART_BYTES = 1024 * 1024
"""How many bytes of JSON are held while objects are restored, unless one has more."""
_PASSES = (Reason.WEBHOOK_UNAVAILABLE, Reason.KIND_MISSING, Reason.API_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of the objects of a backup, to be restored next."""

    objects: Sequence[Saved]
    total: int
    uid: str


async def _read(scene: Scene, secret: ObjectRef, begin: int) -> _Part | None:
    """Return the next objects of a backup, from number `begin` on; None if it does not exist. Raises LifecycleError, KubeError.

    To restore one may take until a webhook answers, so only these few are held meanwhile, and without a place.
    """
    async with places.for_backup(scene):
        backup = await load(scene, secret)
        if backup is None:
            return None
        end, size = begin, 0
        while end < len(backup.objects) and (end == begin or size + len(backup.objects[end].text) <= PART_BYTES):
            size += len(backup.objects[end].text)
            end += 1
        return _Part(backup.objects[begin:end], len(backup.objects), backup.uid)


class RestoreObjects(Verb):
    """Creates objects again that a backup action has saved."""

    verb: ClassVar[str] = "restore"
    needs: ClassVar[tuple[str, ...]] = ("get", "create", "patch")

    from_: str = Field(alias="from", min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    """Name of the backup action, which must be in the same list."""
    missing_only: bool = Field(default=True, strict=True)
    """true restores only what does not exist; false also what has changed since."""
    delete_after: bool = Field(default=True, strict=True)
    """Whether the Secret is deleted once all objects are restored."""

    def tenant_data(self) -> TenantData:
        """Return what it takes from the tenant: the Secret is in the namespace of the release."""
        return TenantData(SAVED_FOR_TENANT)

    def depends_on(self) -> tuple[str, str, str]:
        """Return the backup action; without it nothing would be restored, and the run would succeed."""
        return "from", "backup", self.from_

    async def run(self, scene: Scene) -> Done:
        """Apply the objects, and delete the Secret. Raises LifecycleError, KubeError."""
        secret = secret_of(scene.kept_as(self.from_), scene.namespace)
        part = await _read(scene, secret, 0)
        if part is None:
            return Done(f"Nothing is saved in {secret}")
        uid, total = part.uid, part.total
        restored = done = 0
        while True:
            for each in part.objects:
                scene.progress = f"{each.ref.kind} {each.ref.name} is not restored yet"
                restored += await self._restore(scene, json.loads(each.text))
            done += len(part.objects)
            if done >= total:
                break
            part = await _read(scene, secret, done)
            if part is None or (part.uid, part.total) != (uid, total):
                raise LifecycleError(f"{secret} was changed while its objects were restored")
        if self.delete_after:
            await delete_exactly(scene.cluster, secret, uid=uid)
        return Done(f"Restored {restored} of {total} objects from {secret}")

    async def preview(self, scene: Scene) -> Done:
        """Say how many objects are saved; what an upgrade will delete of them is not known before it."""
        secret = secret_of(scene.kept_as(self.from_), scene.namespace)
        part = await _read(scene, secret, 0)
        return Done(f"Would restore what is missing of {part.total if part else 0} objects in {secret}")

    async def _restore(self, scene: Scene, item: dict[str, Any]) -> bool:
        """Restore one object as soon as the API server accepts it; returns whether that was necessary.

        Raises LifecycleError, KubeError.
        """
        while True:
            try:
                ref = await scene.cluster.locate(item, scene.namespace)
                found = await scene.cluster.get(ref)
                if found is None or (not self.missing_only and not found["metadata"].get("deletionTimestamp")):
                    with refusals(scene, ref, item):
                        await apply(scene.cluster, ref, _body(item), manager=FIELD_MANAGER, force=True)
                    return True
                if not found["metadata"].get("deletionTimestamp"):
                    return False
                scene.progress = f"{ref} is being deleted"
            except OperatorError as error:
                if error.reason not in _PASSES:
                    raise
                scene.progress = f"{item['kind']} {item['metadata']['name']} cannot be restored yet: {summary(error)}"
            await asyncio.sleep(_POLL_SECONDS)


def _body(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object as it is applied, for which the reference names the rest."""
    return {key: value for key, value in item.items() if key not in ("apiVersion", "kind")}
