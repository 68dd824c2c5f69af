"""What a watch shows of the objects of one kind: how ready each is.

`until_ready` opens the watches; waits on behalf of the same identity share them.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.objects import ObjectRef, version_of
from managedchart_operator.kube.shared_watch import View
from managedchart_operator.kube.watch import Change
from managedchart_operator.waiting.kstatus import JOB, NOT_FOUND, Readiness, State, job_result, readiness

# Its TTL deletes a Job only after it has finished, so somebody else has deleted this one.
_DELETED_EARLY = Readiness(State.NOT_FOUND, "Job was deleted before it finished")


class Seen(NamedTuple):
    """The readiness of an object in one resourceVersion."""

    version: int
    readiness: Readiness


class Watched(NamedTuple):
    """A collection, and whose permissions count; None for the operator's."""

    identity: Identity | None
    collection: ObjectRef


@dataclass(slots=True)
class CollectionView(View):
    """What a watch shows of a kind: the readiness of each object that has changed after resourceVersion `since`, by name."""

    kind: tuple[str, str] = field(kw_only=True)
    since: int = 0
    seen: dict[str, Seen] = field(default_factory=dict)
    listed: int = 0
    """The resourceVersion in which the collection was listed, or 0: an object that is not in `seen` did not exist then."""
    error: KubeError | None = None

    def take(self, change: Change) -> None:
        """Record a change, and wake those who wait for one."""
        if change.type == "Listed":
            self.seen = {item["metadata"]["name"]: self._seen(item) for item in change.object["items"]}
            self.listed = version_of(change.object)
        else:
            seen = self._deleted if change.type == "DELETED" else self._seen
            self.seen[change.object["metadata"]["name"]] = seen(change.object)
        self.notify()

    def _seen(self, body: dict[str, Any]) -> Seen:
        return Seen(version_of(body), readiness(body, self.kind))

    def _deleted(self, body: dict[str, Any]) -> Seen:
        """Return the readiness of a deleted object. A Job may have finished and been deleted before it was read."""
        unfinished = _DELETED_EARLY if self.kind == JOB else NOT_FOUND
        return Seen(version_of(body), job_result(body, self.kind) or unfinished)
