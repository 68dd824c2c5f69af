"""`apply`: server-side apply of one object, or of objects in the chart's files.

All objects are checked before the first is written. CustomResourceDefinitions have a verb of their own, which protects the
objects of their kinds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from managedchart_operator.api.object_selector import API_VERSION_PATTERN
from managedchart_operator.api.schema import ApiModel, matches, rules
from managedchart_operator.errors import LifecycleError, OperatorError
from managedchart_operator.kube.applying import apply
from managedchart_operator.kube.objects import ObjectRef, reference
from managedchart_operator.lifecycle.actions.scene import FIELD_MANAGER, Scene
from managedchart_operator.lifecycle.actions.verb import Done, TenantData, Verb
from managedchart_operator.lifecycle.actions.writing import CRD, check_not_itself, named, refusals
from managedchart_operator.reasons import Reason

MAX_OBJECTS = 100
MAX_BYTES = 1024 * 1024
# A message names so many objects whose kind does not exist yet.
_NAMED = 5

ONE_SOURCE = "set exactly one of manifest and fromChart"
NO_CRDS = "CustomResourceDefinitions are applied by the verb applyCRDs, which checks that no stored object is lost"
FILES = r"^[A-Za-z0-9_.*?][A-Za-z0-9_.*?/-]*$"
"""Matches what `fromChart` may be: the path of files in the chart, with * and ? in names."""
NO_TEMPLATES = "templates are rendered by helm: put the objects into another folder of the chart, like files/"
FILES_OF_TENANT = "the tenant writes the files of the chart"
FROM_CHART = "write a path in the chart, like files/*.yaml"

ChartFilePattern = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=FILES)]


class ManifestMetadata(ApiModel):
    """The metadata of an object."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=253)
    """Name of the object."""
    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace of the object; default the release's."""


class Manifest(ApiModel):
    """An object of Kubernetes, with the fields that are to be set."""

    model_config = ConfigDict(extra="allow", json_schema_extra=rules((f"self.kind != '{CRD}'", NO_CRDS)))

    api_version: str = Field(pattern=API_VERSION_PATTERN, max_length=317)
    """API version of its kind, like apps/v1."""
    kind: str = Field(min_length=1, max_length=63)
    """Its kind."""
    metadata: ManifestMetadata
    """Its name, labels, annotations and so on."""


class Apply(Verb):
    """Creates or changes objects by server-side apply."""

    verb: ClassVar[str] = "apply"
    needs: ClassVar[tuple[str, ...]] = ("create", "patch")
    model_config = ConfigDict(json_schema_extra=rules(("has(self.manifest) != has(self.fromChart)", ONE_SOURCE)))

    manifest: Manifest | None = None
    """The object."""
    from_chart: ChartFilePattern | None = Field(default=None, json_schema_extra=matches(FILES, FROM_CHART))
    """Files of the chart with the objects, like files/*.yaml; nothing in them is rendered. At most 100 objects and 1 MiB."""
    force: bool = False
    """Take over fields that another field manager holds; without it they are refused."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.manifest is None) == (self.from_chart is None):
            raise ValueError(ONE_SOURCE)
        return self

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its source."""
        if self.manifest is not None and self.manifest.kind == CRD:
            yield f"manifest: {NO_CRDS}"
        if self.from_chart is not None and (problem := pattern_problem(self.from_chart)):
            yield f"fromChart: {problem}"

    def tenant_data(self) -> TenantData | None:
        """Return what it needs of the chart."""
        if self.from_chart is None:
            return None
        return TenantData(FILES_OF_TENANT, "fromChart", "write the object as manifest")

    async def run(self, scene: Scene) -> Done:
        """Apply the objects in their order. Raises LifecycleError, ChartError, KubeError."""
        located = [(await _located(scene, item), item) for item in await self._objects(scene)]
        for number, (ref, item) in enumerate(located):
            scene.progress = f"{number} of {len(located)} objects are applied"
            await self._apply(scene, ref, item, dry_run=False)
        return Done(f"Applied {named([ref for ref, _ in located])}")

    async def preview(self, scene: Scene) -> Done:
        """Let the API server check the objects, without a change. What the run itself would create first may be missing."""
        refs, unchecked = [], []
        early: dict[str, list[ObjectRef]] = {}
        for item in await self._objects(scene):
            ref = reference(item, scene.namespace)
            coming = scene.context.extras.coming.find(ref.api_version, ref.kind)
            try:
                ref = await _located(scene, item)
                await self._apply(scene, ref, item, dry_run=True)
            except OperatorError as error:
                if coming is not None and error.reason in (Reason.KIND_MISSING, Reason.OBJECT_INVALID):
                    early.setdefault(coming.reason, []).append(ref if coming.namespaced else replace(ref, namespace=""))
                elif error.reason in (Reason.KIND_MISSING, Reason.NAMESPACE_NOT_FOUND):
                    unchecked.append(f"{ref.kind} {ref.name}")
                else:
                    raise
            else:
                refs.append(ref)
        parts = [f"Would apply {named(refs)}"] if refs else []
        parts += [f"Would apply {named(those)} ({reason})" for reason, those in early.items()]
        if unchecked:
            parts.append(f"Cannot check {', '.join(unchecked[:_NAMED])}: its kind or namespace does not exist yet")
        return Done("; ".join(parts))

    async def _objects(self, scene: Scene) -> list[dict[str, Any]]:
        """Return what is to be applied, all of it checked as far as no request is needed."""
        if self.manifest is not None:
            return [self.manifest.model_dump(by_alias=True, exclude_unset=True)]
        pattern = self.from_chart or ""
        found = await scene.context.facts.chart_objects(pattern, most_bytes=MAX_BYTES, most_objects=MAX_OBJECTS)
        for item in found:
            if item["kind"] == CRD:
                raise LifecycleError(
                    f"{pattern} has the {CRD} {item['metadata']['name']}; nothing is applied",
                    reason=Reason.LIFECYCLE_INVALID,
                    transient=False,
                    hint="Use the verb applyCRDs for it, which checks that no stored object is lost.",
                )
        return found

    async def _apply(self, scene: Scene, ref: ObjectRef, item: dict[str, Any], *, dry_run: bool) -> None:
        with refusals(scene, ref, item):
            await apply(scene.cluster, ref, item, manager=FIELD_MANAGER, force=self.force, dry_run=dry_run)


async def _located(scene: Scene, item: Mapping[str, Any]) -> ObjectRef:
    ref = await scene.cluster.locate(item, scene.namespace)
    check_not_itself(scene, ref)
    return ref


def pattern_problem(pattern: str) -> str:
    """Return what is wrong with a pattern of the chart's files beyond its characters; "" for nothing."""
    parts = pattern.split("/")
    if "" in parts or ".." in parts or "." in parts:
        return FROM_CHART
    return NO_TEMPLATES if parts[0] == "templates" else ""
