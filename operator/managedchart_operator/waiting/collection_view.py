"""What a watch shows of the objects of one kind: how ready each is.

`until_ready` opens the watches; waits on behalf of the same identity share them.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.objects import ObjectRef, version_of
from managedchart_operator.kube.shared_watch import View
from managedchart_operator.kube.watch import Change
from managedchart_operator.shortening import cut_middle
from managedchart_operator.waiting.kstatus import JOB, NOT_FOUND, Readiness, State, job_result, readiness

# Its TTL deletes a Job only after it has finished, so somebody else has deleted this one.
_DELETED_EARLY = Readiness(State.NOT_FOUND, "Job was deleted before it finished")
_READINESS = "readiness"
_MESSAGE = 4096  # a controller may write any text


def bounded(found: Readiness) -> Readiness:
    """Return a readiness whose message is not too long to be kept."""
    return found if len(found.message) <= _MESSAGE else replace(found, message=cut_middle(found.message, _MESSAGE))


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

    def essential(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return what is needed of an object: its name, its version and its readiness."""
        meta = body["metadata"]
        kept = {name: meta[name] for name in ("name", "resourceVersion") if name in meta}
        return {"metadata": kept, _READINESS: bounded(readiness(body, self.kind))}

    def _seen(self, body: dict[str, Any]) -> Seen:
        known = body.get(_READINESS)
        if not isinstance(known, Readiness):  # no JSON has one
            known = bounded(readiness(body, self.kind))
        return Seen(version_of(body), known)

    def _deleted(self, body: dict[str, Any]) -> Seen:
        """Return the readiness of a deleted object. A Job may have finished and been deleted before it was read."""
        unfinished = _DELETED_EARLY if self.kind == JOB else NOT_FOUND
        return Seen(version_of(body), job_result(body, self.kind) or unfinished)
