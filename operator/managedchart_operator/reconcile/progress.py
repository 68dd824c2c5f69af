"""Tracks a deployment: whether helm waits for a hook, or everything is applied and the operator waits for its objects."""

import asyncio
from dataclasses import dataclass, field

from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import ObjectRef


@dataclass(slots=True)
class Progress:
    """The operation reports to it, and the evidence waits for it."""

    applied: bool = False
    """Whether helm has ended, and the operator waits for the release's objects."""
    namespaces: list[str] = field(default_factory=list)
    """The namespaces of the objects that the operator waits for; known once `placed` is set."""
    placed: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once there is something to wait for."""
    unready: frozenset[ObjectRef] | None = None
    """The objects that did not become ready while the operator waited; None where helm waits."""
    _helm_waits: int = 0

    def helm_waits(self) -> None:
        """helm has begun to wait: once for each hook, then for the release's objects."""
        self._helm_waits += 1
        self.waiting.set()

    def all_is_applied(self) -> None:
        """helm has ended, and the operator begins to wait."""
        self.applied = True
        self.waiting.set()

    def wait_in(self, namespaces: list[str]) -> None:
        """The objects that the operator waits for are in these namespaces."""
        self.namespaces = namespaces
        self.placed.set()

    def gave_up_on(self, unready: frozenset[ObjectRef]) -> None:
        """The operator's wait is over, and these objects are not ready."""
        self.unready = unready

    def has_applied(self, revision: Revision | None, stored: StoredRelease | None) -> bool:
        """Whether helm is known to have applied the release's objects; before that it waits once for each hook.

        `revision` and `stored` are the newest revision that was read.
        """
        if self.applied:
            return True
        if revision is None or stored is None:
            return False
        operation = "install" if revision.number == 1 else "upgrade"
        return self._helm_waits > stored.hooks_at(f"pre-{operation}")
