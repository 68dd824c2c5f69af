"""Notices that a permission was granted for which resources wait, so that none waits for its next check.

Kubernetes reports no such change, so the API server is asked: for each permission once for all resources of a namespace, and
without helm. Nothing is remembered that is not in the status of the resources. The pass that follows asks again.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from managedchart_operator.api.resource import Key
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.permissions import MissingPermission
from managedchart_operator.reconcile.rounds import Rounds

logger = logging.getLogger(__name__)


class Awaited(NamedTuple):
    """A permission that was missing, and the identity of the resource that waits for it; None for the operator itself."""

    missing: MissingPermission
    identity: Identity | None


class PermissionWatch:
    """Asks for the permissions that resources wait for, every `seconds`, as long as any waits."""

    def __init__(
        self, granted: Callable[[MissingPermission, Identity | None], Awaitable[bool]], *, seconds: float
    ) -> None:
        self._is_there = granted
        self._waiting: dict[Key, Awaited] = {}
        self._granted: Callable[[Key], None] = lambda _: None
        self._rounds: Rounds[Awaited] = Rounds(
            "watch of permissions",
            lambda namespace: [awaited for key, awaited in self._waiting.items() if key.namespace == namespace],
            self._ask,
            seconds,
        )

    def when_granted(self, call: Callable[[Key], None]) -> None:
        """Set what is called with each key whose permission was granted."""
        self._granted = call

    def wait_for(self, key: Key, awaited: Awaited | None) -> None:
        """Note which permission a resource waits for, None for none."""
        if awaited is None:
            self._waiting.pop(key, None)
            return
        self._waiting[key] = awaited
        self._rounds.begin(key.namespace)

    async def close(self) -> None:
        """Ask no more."""
        self._waiting.clear()
        await self._rounds.close()

    async def _ask(self, awaited: Awaited) -> None:
        if await self._is_granted(awaited):
            for key in [key for key, other in self._waiting.items() if other == awaited]:
                del self._waiting[key]
                self._granted(key)

    async def _is_granted(self, awaited: Awaited) -> bool:
        try:
            return await self._is_there(*awaited)
        except KubeError as error:
            logger.debug("cannot ask for a permission: %s", error.message)
            return False
