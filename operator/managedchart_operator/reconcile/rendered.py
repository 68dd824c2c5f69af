"""Keeps what the newest revision of a release renders, as far as evidence and waiting need it.

These are outlines: the names of the objects, and the whole of the few kinds of which more is needed. They are kept when the
revision is deleted, so that an uninstall still knows what to wait for.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from managedchart_operator.api.object_selector import ObjectSelector
from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.apart import read_apart
from managedchart_operator.helm.manifest import ManifestError, outlined
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import Objects, reference
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.sources import Sources
from managedchart_operator.redaction import Redactor, secrets_in_manifest, secrets_in_values
from managedchart_operator.waiting.kstatus import KINDS_DECIDED_BY_SPEC, State, needs_waiting, readiness
from managedchart_operator.waiting.left_out import left_out

# Kinds of which more than the metadata is needed: to wait for them, or to redact their values.
_NEEDED_WHOLE = KINDS_DECIDED_BY_SPEC | {"Secret"}
_WORKLOADS = frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("batch", "Job")})


@dataclass(slots=True)
class RenderedObjects:
    """The objects of the newest revision that was read."""

    storage: ReleaseStorage
    sources: Sources
    revision: Revision | None = None
    """That revision; None until one was read."""
    stored: StoredRelease | None = None
    objects: list[dict[str, Any]] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    names: tuple[str, ...] = ()
    """Names besides those of the release and its objects that are never masked."""
    _redactor: tuple[tuple[object, ...], Redactor] | None = None
    """The last redactor, and what it was made from."""

    @property
    def exclude(self) -> Sequence[ObjectSelector]:
        """What the spec leaves out of the wait."""
        return self.sources.spec.wait_for.exclude

    @property
    def all(self) -> list[dict[str, Any]]:
        """The objects, hooks first."""
        return [*self.hooks, *self.objects]

    def redactor(self, further: Sequence[dict[str, Any]] = ()) -> Redactor:
        """Return the redactor of the secrets of the run, of the revision, and of further objects.

        It is kept until those change, since it takes time to make.
        """
        made_from = (self.sources.inputs, self.objects, self.hooks, further)
        if self._redactor is None or any(
            one is not other for one, other in zip(self._redactor[0], made_from, strict=True)
        ):
            inputs, objects = self.sources.inputs, [*self.all, *further]
            secrets = secrets_in_values(*(inputs.values.layers if inputs else ())) | secrets_in_manifest(objects)
            self._redactor = made_from, Redactor(secrets, own=self._own_names(objects))
        return self._redactor[1]

    async def read_redactor(self) -> Redactor:
        """Return the redactor with the secrets of the newest revision, as far as that can be read. Raises nothing."""
        with contextlib.suppress(KubeError, HelmError):
            await self.read()
        return await asyncio.to_thread(self.redactor)

    def _own_names(self, objects: Iterable[dict[str, Any]]) -> set[str]:
        """Return the names that messages need, and that everybody who reads them may know."""
        found = {self.storage.name, self.storage.namespace, *self.names}
        charts = (self.sources.chart and self.sources.chart.name, self.stored and self.stored.chart_name)
        found.update(str(chart) for chart in charts if chart)
        for item in objects:
            meta = item.get("metadata")
            if isinstance(meta, dict):
                found.update(str(meta[key]) for key in ("name", "namespace") if meta.get(key))
        return found

    async def read(self) -> None:
        """Read the newest revision's objects, unless they are known. Raises KubeError, HelmError."""
        newest = await self._newest()
        if newest and (self.revision is None or newest[0].number != self.revision.number):
            await self._take(*newest)

    async def remember(self, revision: Revision, stored: StoredRelease, left: Iterable[dict[str, Any]]) -> None:
        """Keep what a revision renders, if it can be read, before it is deleted, and what is `left` of earlier ones."""
        with contextlib.suppress(HelmError):
            await self._take(revision, stored)
        self.objects = [*self.objects, *left]

    async def waited_for(self, *, hooks: bool = False) -> list[dict[str, Any]]:
        """Return, but do not keep, the newest revision's objects that may not be ready at once. Raises KubeError, HelmError."""
        newest = await self._newest()
        if newest is None:
            return []
        revision, stored = newest
        manifests = [*(stored.hook_manifests if hooks else ()), stored.manifest]
        return list(filter(needs_waiting, await _outline(revision, manifests, KINDS_DECIDED_BY_SPEC)))

    async def _newest(self) -> tuple[Revision, StoredRelease] | None:
        await self.storage.observe()
        newest, stored = self.storage.newest, await self.storage.read_stored()
        return (newest, stored) if newest and stored else None

    async def _take(self, revision: Revision, stored: StoredRelease) -> None:
        hooks = await _outline(revision, stored.hook_manifests, _NEEDED_WHOLE)
        self.objects = await _outline(revision, [stored.manifest], _NEEDED_WHOLE)
        self.revision, self.stored, self.hooks = revision, stored, hooks
        await asyncio.to_thread(self.redactor)  # which is needed next, and takes some time to make


async def is_healthy(rendered: RenderedObjects, objects: Objects) -> bool:
    """Whether all workloads of the newest revision are ready, except those that the wait leaves out; False without a release.

    Raises KubeError, HelmError.
    """
    await rendered.read()
    namespace = rendered.storage.namespace
    ignored = await left_out(objects, rendered.objects, exclude=rendered.exclude, namespace=namespace)
    for ref in (reference(item, namespace) for item in rendered.objects):
        if ref.group_kind in _WORKLOADS and ref.name and ref not in ignored:
            found = await objects.get(replace(ref, api_version=f"{ref.group_kind[0]}/v1"))
            if found is None or readiness(found, ref.group_kind).state is not State.CURRENT:
                return False
    return bool(rendered.all)


async def _outline(revision: Revision, manifests: Iterable[str], whole: Iterable[str]) -> list[dict[str, Any]]:
    texts = tuple(manifests)
    try:
        return await read_apart(outlined, texts, frozenset(whole), size=sum(map(len, texts)), error=ManifestError)
    except ManifestError as error:
        raise HelmError(
            f"The manifest of revision {revision.number} cannot be read, so the operator cannot wait for its objects: {error}",
            reason=Reason.HELM_FAILED,
            transient=False,
            hint="Split the chart, or set spec.wait: false to deploy it without waiting.",
        ) from error
