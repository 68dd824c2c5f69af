"""`label`: labels and annotations of one object, or of those that a selector matches."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from managedchart_operator.api.schema import rules
from managedchart_operator.errors import LifecycleError
from managedchart_operator.lifecycle.actions.patching import merged
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import (
    LABEL_KEY,
    NAME_OR_SELECTOR,
    LabelValue,
    ObjectsRef,
    name_only,
)
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.lifecycle.actions.writing import (
    about,
    changed,
    check_not_itself,
    missing,
    ref_of,
    refusals,
    these,
    writer,
)

MAX_OBJECTS = 100
SOMETHING = "name at least one label or annotation"
_SOMETHING = "(has(self.labels) && size(self.labels) > 0) || (has(self.annotations) && size(self.annotations) > 0)"

_KEY = re.compile(LABEL_KEY)
_LONGEST_KEY = 317

AnnotationValue = Annotated[str, StringConstraints(max_length=4096)]


def _nullable(length: int) -> dict[str, Any]:
    """Return the schema of a map of texts and nulls. Atomic: where server-side apply merges a map by key, it drops nulls."""
    value = {"type": "string", "nullable": True, "maxLength": length}
    return {"additionalProperties": value, "x-kubernetes-map-type": "atomic"}


class Label(ObjectsRef, Verb):
    """Sets or removes labels and annotations of at most 100 objects."""

    verb: ClassVar[str] = "label"
    needs: ClassVar[tuple[str, ...]] = ("get", "list", "patch")
    model_config = ConfigDict(
        json_schema_extra=rules(("has(self.name) != has(self.selector)", NAME_OR_SELECTOR), (_SOMETHING, SOMETHING))
    )

    labels: dict[str, LabelValue | None] = Field(default_factory=dict, max_length=16, json_schema_extra=_nullable(63))
    """The labels; null removes one."""
    annotations: dict[str, AnnotationValue | None] = Field(
        default_factory=dict, max_length=16, json_schema_extra=_nullable(4096)
    )
    """The annotations; null removes one."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.labels and not self.annotations:
            raise ValueError(SOMETHING)
        return self

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kind."""
        if problem := self.kind_problem():
            yield f"kind: {problem}"
        for part, entries in self._entries():
            for key in entries:
                if len(key) > _LONGEST_KEY or not _KEY.match(key):
                    yield f"{part}: {key[:_LONGEST_KEY]} is not a key of Kubernetes: write one like example.com/team"

    async def run(self, scene: Scene) -> Done:
        """Set and remove them where they differ. Raises LifecycleError, KubeError."""
        return await self._label(scene, dry_run=False)

    async def preview(self, scene: Scene) -> Done:
        """Say which objects it would change."""
        return await self._label(scene, dry_run=True)

    async def _label(self, scene: Scene, *, dry_run: bool) -> Done:
        found = await self._found(scene)
        if not found and self.name is not None:
            ref = about(self, self.name, self.namespace or scene.namespace)
            if dry_run:
                return Done(f"{ref} does not exist yet")
            raise missing(ref)
        patch = {"metadata": {part: entries for part, entries in self._entries() if entries}}
        done = []
        for each in found:
            ref = ref_of(each)
            if merged(each, patch) == each:
                continue
            with refusals(scene, ref):
                answer = await writer(scene, dry_run=dry_run).merge(ref, patch)
            if answer is not None and (dry_run or changed(each, answer)):
                done.append(ref)
        if not done:
            return Done(f"{len(found)} {self.kind} checked: nothing to change")
        which = these(scene, self, done, chosen=self.selector is not None)
        return Done(f"{'Would label' if dry_run else 'Labelled'} {which}")

    def _entries(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        return ("labels", dict(self.labels)), ("annotations", dict(self.annotations))

    def _essential(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return of an object what is compared."""
        found, metadata = name_only(item), item["metadata"]
        if "resourceVersion" in metadata:
            found["metadata"]["resourceVersion"] = metadata["resourceVersion"]
        for part, entries in self._entries():
            if part in metadata:
                found["metadata"][part] = {
                    key: value for key, value in (metadata[part] or {}).items() if key in entries
                }
        return found

    async def _found(self, scene: Scene) -> list[dict[str, Any]]:
        """Return the objects. Raises LifecycleError if there are too many, KubeError."""
        with refusals(scene, about(self, self.name, self.namespace or scene.namespace)):
            found = await self.find(scene.cluster, scene.namespace, keep=self._essential)
        if len(found) > MAX_OBJECTS:
            raise LifecycleError(
                f"{len(found)} {self.kind} match, more than the {MAX_OBJECTS} that one action labels; none was changed",
                transient=False,
                hint="Write a narrower selector.",
            )
        for each in found:
            check_not_itself(scene, ref_of(each))
        return found
