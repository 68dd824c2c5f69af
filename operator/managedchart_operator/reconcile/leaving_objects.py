"""The objects of a release that is being uninstalled, until the last of them is deleted."""

import asyncio
import contextlib
from dataclasses import dataclass

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.kube.objects import Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.rendered import RenderedObjects
from managedchart_operator.waiting.blockers import Blocker, find_blockers, references, still_there
from managedchart_operator.waiting.dependents import have_dependents

# Objects without finalizers go within milliseconds of their last pod.
LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class LeavingObjects:
    """What the newest revision rendered, as it was read before the release was uninstalled."""

    rendered: RenderedObjects
    objects: Objects

    async def have_dependents(self) -> bool:
        """Whether a removal has to wait for what depends on the release's objects. Raises nothing except when cancelled."""
        if self.rendered.revision is None:
            return True
        return await have_dependents(self.objects, self._namespace, self.rendered.all)

    async def wait_until_deleted(self, seconds: float) -> bool:
        """Look until none of the objects is being deleted any more; False when the time is over.

        Raises KubeError for what cannot be told, but not for an API server that does not answer for a while.
        """
        left = await references(self.objects, self._namespace, self.rendered.all)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # They are of any kinds: a watch on each would cost more than a few looks.
                while left:
                    try:
                        left = await still_there(self.objects, left)
                    except KubeError as error:
                        if error.reason is not Reason.API_UNAVAILABLE:
                            raise
                    if left:
                        await asyncio.sleep(LOOK_SECONDS)
        return not left

    async def have_moved(self) -> bool:
        """Whether objects are of an apiVersion that is no longer served, and served under another one. Never raises."""
        refs = await references(self.objects, self._namespace, self.rendered.objects)
        rendered = {(item.get("apiVersion"), item["kind"]) for item in self.rendered.objects}
        return any((ref.api_version, ref.kind) not in rendered for ref in refs)

    async def blockers(self) -> list[Blocker]:
        """Return the objects whose deletion does not come to an end. Raises nothing except when cancelled."""
        if self.rendered.revision is None:
            with contextlib.suppress(KubeError, HelmError):
                await self.rendered.read()
        refs = await references(self.objects, self._namespace, self.rendered.all)
        return await find_blockers(self.objects, refs)

    @property
    def _namespace(self) -> str:
        return self.rendered.storage.namespace
