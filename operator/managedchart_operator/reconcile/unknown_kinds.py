"""Removes objects of kinds that the cluster no longer serves from stored revisions, so that they do not block helm.

An object of a kind that is not served cannot exist, or nobody can reach it, so it is removed from the stored revision. If only
its apiVersion is no longer served, the object still exists under another one, which is stored instead. A kill between the
rewrite and the next helm process is harmless, since that process finds what it needs. Only revisions of this resource are
rewritten, and only if the API server says for each kind whether it serves it, which an APIService that is down does not.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.manifest_edits import Drop, Edit, Move, Rendered, rendered_in
from managedchart_operator.helm.storage import Revision
from managedchart_operator.kube.objects import Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.shortening import listed

logger = logging.getLogger(__name__)

# Only this can be a path of the API; helm reports any other apiVersion with a different error.
_API_VERSION = re.compile(r"(?:[a-z0-9][a-z0-9.-]*/)?[a-z0-9]+")


@dataclass(slots=True)
class UnknownKinds:
    """Finds kinds in stored revisions that the cluster does not serve; for one failure, since each kind is looked up once."""

    objects: Objects
    storage: ReleaseStorage
    hooks: bool
    """Whether the hooks of stored revisions count; an upgrade runs only those of the new chart."""
    _served: dict[tuple[str, str], str | None] = field(default_factory=dict)

    async def remove_from(self, revisions: Iterable[Revision], *, error: HelmError) -> list[str]:
        """Rewrite the revisions so that helm can build them; returns a sentence about each change. Raises KubeError, HelmError.

        helm's `error` is raised again, with the reason, if others made one, or the API server does not say what it serves.
        """
        found: list[tuple[Revision, list[Rendered]]] = []
        for revision in {each.number: each for each in revisions}.values():
            unknown = await self._unknown(revision, error)
            if unknown and revision.owner != self.storage.ownership.uid:
                raise self._made_by_others(revision, unknown, error)
            if unknown:
                found.append((revision, unknown))
        sentences = []
        for revision, unknown in found:
            if await self.storage.rewrite_manifest(revision, self._edit, hooks=self.hooks):
                sentences += self._describe(revision.number, unknown)
        for sentence in sentences:
            logger.warning("%s/%s: %s", self.storage.namespace, self.storage.name, sentence)
        return sentences

    async def _unknown(self, revision: Revision, error: HelmError) -> list[Rendered]:
        """Return the objects and hooks of a revision that the cluster does not serve as they are stored."""
        try:
            stored = await self.storage.read(revision)
        except HelmError as unreadable:
            raise _explained(error, f"{error.message}; {unreadable.message}", hint=error.hint) from unreadable
        if stored is None:
            return []
        manifests = stored.manifests if self.hooks else [stored.manifest]
        rendered = [each for text in manifests for each in await asyncio.to_thread(rendered_in, text)]
        try:
            for kind in {(each.api_version, each.kind) for each in rendered} - self._served.keys():
                if _API_VERSION.fullmatch(kind[0]):
                    self._served[kind] = await self.objects.served_version(*kind)
        except KubeError as doubt:
            message = f"{error.message}; the API server did not say whether it serves this kind: {doubt.message}"
            raise _explained(error, message, hint=error.hint) from doubt
        return [each for each in rendered if self._edit(each) is not None]

    def _edit(self, rendered: Rendered) -> Edit | None:
        kind = (rendered.api_version, rendered.kind)
        if self._served.get(kind, rendered.api_version) == rendered.api_version:
            return None
        served = self._served[kind]
        return Drop() if served is None else Move(served)

    def _describe(self, number: int, unknown: list[Rendered]) -> list[str]:
        sentences, why = [], "because the cluster no longer serves"
        for version, kind in dict.fromkeys((each.api_version, each.kind) for each in unknown):
            names = listed(str(each) for each in unknown if (each.api_version, each.kind) == (version, kind))
            served = self._served[version, kind]
            if served is None:
                sentences.append(f"{names} of {version} was removed from the stored revision {number}, {why} the kind")
            else:
                sentences.append(f"{names} of the stored revision {number} is now stored as {served}, {why} {version}")
        return sentences

    def _made_by_others(self, revision: Revision, unknown: list[Rendered], error: HelmError) -> HelmError:
        return _explained(
            error,
            f"Revision {revision.number}, which this resource did not make, has {listed(map(str, unknown))} of"
            f" {unknown[0].api_version}, a kind that the cluster no longer knows, so Helm cannot continue from it",
            hint="Install the CRD again, or remove the object from the stored revision with the Helm plug-in mapkubeapis: "
            f"helm mapkubeapis {self.storage.name} --namespace {self.storage.namespace}",
        )


def _explained(error: HelmError, message: str, *, hint: str | None) -> HelmError:
    return HelmError(
        message, reason=Reason.KIND_MISSING, transient=True, text=error.text, exit_code=error.exit_code, hint=hint
    )
