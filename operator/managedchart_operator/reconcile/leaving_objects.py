"""Follows the objects of a release that is being uninstalled until the last of them is deleted."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reconcile.rendered import RenderedObjects
from managedchart_operator.waiting.deletion import Blocker, find_blockers, have_dependents, until_deleted


@dataclass(frozen=True, slots=True)
class LeavingObjects:
    """What the newest revision rendered, read before the release was uninstalled."""

    rendered: RenderedObjects
    objects: Objects

    async def have_dependents(self) -> bool:
        """Whether an uninstall has to wait for dependents of the release's objects. Raises nothing except when cancelled."""
        if self.rendered.revision is None:
            return True
        return await have_dependents(self.objects, self._namespace, self.rendered.all)

    async def wait_until_deleted(self, seconds: float) -> bool:
        """Wait until none of the objects is being deleted any more (`until_deleted`); False when the time is up.

        Raises KubeError.
        """
        return await until_deleted(self.objects, await self._located(), seconds)

    async def have_moved(self) -> bool:
        """Whether the apiVersion of an object is no longer served, but its kind is under another one. Never raises."""
        refs = await self.objects.locate_all(self.rendered.objects, self._namespace)
        rendered = {(item.get("apiVersion"), item["kind"]) for item in self.rendered.objects}
        return any((ref.api_version, ref.kind) not in rendered for ref in refs)

    async def blockers(self) -> list[Blocker]:
        """Return the objects whose deletion does not finish. Raises nothing except when cancelled."""
        if self.rendered.revision is None:
            with contextlib.suppress(KubeError, HelmError):
                await self.rendered.read()
        return await find_blockers(self.objects, await self._located())

    async def _located(self) -> Sequence[ObjectRef]:
        return await self.objects.locate_all(self.rendered.all, self._namespace)

    @property
    def _namespace(self) -> str:
        return self.rendered.storage.namespace
