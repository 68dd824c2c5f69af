"""Applies the CRDs in a chart's crds/ folders before an install or upgrade, as `spec.crds` says.

helm does so on an install only, and never again, so it is always called with `--skip-crds`. With Create, CRDs that the cluster
lacks are created, and the others stay as they are, whoever made them. With CreateReplace the others get the spec of the
chart's, unless another release owns them. None is ever deleted. What would be refused is found for all before the first one is
written. Objects of other kinds in a crds/ folder are created if they do not exist, as helm does on an install.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

from managedchart_operator.api.spec import CrdPolicy
from managedchart_operator.errors import KubeError
from managedchart_operator.helm.ownership import other_release
from managedchart_operator.kube.cluster_crds import API_VERSION, KIND, ClusterCrds, kinds_of
from managedchart_operator.kube.coming_kinds import ComingKinds
from managedchart_operator.kube.crd_changes import (
    dropped_versions,
    group_kind,
    is_current,
    lost_fields,
    replacement,
    storage_version,
)
from managedchart_operator.kube.discovery import not_served
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.crd_files import CrdFiles, CrdObjects, reading
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.shortening import cut, listed

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIELDS_LOST, NOT_UPDATED = "CRDFieldsLost", "CRDNotUpdated"
"""Reasons of the Warning Events about an update of a CRD."""

# Others may write a CRD between its reading and its replacement, as its status changes for some moments after each change.
_TRIES = 5
# For one field: an Event has 1024 characters, and names five.
_FIELD_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Preview:
    """What `RunCrds.apply`, and actions before it, would do. Objects of these kinds cannot be validated before it is done."""

    kinds: frozenset[tuple[str, str]] = frozenset()
    """Group and kind of each CRD that it would create or change."""
    api_versions: frozenset[str] = frozenset()
    """What the API server would serve then, as `group/version` and `group/version/Kind`."""


@dataclass(frozen=True, slots=True)
class _Change:
    name: str
    wanted: dict[str, Any]
    existing: dict[str, Any] | None


@dataclass(slots=True)
class RunCrds:
    """The CRDs in the crds/ folders of the chart of one run; they are applied once."""

    run: ReleaseRun
    files: CrdFiles = field(init=False)
    owners: dict[str, str] = field(default_factory=dict)
    """The CRDs that were not updated, each with the release that owns it."""
    coming: ComingKinds = field(default_factory=ComingKinds)
    """Those that a dry run would have applied by now: of actions, and once `preview` was called, of the chart."""
    _applied: bool = False
    _preview: Preview | None = None

    def __post_init__(self) -> None:
        self.files = CrdFiles(self.run)

    async def apply(self) -> None:
        """Do what the spec asks for, unless this run has done it. Raises OperatorError."""
        if self._applied or self.run.spec.crds is CrdPolicy.SKIP:
            return
        outlined = await self.files.outlined()
        changes = await self._changes(outlined)
        done = list(zip(changes, await _all(map(self._write, changes)), strict=True))
        if written := [crd for _, crd in done if crd is not None]:
            await self._cluster.until_served(written)
            # helm remembers for six hours what the cluster serves.
            await asyncio.to_thread(self.run.services.helm.clear_discovery_cache)
        for change, crd in done:
            if crd is not None:
                self._log(f"{'updated' if change.existing else 'created'} the CRD {change.name} of the chart")
        if outlined.others:
            for item in (await self.files.whole()).others:
                await self._create_other(item)
        self._applied = True

    async def preview(self) -> Preview:
        """Return what `apply` would do, and actions before it; the API server validates the CRDs.

        Raises OperatorError as `apply` would.
        """
        if self._preview is None:
            self._preview = Preview() if self.run.spec.crds is CrdPolicy.SKIP else await self._foresee()
        return Preview(
            self._preview.kinds | self.coming.group_kinds, self._preview.api_versions | self.coming.api_versions
        )

    @property
    def _cluster(self) -> ClusterCrds:
        return self.run.objects.crds

    async def _foresee(self) -> Preview:
        changes = await self._changes(await self.files.outlined())
        written = await _all(self._write(change, dry_run=True) for change in changes)
        changed = [change.wanted for change, crd in zip(changes, written, strict=True) if crd is not None]
        kinds = frozenset(kind for crd in changed for kind in kinds_of(crd))
        groups = frozenset(kind.rpartition("/")[0] for kind in kinds)
        self.coming.add(changed, reason="the chart brings its CRD")
        return Preview(frozenset(map(group_kind, changed)), kinds | groups)

    async def _changes(self, outlined: CrdObjects) -> list[_Change]:
        """Return the CRDs to create and, by CreateReplace, to replace. Raises OperatorError if one must not be."""
        if not (names := list(outlined.crds)):
            return []
        replaces = self.run.spec.crds is CrdPolicy.CREATE_REPLACE
        read = self._cluster.get if replaces else self._cluster.metadata
        found = dict(zip(names, await _all(map(read, names)), strict=True))
        changes = []
        for name, existing in found.items():
            metadata = (existing or {}).get("metadata") or existing or {}
            if metadata.get("deletionTimestamp"):
                raise _being_deleted(name)
            if existing is None or (replaces and not self._is_of_another(name, metadata)):
                wanted = (await self.files.whole()).crds[name]
                if existing is None or not await reading(partial(is_current, existing, wanted)):
                    changes.append(_Change(name, wanted, existing))
        for change in changes:
            await self._check(change)
        return changes

    def _is_of_another(self, name: str, metadata: Mapping[str, Any]) -> bool:
        owner = other_release(metadata, name=self.run.name, namespace=self.run.namespace)
        if owner is None:
            return False
        self.owners[name] = owner
        message = f"CRD {name} was not updated because its ownership metadata names the release {owner}"
        self.run.journal.warn(NOT_UPDATED, message)
        return True

    async def _check(self, change: _Change) -> None:
        """Raise KubeError if the API server could not store the CRD; warn of each field that its users lose."""
        existing, wanted = change.existing, change.wanted
        if wanted.get("apiVersion") != API_VERSION:
            error = not_served(str(wanted.get("apiVersion")), f"{KIND} ({change.name})")
            error.hint = (
                "Use a chart version for this Kubernetes version, or apply the CRDs yourself and set spec.crds: Skip."
            )
            raise error
        if existing is None:
            return
        if dropped := await reading(partial(dropped_versions, existing, wanted)):
            raise _stored_version_dropped(change.name, existing, wanted, dropped)
        if lost := await reading(partial(lost_fields, existing, wanted)):
            named = listed(cut(each, _FIELD_CHARACTERS) for each in lost)
            self.run.journal.warn(
                FIELDS_LOST,
                f"CRD {change.name} of the chart lacks what the one in the cluster has, and the API server drops it from each"
                f" object that is written: {named}",
            )

    async def _write(self, change: _Change, *, dry_run: bool = False) -> dict[str, Any] | None:
        """Create or replace a CRD; returns it as the API server has it then, or None if that changes nothing."""
        existing = change.existing
        if existing is None:
            return await self._cluster.create(change.wanted, dry_run=dry_run)
        for left in reversed(range(_TRIES)):
            body = await reading(partial(replacement, existing, change.wanted))
            try:
                written = await self._cluster.replace(body, dry_run=dry_run)
            except KubeError as error:
                again = await self._cluster.get(change.name) if error.status == 409 and left else None
                if again is None:
                    raise
                existing = again
            else:
                return None if _desired(written) == _desired(existing) else written
        raise AssertionError  # the last try returns or raises

    async def _create_other(self, item: dict[str, Any]) -> None:
        objects = self.run.objects
        ref = await objects.locate(item, self.run.namespace)
        if await objects.get(ref) is None:
            path = await objects.collection_path(ref.api_version, ref.kind, namespace=ref.namespace)
            await self._cluster.create(item, collection=path)
            self._log(f"created {ref}, which is in crds/ of the chart")

    def _log(self, sentence: str) -> None:
        logger.info("%s/%s: %s", self.run.namespace, self.run.name, sentence)


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Do several things at once, all to their end; then the first error is raised."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", done)


def _desired(crd: Mapping[str, Any]) -> tuple[Any, ...]:
    metadata = crd["metadata"]
    return crd["spec"], metadata.get("labels"), metadata.get("annotations")


def _being_deleted(name: str) -> KubeError:
    return KubeError(
        f"CRD {name} of the chart is being deleted",
        reason=Reason.OBJECT_OWNED,
        transient=True,
        status=409,
        hint=f"Wait until it is deleted, or see what blocks it: kubectl get crd {name} -o yaml",
    )


def _stored_version_dropped(
    name: str, existing: Mapping[str, Any], wanted: Mapping[str, Any], dropped: list[str]
) -> KubeError:
    storage, newer = storage_version(existing), storage_version(wanted)
    if storage in dropped:
        hint = f"First deploy a chart version whose CRD still has {storage} and stores objects as {newer}."
    else:
        kept = [version for version in existing["status"]["storedVersions"] if version not in dropped]
        patch = json.dumps({"status": {"storedVersions": kept}})
        hint = (
            f"Store all objects as {storage}, then take {', '.join(dropped)} out of the CRD's status: "
            f"kubectl get {name} -A -o yaml | kubectl replace -f - && "
            f"kubectl patch crd {name} --subresource=status --type=merge -p '{patch}'"
        )
    return KubeError(
        f"CRD {name} cannot be replaced: objects may be stored as {', '.join(dropped)}, which the chart's CRD no longer has",
        reason=Reason.OBJECT_INVALID,
        # The remedy is in the cluster, not in the spec.
        transient=True,
        status=422,
        hint=hint,
    )
