"""The Secret in which `backup` keeps objects and from which `restore` takes them.

It is in the release's namespace and labelled with the UID of the ManagedChart, which owns it if it is in the same namespace. An
upgrade that fails after it has deleted objects is repeated, with their backup before it; so what is saved and no longer exists
stays saved until it is restored.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from managedchart_operator.api.resource import API_VERSION, GROUP, KIND
from managedchart_operator.errors import UNREADABLE, LifecycleError, WorkerError
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.kube.applying import apply
from managedchart_operator.kube.objects import ObjectRef, reference
from managedchart_operator.kube.single_writes import create
from managedchart_operator.lifecycle.actions.scene import FIELD_MANAGER, Scene
from managedchart_operator.lifecycle.actions.targets import containers
from managedchart_operator.lifecycle.actions.writing import refusals
from managedchart_operator.worker import run_in_worker

STAMP = f"{GROUP}/backup-of"
"""The annotation that says for which run the objects were saved."""
MAX_BYTES = 768 * 1024
"""Of the compressed objects: base64 makes a third more of it, and a Secret may have 1 MiB."""
MAX_OBJECTS = 200
MAX_UNPACKED = 32 * 1024 * 1024
"""How many bytes of JSON the objects of one backup may have."""
MAX_CONTAINERS = 200_000
"""How many lists and mappings: a thousand for each of 200 objects; a MiB of empty ones takes thirty in memory."""
SAVED_FOR_TENANT = "the tenant can change what is saved before it is restored"
_KEY = "objects.json.gz"
_SECONDS = 10.0
# The API server sets them; an object is created without them.
_SET_BY_SERVER = (
    "uid", "resourceVersion", "managedFields", "creationTimestamp", "generation", "ownerReferences", "selfLink",
    "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Saved:
    """An object as it is saved: as text, since what it stands for may take forty times the memory."""

    ref: ObjectRef
    """As its manifest says; the namespace is empty for a cluster-wide object."""
    text: str
    containers: int

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Return an object in this form."""
        return cls(reference(item, ""), json.dumps(item, separators=(",", ":")), containers(item))


@dataclass(frozen=True, slots=True)
class Backup:
    """Saved objects, and for which run they were saved."""

    objects: Sequence[Saved]
    stamp: str
    uid: str = ""
    """UID of the Secret that has them; "" if none has them yet."""

    def with_now(self, objects: Sequence[Saved], stamp: str) -> "Backup":
        """Return what to save for a new run: the objects as they are now, and those that no longer exist as they were."""
        present = {each.ref for each in objects}
        return Backup([*objects, *(each for each in self.objects if each.ref not in present)], stamp, self.uid)


class Present:
    """Takes objects as they are read, each once, as they would be saved; of more than can be saved only the number."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._saved: list[Saved] = []
        self._bytes = self._containers = 0

    def take(self, item: dict[str, Any]) -> None:
        """Take an object, unless it is being deleted or a controller makes it again. Raises LifecycleError for too much."""
        uid = item["metadata"]["uid"]
        if uid in self._seen or item["metadata"].get("deletionTimestamp") or _is_controlled(item):
            return
        self._seen.add(uid)
        if len(self._seen) > MAX_OBJECTS:
            return
        self._saved.append(saved := Saved.of(_stripped(item)))
        self._bytes += len(saved.text)
        self._containers += saved.containers
        if self._bytes > MAX_UNPACKED or self._containers > MAX_CONTAINERS:
            raise _too_large("Write a narrower selector.")

    def objects(self, ref: ObjectRef) -> Sequence[Saved]:
        """Return them. Raises LifecycleError if they are too many for the Secret."""
        if len(self._seen) > MAX_OBJECTS:
            raise _too_many(len(self._seen), ref)
        return self._saved


def secret_of(name: str, namespace: str) -> ObjectRef:
    """Return the Secret of the backup action of this name."""
    return ObjectRef("v1", "Secret", f"managedchart-backup-{name}", namespace)


def _stripped(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as it can be applied again."""
    metadata = {key: value for key, value in found["metadata"].items() if key not in _SET_BY_SERVER}
    return {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}


def _is_controlled(found: Mapping[str, Any]) -> bool:
    """Whether a controller made an object, and would make another one."""
    return any(owner.get("controller") for owner in found["metadata"].get("ownerReferences") or ())


async def load(scene: Scene, ref: ObjectRef) -> Backup | None:
    """Return what a Secret has saved; None if it does not exist. Raises LifecycleError, KubeError."""
    secret = await scene.cluster.get(ref)
    if secret is None:
        return None
    metadata = secret["metadata"]
    if (metadata.get("labels") or {}).get(OWNER_LABEL) != scene.context.chart.uid:
        raise LifecycleError(
            f"{ref} is not a backup of this ManagedChart",
            hint=f"Give the backup action another name, or see what the Secret has: kubectl -n {ref.namespace} get secret"
            f" {ref.name} -o yaml",
        )
    try:
        # Whoever may write the Secret would otherwise fill the operator's own memory by some KiB.
        objects = await run_in_worker(unpacked, secret["data"][_KEY], seconds=_SECONDS)
    except (*UNREADABLE, WorkerError) as error:
        raise LifecycleError(f"{ref} cannot be read as a backup", transient=False) from error
    return Backup(objects, (metadata.get("annotations") or {}).get(STAMP, ""), metadata["uid"])


async def save(scene: Scene, ref: ObjectRef, packed: bytes, *, uid: str) -> None:
    """Create the Secret for the present run, or change the one that was read (`uid`). Raises LifecycleError, KubeError."""
    chart = scene.context.chart
    metadata: dict[str, Any] = {"labels": {OWNER_LABEL: chart.uid}, "annotations": {STAMP: scene.stamp}}
    if chart.key.namespace == ref.namespace:  # an owner is in the namespace of what it owns
        owner = {"apiVersion": API_VERSION, "kind": KIND, "name": chart.key.name, "uid": chart.uid}
        metadata["ownerReferences"] = [owner]
    body = {"metadata": metadata, "type": "Opaque", "data": {_KEY: base64.b64encode(packed).decode()}}
    with refusals(scene, ref, {**body, "kind": ref.kind}):
        if uid:
            metadata["uid"] = uid  # another Secret of the name is refused (409)
            await apply(scene.cluster, ref, body, manager=FIELD_MANAGER, force=True)
        elif await create(scene.cluster, ref, body, manager=FIELD_MANAGER) is None:
            raise LifecycleError(f"{ref} was created by somebody else in the meantime")


def unpacked(data: str) -> list[Saved]:
    """Return the objects that a Secret has, in a worker process. Raises ValueError, and what parsers raise."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        # JSON compresses to a tenth; anybody who may write the Secret could write a few KiB that fill the memory.
        text = unpacker.decompress(base64.b64decode(data), MAX_UNPACKED)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if unpacker.unconsumed_tail:
        raise ValueError("it is too large")
    objects: list[dict[str, Any]] = json.loads(text)
    if len(objects) > MAX_OBJECTS or containers(objects) > MAX_CONTAINERS:
        raise ValueError("it has too much")
    if not all(isinstance(each["metadata"]["name"], str) and each["kind"] and each["apiVersion"] for each in objects):
        raise ValueError("it has something that is not an object")
    return [Saved.of(each) for each in objects]


def packed_objects(objects: Sequence[Saved], ref: ObjectRef) -> bytes:
    """Return objects compressed, to be called in a thread. Raises LifecycleError if they are too much for one Secret."""
    if len(objects) > MAX_OBJECTS:
        raise _too_many(len(objects), ref)
    # What could not be read again must not count as saved.
    if (
        sum(len(each.text) for each in objects) + len(objects) > MAX_UNPACKED
        or sum(each.containers for each in objects) >= MAX_CONTAINERS
    ):
        raise _too_large(_fewer(ref))
    packing = zlib.compressobj(wbits=31)
    parts = []
    for number, each in enumerate(objects):
        parts.append(packing.compress(f"{',' if number else '['}{each.text}".encode()))
    parts += [packing.compress(b"]" if objects else b"[]"), packing.flush()]
    packed = b"".join(parts)
    if len(packed) > MAX_BYTES:
        raise LifecycleError(
            f"The objects to save have {len(packed) >> 10} KiB compressed, more than {MAX_BYTES >> 10} KiB",
            transient=False,
            hint=_fewer(ref),
        )
    return packed


def _too_many(count: int, ref: ObjectRef) -> LifecycleError:
    return LifecycleError(
        f"There are {count} objects to save, more than {MAX_OBJECTS}", transient=False, hint=_fewer(ref)
    )


def _too_large(hint: str) -> LifecycleError:
    return LifecycleError(
        f"The objects to save have more than {MAX_UNPACKED >> 20} MiB, or more than {MAX_CONTAINERS} lists and mappings",
        transient=False,
        hint=hint,
    )


def _fewer(ref: ObjectRef) -> str:
    return (
        f"Save fewer objects, or delete the Secret if what it has is no longer needed: kubectl -n {ref.namespace} delete secret"
        f" {ref.name}"
    )
