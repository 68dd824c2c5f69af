"""Has the ManagedCharts looked at that a changed LifecycleProfile is for.

Such a pass runs no helm for a release that matches its spec, because profiles are no part of the digest: it shows the new list
of actions in the status, begins a run that an invalid or missing profile has blocked, and retries one that failed because of an
action of the profile.
"""

import asyncio

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.lifecycle.lifecycles import Lifecycles
from managedchart_operator.lifecycle.profiles.profile import Profile
from managedchart_operator.reconcile.last_run import failed_profile
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.store import Store


class ProfileChanges:
    """Requests the passes."""

    def __init__(self, store: Store, scheduler: Scheduler, lifecycles: Lifecycles) -> None:
        self._store = store
        self._scheduler = scheduler
        self._lifecycles = lifecycles

    async def changed(self, before: Profile | None, after: Profile | None) -> None:
        """Request a pass over each ManagedChart that the profile is for now, or was for before."""
        for key in self._store:
            chart = self._store.get(key)
            if chart is not None and await self._is_concerned(chart, before, after):
                self._scheduler.request(key)
            await asyncio.sleep(0)  # thousands of them may not hold up the event loop

    async def _is_concerned(self, chart: ManagedChart, before: Profile | None, after: Profile | None) -> bool:
        """Whether a pass would do anything; over one that is being deleted only if an action of the profile blocks that."""
        if chart.deleting:
            return failed_profile(chart) in {each.name for each in (before, after) if each is not None}
        return await self._lifecycles.concerns(chart, before, after)
