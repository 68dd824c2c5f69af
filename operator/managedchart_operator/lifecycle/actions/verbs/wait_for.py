"""`waitFor`: a condition, a field or the deletion of objects, as `kubectl wait` waits for it; by a watch."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from managedchart_operator.api.schema import rules
from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.watch import Change, Polling, changes
from managedchart_operator.lifecycle.actions.json_path import as_text, steps_of, value_at
from managedchart_operator.lifecycle.actions.pods import reserve_of
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import NAME_OR_SELECTOR, ObjectsRef, name_only, some, what
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.status_fields import Parts, mappings, number_or

ONE_GOAL = "set exactly one of condition, jsonPath and deleted"
VALUE_WITH_PATH = "value goes with jsonPath: set both, or only jsonPath for any value"

_COUNT = "[has(self.condition), has(self.jsonPath), has(self.deleted)].filter(x, x).size() == 1"


Value = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(max_length=1024),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 1024}),
]


class WaitFor(ObjectsRef, Verb):
    """Waits until objects have a condition or a value, or are deleted, for at most the timeout of the action."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.name) != has(self.selector)", NAME_OR_SELECTOR),
            (_COUNT, ONE_GOAL),
            ("!has(self.value) || has(self.jsonPath)", VALUE_WITH_PATH),
        )
    )

    verb: ClassVar[str] = "waitFor"
    writes: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("list", "watch")

    condition: str | None = Field(default=None, min_length=1, max_length=317, pattern=r"^[^=\s]+(=[A-Za-z]+)?$")
    """Condition of the status, like Ready or Ready=False; it must be about the present generation."""
    json_path: str | None = Field(default=None, min_length=1, max_length=512)
    """Field, as in kubectl wait, like {.status.phase}."""
    value: Value | None = None
    """Value of the field, like Running, 3 or "true" (in quotes); by default any value will do."""
    deleted: bool | None = Field(default=None, strict=True)
    """true: until none of the objects exists any more."""

    @model_validator(mode="after")
    def _goals_fit_together(self) -> Self:
        if sum(each is not None for each in (self.condition, self.json_path, self.deleted)) != 1:
            raise ValueError(ONE_GOAL)
        if self.value is not None and self.json_path is None:
            raise ValueError(VALUE_WITH_PATH)
        return self

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kind and its path."""
        if problem := self.kind_problem():
            yield f"kind: {problem}"
        if self.deleted is False:
            yield "deleted: write true, or leave it out"
        if self.json_path is not None:
            try:
                steps_of(self.json_path)
            except ValueError as error:
                yield f"jsonPath: {error}; write a path like {{.status.phase}}"

    async def run(self, scene: Scene) -> Done:
        """Watch the objects until the goal is reached. Raises KubeError."""
        objects, namespace = scene.cluster, self.namespace or scene.namespace
        where = await objects.resolve(ObjectRef(self.version, self.kind, "", namespace))
        path = await objects.collection_path(self.version, self.kind, namespace=where.namespace)
        labels = self.selector.text() if self.selector else ""
        fields = f"metadata.name={self.name}" if self.name else ""
        # The watch waits longer than a short timeout before it reports a missing permission.
        await objects.client.request(
            "GET", path, query={"labelSelector": labels, "fieldSelector": fields, "limit": "1"}
        )
        last_look = asyncio.get_running_loop().time() + scene.seconds - reserve_of(scene.seconds)
        for until in (last_look, None):
            watch = changes(
                objects.client, path, labels=labels, fields=fields, patient=False, polls=Polling(), keep=self._seen
            )
            # A watch whose connection has died silently shows nothing more. So the objects are listed again before the
            # deadline, and if that is not answered, the deadline says nothing about them.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until), contextlib.aclosing(watch):  # type: ignore[type-var]
                    return await self._until_reached(scene, watch, where.namespace)
        raise AssertionError  # the second watch has no end

    async def _until_reached(self, scene: Scene, watch: AsyncIterator[Change], namespace: str) -> Done:
        """Follow a watch until the goal is reached. Raises KubeError."""
        there: dict[tuple[str, str], Mapping[str, Any]] = {}
        async for change in watch:
            if change.type == "Listed":
                there = {_key(each): each for each in change.object["items"]}
            elif change.type == "DELETED":
                there.pop(_key(change.object), None)
            else:
                there[_key(change.object)] = self._seen(change.object)
            scene.progress = self._missing(list(there.values()), namespace, named=not scene.foreign)
            if not scene.progress:
                return Done(
                    f"{self._goal}: {len(there)} {self.kind}"
                    if not self.deleted
                    else f"No {what(self, namespace, name=self.name, selector=self.selector)} exists"
                )
        raise LifecycleError("The watch has ended", reason=Reason.LIFECYCLE_FAILED)  # it does so only with an error

    def _seen(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept of an object: its name, and whether it has reached the goal, which is asked at each change."""
        return {**name_only(found), "reached": not self.deleted and self._reached(found)}

    def _missing(self, there: list[Mapping[str, Any]], namespace: str, *, named: bool = True) -> str:
        """Return what is still missing of what was seen, by its names or not; "" if the goal is reached."""
        if not there and not self.deleted:
            return f"there is no {what(self, namespace, name=self.name, selector=self.selector)}"
        late = [each for each in there if not each["reached"]]
        if not late:
            return ""
        # A tenant reads what an account of an administrator sees: how many, but not which.
        these = _names(self.kind, late) if named or self.name else f"{len(late)} {self.kind}"
        return f"{these} still exists" if self.deleted else f"{these} has not reached {self._goal}"

    def _reached(self, found: Mapping[str, Any]) -> bool:
        if self.condition is not None:
            kind, _, wanted = self.condition.partition("=")
            return _is_observed(found, kind) and Parts.of(found).condition(kind).status == (wanted or "True")
        value = value_at(found, steps_of(self.json_path or ""))
        return value is not None if self.value is None else value is not None and as_text(value) == self.value

    @property
    def _goal(self) -> str:
        if self.condition is not None:
            return f"condition {self.condition}"
        return f"{self.json_path}" + (f" = {self.value}" if self.value is not None else "")


def _is_observed(found: Mapping[str, Any], condition: str) -> bool:
    """Whether a condition is about the present generation; as for kubectl, so is one that names no generation, like a CRD's."""
    parts = Parts.of(found)
    of_conditions = [each for each in mappings(parts.status.get("conditions")) if each.get("type") == condition]
    observed = next((each["observedGeneration"] for each in of_conditions if "observedGeneration" in each), None)
    if observed is None and "observedGeneration" not in parts.status:
        return True
    if observed is None:
        return parts.is_observed
    return number_or(observed, 0) >= number_or(parts.meta.get("generation"), 0)


def _key(found: Mapping[str, Any]) -> tuple[str, str]:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _names(kind: str, objects: list[Mapping[str, Any]]) -> str:
    return some([{"kind": kind, **each} for each in objects])
