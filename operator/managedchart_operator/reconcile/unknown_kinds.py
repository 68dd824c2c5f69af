"""Stored objects of kinds that the cluster no longer serves, so that they do not block what is to be done with a release.

helm builds all objects of a stored revision before it does anything. An object of a kind that is not served cannot exist, or
nobody can reach it, so it is taken out of the stored revision. Where only its apiVersion is no longer served, the object is
still there under another one, and the stored revision gets that one. All this happens only after helm has failed. A kill
between the rewriting and the next helm is harmless: that one finds what it needs.

Only revisions of this resource are rewritten. And nothing is rewritten unless the API server says for each kind whether it
serves it: the API of an APIService that is down is not unknown.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_manifest import Drop, Edit, Move, Rendered, rendered_in
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.shortening import listed

logger = logging.getLogger(__name__)

# What is asked for is a path of the API; helm has other words for an apiVersion that is none.
_API_VERSION = re.compile(r"(?:[a-z0-9][a-z0-9.-]*/)?[a-z0-9]+")


@dataclass(slots=True)
class UnknownKinds:
    """Looks for kinds that the cluster does not serve in stored revisions. For one failure: each kind is asked for once."""

    objects: Objects
    storage: ReleaseStorage
    hooks: bool
    """Whether the hooks of stored revisions count: an upgrade runs those of the new chart only."""
    _served: dict[tuple[str, str], str | None] = field(default_factory=dict)

    async def remove_from(self, revisions: Iterable[Revision], *, error: HelmError) -> list[str]:
        """Rewrite the revisions so that helm can build them; returns sentences on what was changed, none where nothing was.

        `error` is what helm failed with. It is raised again with what else is known: that a revision was made by others and is
        not rewritten, or that the API server does not say what it serves. Raises KubeError, HelmError.
        """
        wanted = {revision.number: revision for revision in revisions}
        found: dict[int, list[Rendered]] = {}
        for revision in wanted.values():
            stored = await self._read(revision, error)
            unknown = await self._unknown(stored, error) if stored else []
            if unknown and revision.owner != self.storage.ownership.uid:
                raise self._made_by_others(revision, unknown, error)
            if unknown:
                found[revision.number] = unknown
        told = []
        for number, unknown in found.items():
            if await self.storage.rewrite_manifest(wanted[number], self._edit, hooks=self.hooks):
                told += self._tell(number, unknown)
        for sentence in told:
            logger.warning("%s/%s: %s", self.storage.namespace, self.storage.name, sentence)
        return told

    async def _read(self, revision: Revision, error: HelmError) -> StoredRelease | None:
        try:
            return await self.storage.read(revision)
        except HelmError as unreadable:
            raise _again(error, unreadable.message) from unreadable

    async def _unknown(self, stored: StoredRelease, error: HelmError) -> list[Rendered]:
        """Return the objects and hooks of a revision that the cluster does not serve as they are stored."""
        manifests = [stored.manifest, *(stored.hook_manifests if self.hooks else ())]
        rendered = [each for text in manifests for each in await asyncio.to_thread(rendered_in, text)]
        try:
            for kind in {(each.api_version, each.kind) for each in rendered} - self._served.keys():
                if _API_VERSION.fullmatch(kind[0]):
                    self._served[kind] = await self.objects.served_version(*kind)
        except KubeError as doubt:
            raise _again(error, f"the API server did not say whether it serves this kind: {doubt.message}") from doubt
        return [each for each in rendered if self._edit(each) is not None]

    def _edit(self, rendered: Rendered) -> Edit | None:
        kind = (rendered.api_version, rendered.kind)
        if self._served.get(kind, rendered.api_version) == rendered.api_version:
            return None
        served = self._served[kind]
        return Drop() if served is None else Move(served)

    def _tell(self, number: int, unknown: list[Rendered]) -> list[str]:
        sentences = []
        for kind in dict.fromkeys((each.api_version, each.kind) for each in unknown):
            names = listed(str(each) for each in unknown if (each.api_version, each.kind) == kind)
            served = self._served[kind]
            if served is None:
                sentences.append(
                    f"{names} of {kind[0]} was removed from the stored revision {number}, since the cluster no longer knows"
                    " the kind and no object of it can exist"
                )
            else:
                sentences.append(
                    f"{names} of the stored revision {number} is now stored as {served}, since the cluster no longer serves"
                    f" {kind[0]}"
                )
        return sentences

    def _made_by_others(self, revision: Revision, unknown: list[Rendered], error: HelmError) -> HelmError:
        first = unknown[0]
        return HelmError(
            f"Revision {revision.number}, which this resource did not make, has {listed(map(str, unknown))} of"
            f" {first.api_version}, a kind that the cluster no longer knows; Helm cannot go on from it",
            reason=Reason.KIND_MISSING,
            transient=True,
            text=error.text,
            exit_code=error.exit_code,
            hint="Install the CRD again, or take the object out of the stored revision with the Helm plug-in mapkubeapis: "
            f"helm mapkubeapis {self.storage.name} --namespace {self.storage.namespace}.",
        )


def _again(error: HelmError, what: str) -> HelmError:
    return HelmError(
        f"{error.message}; {what}",
        reason=error.reason,
        transient=True,
        text=error.text,
        exit_code=error.exit_code,
        hint=error.hint,
    )
