"""`applyCRDs`: CustomResourceDefinitions are applied, unless that would break their users.

All are checked before the first is written, and the action ends when the API server serves their kinds. Server-side apply
replaces the whole list of versions, so fields that are no longer in the schema do not stay.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from managedchart_operator.api.schema import matches, rules
from managedchart_operator.charts.crd_folders import MAX_CRD_BYTES
from managedchart_operator.errors import UNREADABLE, LifecycleError
from managedchart_operator.helm.ownership import other_release
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.kube.applying import apply
from managedchart_operator.kube.cluster_crds import API_VERSION, KIND
from managedchart_operator.kube.crd_changes import lost_fields
from managedchart_operator.kube.crd_safety import problems, stored_version_problems
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.scene import FIELD_MANAGER, Scene
from managedchart_operator.lifecycle.actions.verb import Done, TenantData, Verb
from managedchart_operator.lifecycle.actions.verbs.apply import FILES, FILES_OF_TENANT
from managedchart_operator.lifecycle.actions.writing import refusals
from managedchart_operator.shortening import cut, listed

FROM_CHART = "crds/*"
"""Everything in the crds/ folders of the chart and of its enabled subcharts."""
FIELDS_LOST = "CRDFieldsLost"
"""Reason of the Warning Event about fields that an update takes away where `safety` allows that."""
ONE_SOURCE = "set fromChart or manifests, not both"

WHERE_IN_CHART = "write a path in the chart, like crds/*.yaml"
MAX_FILES = 200
"""How many CRDs files of the chart may have, except those in crds/."""

# A path of a field may be long, and a message has 1024 characters.
_PROBLEM = 160

Manifest = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


class Safety(StrEnum):
    """Which changes of a CRD are refused."""

    STRICT = "Strict"
    STORED_VERSIONS = "StoredVersions"
    NONE = "None"


_CHECKS: Mapping[Safety, Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]] = {
    Safety.STRICT: problems,
    Safety.STORED_VERSIONS: stored_version_problems,
    Safety.NONE: lambda _existing, _wanted: [],
}


class ApplyCrds(Verb):
    """Applies CustomResourceDefinitions, unless that would break their users."""

    model_config = ConfigDict(json_schema_extra=rules(("!has(self.fromChart) || !has(self.manifests)", ONE_SOURCE)))

    verb: ClassVar[str] = "applyCRDs"
    needs: ClassVar[tuple[str, ...]] = ("get", "list", "watch", "create", "patch")

    from_chart: str | None = Field(
        default=None, pattern=FILES, max_length=253, json_schema_extra=matches(FILES, WHERE_IN_CHART)
    )
    """Files of the chart, like files/crds/*.yaml; the default crds/* includes those of its enabled subcharts."""
    manifests: list[Manifest] = Field(default_factory=list, max_length=8)
    """The CRDs themselves, instead of those of the chart."""
    safety: Safety = Safety.STRICT
    """Strict refuses each change that could break objects or clients; StoredVersions only the removal of a stored version; None
    nothing."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.from_chart is not None and self.manifests:
            raise ValueError(ONE_SOURCE)
        return self

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the manifests."""
        for number, manifest in enumerate(self.manifests):
            if problem := _form_problem(manifest):
                yield f"manifests[{number}]: {problem}"

    def tenant_data(self) -> TenantData | None:
        """Return what it needs of the chart."""
        if self.manifests:
            return None
        return TenantData(FILES_OF_TENANT, "fromChart" if self.from_chart else "", "write the CRDs as manifests")

    async def run(self, scene: Scene) -> Done:
        """Apply the CRDs and wait until they are served. Raises LifecycleError, ChartError, HelmError, KubeError."""
        changes = await self._changes(scene)
        if not changes:
            return Done("The chart has no CRDs")
        applied = [await _apply(scene, *change, dry_run=False) for change in changes]
        scene.progress = "The API server does not serve the kinds yet"
        await scene.cluster.crds.until_served(applied)
        if any(_changed(existing, crd) for (_, existing), crd in zip(changes, applied, strict=True)):
            await scene.context.extras.kinds_changed()
        return Done(_summary("Applied", changes))

    async def preview(self, scene: Scene) -> Done:
        """Check the CRDs, and let the API server validate them, without changing any."""
        changes = await self._changes(scene)
        for wanted, existing in changes:
            crd = await _apply(scene, wanted, existing, dry_run=True)
            if _changed(existing, crd):
                scene.context.extras.coming.add([crd], reason=f"action {scene.action} applies its CRD first")
        return Done(_summary("Would apply", changes) if changes else "The chart has no CRDs")

    async def _changes(self, scene: Scene) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
        """Return each CRD with the one in the cluster. Raises LifecycleError if one of them must not be applied."""
        changes, refused = [], []
        for wanted in await self._wanted(scene):
            existing = await scene.cluster.get(_ref(wanted))
            if existing is not None:
                refused += await self._refusals(scene, existing, wanted)
            changes.append((wanted, existing))
        if refused:
            raise LifecycleError(
                f"safety: {self.safety} refuses {len(refused)} changes: {'; '.join(refused[:5])}"
                if len(refused) > 1
                else f"safety: {self.safety} refuses {refused[0]}",
                hint="Keep the fields and versions that are in use, or bring the change as a new version of the CRD; if nothing"
                " uses what changes, set a weaker safety for this action.",
            )
        return changes

    async def _wanted(self, scene: Scene) -> Sequence[dict[str, Any]]:
        if self.manifests:
            return self.manifests
        if self.from_chart in (None, FROM_CHART):
            return await scene.context.extras.crds()
        found = await scene.context.facts.chart_objects(
            str(self.from_chart), most_bytes=MAX_CRD_BYTES, most_objects=MAX_FILES
        )
        for item in found:
            if problem := _form_problem(item):
                raise LifecycleError(
                    f"What is in {self.from_chart} of the chart is not a CRD: {problem}", transient=False
                )
        return found

    async def _refusals(self, scene: Scene, existing: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
        """Return what is refused about one CRD; warns of fields that it loses otherwise. Raises LifecycleError."""
        name, metadata, release = wanted["metadata"]["name"], existing["metadata"], scene.context.release
        if metadata.get("deletionTimestamp"):
            raise LifecycleError(
                f"CRD {name} is being deleted", hint=f"See what blocks it: kubectl get crd {name} -o yaml"
            )
        if owner := other_release(metadata, name=release.name, namespace=release.namespace):
            raise LifecycleError(f"The ownership metadata of CRD {name} names the release {owner}")
        try:
            found = await asyncio.to_thread(_CHECKS[self.safety], existing, wanted)
            lost = await asyncio.to_thread(lost_fields, existing, wanted)
        except UNREADABLE as error:
            raise LifecycleError(
                f"CRD {name} does not have the form of a CustomResourceDefinition", transient=False
            ) from error
        if lost and not found:
            named = listed(cut(each, _PROBLEM) for each in lost)
            scene.context.recorder.warn(FIELDS_LOST, f"CRD {name} lacks what the one in the cluster has: {named}")
        return [cut(f"CRD {name}: {each}", _PROBLEM) for each in found]


async def _apply(
    scene: Scene, wanted: Mapping[str, Any], existing: Mapping[str, Any] | None, *, dry_run: bool
) -> dict[str, Any]:
    """Apply a CRD; one that is new gets the label of the ManagedChart, so that `deleteCRDs` knows who brought it."""
    metadata = wanted["metadata"]
    owner = scene.context.chart.uid if existing is None else (existing["metadata"].get("labels") or {}).get(OWNER_LABEL)
    labels = {**(metadata.get("labels") or {}), **({OWNER_LABEL: owner} if owner else {})}
    body = {
        "metadata": {"labels": labels, "annotations": metadata.get("annotations") or {}},
        "spec": wanted["spec"],
    }
    ref = _ref(wanted)
    with refusals(scene, ref):
        return await apply(scene.cluster, ref, body, manager=FIELD_MANAGER, force=True, dry_run=dry_run)


def _ref(crd: Mapping[str, Any]) -> ObjectRef:
    return ObjectRef(API_VERSION, KIND, crd["metadata"]["name"])


def _changed(existing: Mapping[str, Any] | None, crd: Mapping[str, Any]) -> bool:
    return existing is None or existing["metadata"].get("generation") != crd["metadata"].get("generation")


def _summary(what: str, changes: Sequence[tuple[Mapping[str, Any], Any]]) -> str:
    names = (wanted["metadata"]["name"] for wanted, _ in changes)
    return f"{what} {listed(f'CRD {name}' for name in names)}"


def _form_problem(manifest: Mapping[str, Any]) -> str:
    """Return what keeps a manifest from being a CRD; the API server checks the rest."""
    if (manifest.get("apiVersion"), manifest.get("kind")) != (API_VERSION, KIND):
        return f"write a {KIND} of {API_VERSION}"
    metadata, spec = manifest.get("metadata"), manifest.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return "it has no metadata.name"
    if not isinstance(spec, dict) or not isinstance(spec.get("versions"), list):
        return "it has no spec.versions"
    return ""
