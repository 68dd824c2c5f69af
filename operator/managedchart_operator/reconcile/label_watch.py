"""Notices that the labels of a namespace have changed, where a LifecycleProfile is attached by them.

Like `consent_watch`: the API server is asked in rounds, once for each namespace whose labels a pass has read, and nobody is
asked while no profile goes by them. A watch of all namespaces would need a cluster-wide permission.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence

from managedchart_operator.api.resource import Key
from managedchart_operator.errors import KubeError
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.lifecycle.profiles.subject import RecentLabels
from managedchart_operator.reconcile.last_run import failed_profile
from managedchart_operator.reconcile.rounds import Rounds
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.store import Store

logger = logging.getLogger(__name__)

# Hundreds of resources of one namespace may have checks that are new to them, and all of these run at once.
_SPREAD_SECONDS = 3.0


class LabelWatch:
    """Requests a pass over the ManagedCharts of a namespace whose labels attach or detach a profile; asks every `seconds`."""

    def __init__(
        self,
        store: Store,
        scheduler: Scheduler,
        profiles: Profiles,
        labels: RecentLabels,
        *,
        seconds: float,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._profiles = profiles
        self._labels = labels
        self._chance = chance
        self._requested: dict[Key, asyncio.TimerHandle] = {}
        self._rounds: Rounds[str] = Rounds("watch of namespace labels", self._wanted, self._ask, seconds)
        labels.when_read(self._read)

    async def close(self) -> None:
        """Ask no more, and request nothing."""
        for timer in self._requested.values():
            timer.cancel()
        self._requested.clear()
        await self._rounds.close()

    def _wanted(self, namespace: str) -> Sequence[str]:
        """Return the namespace as long as its labels must be known, and forget them otherwise."""
        if self._profiles.any_by_namespace_labels and self._store.has_namespace(namespace):
            return (namespace,)
        self._labels.forget(namespace)
        return ()

    async def _ask(self, namespace: str) -> None:
        try:
            await self._labels.look(namespace)
        except KubeError as error:
            logger.debug("cannot read the labels of namespace %s: %s", namespace, error.message)

    def _read(self, namespace: str, before: Mapping[str, str] | None, now: Mapping[str, str]) -> None:
        self._rounds.begin(namespace)
        if before is None or before == now or not self._profiles.tell_apart(before, now):
            return
        logger.info("the labels of namespace %s attach other LifecycleProfiles", namespace)
        loop = asyncio.get_running_loop()
        for key in self._store:
            if key.namespace == namespace and key not in self._requested:
                delay = self._chance(0.0, _SPREAD_SECONDS)
                self._requested[key] = loop.call_later(delay, self._request, key)

    def _request(self, key: Key) -> None:
        del self._requested[key]
        chart = self._store.get(key)
        if chart is not None and (not chart.deleting or failed_profile(chart) is not None):
            self._scheduler.request(key)
