"""`patch`: a merge patch or a JSON patch of one object, which is not sent where it changes nothing.

A JSON patch goes with the resourceVersion for which it was computed, so that its tests hold when it is carried out.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema

from managedchart_operator.api.lifecycle import OPEN_OBJECT
from managedchart_operator.api.schema import ApiModel, matches, rules
from managedchart_operator.errors import KubeError, LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.patching import PatchError, TestFailedError, merged, patched
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import NamedObject
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.lifecycle.actions.writing import (
    CRD,
    changed,
    check_not_itself,
    missing,
    refusals,
    writer,
)

ONE_PATCH = "set exactly one of merge and json"
NO_CRDS = "CustomResourceDefinitions are changed by the verb applyCRDs, which checks that no stored object is lost"
POINTER = r"^(/([^~/]|~[01])+)+$"
WRITE_POINTER = "write a JSON pointer, like /spec/replicas; a / in a name is ~1"
# Somebody else may write the object at the same time; that often in a row is a defect of theirs.
_TRIES = 5
_REJECTED = (409, 422)


_OPEN: dict[str, Any] = {**OPEN_OBJECT}


class Op(StrEnum):
    """What an operation of a JSON patch does."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"
    TEST = "test"


class JsonOperation(ApiModel):
    """One operation of a JSON patch (RFC 6902), with op, path and, except for remove, a value of any type."""

    model_config = ConfigDict(json_schema_extra={**_OPEN})

    op: Op
    """add, remove, replace or test; where a test fails, the object stays as it is, without an error."""
    path: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=POINTER)] = Field(
        json_schema_extra=matches(POINTER, WRITE_POINTER)
    )
    """The place, as a JSON pointer."""
    # Of any type, which a structural schema cannot express; the object is an open one, so it is stored.
    value: SkipJsonSchema[Any] = None

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if ("value" in self.model_fields_set) is (self.op is Op.REMOVE):
            raise ValueError("a remove has no value" if self.op is Op.REMOVE else f"{self.op.value} needs a value")
        return self

    @property
    def moves_items(self) -> bool:
        """Whether it may do something else when it is carried out again: it changes the places of a list's items."""
        last = self.path.rpartition("/")[2]
        return self.op in (Op.ADD, Op.REMOVE) and (last == "-" or last.isdigit())


class Patch(NamedObject, Verb):
    """Changes one object by a merge patch or a JSON patch."""

    verb: ClassVar[str] = "patch"
    needs: ClassVar[tuple[str, ...]] = ("get", "patch")
    model_config = ConfigDict(
        json_schema_extra=rules(("has(self.merge) != has(self.json)", ONE_PATCH), (f"self.kind != '{CRD}'", NO_CRDS))
    )

    merge: dict[str, Any] | None = Field(default=None, json_schema_extra={**_OPEN, "x-kubernetes-map-type": "atomic"})
    """A JSON merge patch (RFC 7386): the fields to set; null removes a field, and lists are replaced as a whole."""
    json_: list[JsonOperation] | None = Field(default=None, alias="json", min_length=1, max_length=32)
    """The operations of a JSON patch (RFC 6902)."""

    @model_validator(mode="after")
    def _one_patch(self) -> Self:
        if (self.merge is None) == (self.json_ is None):
            raise ValueError(ONE_PATCH)
        return self

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kind and its operations."""
        if problem := self.kind_problem():
            yield f"kind: {problem}"
        if self.kind == CRD:
            yield f"kind: {NO_CRDS}"
        if self.merge == {}:
            yield "merge: the patch is empty: name the fields to set"
        operations = self.json_ or []
        for number, each in enumerate(operations):
            if each.moves_items and not any(before.op is Op.TEST for before in operations[:number]):
                yield (
                    f"json[{number}]: {each.op.value} of {each.path} changes the list each time that it runs: "
                    "put a test before it that fails once the list is changed, or use merge with the whole list"
                )

    async def run(self, scene: Scene) -> Done:
        """Patch the object. Raises LifecycleError, KubeError."""
        ref = await self.ref(scene.cluster, scene.namespace)
        check_not_itself(scene, ref)
        for left in reversed(range(_TRIES)):
            found = await self._read(scene, ref)
            if found is None:
                break
            body = self._body(ref, found)
            if isinstance(body, Done):
                return body
            try:
                answer = await self._send(scene, ref, body)
            except LifecycleError as error:
                if not left or not await self._has_changed(scene, ref, found, error):
                    raise
                continue
            if answer is not None:
                return Done(f"Patched {ref}" if changed(found, answer) else _unchanged(ref))
        raise missing(ref)

    async def preview(self, scene: Scene) -> Done:
        """Let the API server check the patch, without a change."""
        ref = await self.ref(scene.cluster, scene.namespace)
        check_not_itself(scene, ref)
        found = await self._read(scene, ref)
        if found is None:
            return Done(f"{ref} does not exist yet")
        body = self._body(ref, found)
        if isinstance(body, Done):
            return body
        await self._send(scene, ref, body, dry_run=True)
        return Done(f"Would patch {ref}")

    async def _read(self, scene: Scene, ref: ObjectRef) -> dict[str, Any] | None:
        with refusals(scene, ref):
            return await scene.cluster.get(ref)

    def _body(self, ref: ObjectRef, found: Mapping[str, Any]) -> Mapping[str, Any] | Sequence[Mapping[str, Any]] | Done:
        """Return what is to be sent; or what to report where nothing is. Raises LifecycleError."""
        if self.merge is not None:
            return self.merge if merged(found, self.merge) != found else Done(_unchanged(ref))
        operations = [each.model_dump(by_alias=True, exclude_unset=True, mode="json") for each in self.json_ or ()]
        try:
            result, kept = patched(found, operations)
        except TestFailedError as failed:
            return Done(f"Left {ref} as it is: the test of {failed} does not hold")
        except PatchError as error:
            raise LifecycleError(
                f"{ref} cannot be patched: {error}", hint="Correct the path, or add what is above it."
            ) from error
        if result == found:
            return Done(_unchanged(ref))
        version = found["metadata"].get("resourceVersion")
        return [{"op": "test", "path": "/metadata/resourceVersion", "value": version}, *kept]

    async def _send(
        self,
        scene: Scene,
        ref: ObjectRef,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        dry_run: bool = False,
    ) -> dict[str, Any] | None:
        """Send the patch; its values are removed from a refusal if they are those of a Secret."""
        written = {"apiVersion": self.version, "kind": self.kind, "metadata": {"name": ref.name}}
        with refusals(scene, ref, {**written, **self._written()}):
            if isinstance(body, Mapping):
                return await writer(scene, dry_run=dry_run).merge(ref, body)
            return await writer(scene, dry_run=dry_run).json_patch(ref, body)

    def _written(self) -> dict[str, Any]:
        """Return the data that the patch writes, in the form of an object, for what removes the secrets of messages."""
        if self.merge is not None:
            return {key: value for key, value in self.merge.items() if key in ("data", "stringData") and value}
        values = [each.value for each in self.json_ or () if each.path.startswith(("/data", "/stringData"))]
        texts: dict[str, str] = {}
        for number, value in enumerate(values):
            texts |= value if isinstance(value, Mapping) else {str(number): value}
        return {"data": texts, "stringData": texts}

    async def _has_changed(self, scene: Scene, ref: ObjectRef, found: Mapping[str, Any], error: LifecycleError) -> bool:
        """Whether the API server refused the patch because somebody else has changed the object since it was read."""
        cause = error.__cause__
        if not isinstance(cause, KubeError) or cause.status not in _REJECTED:
            return False
        now = await self._read(scene, ref)
        return now is None or changed(found, now)


def _unchanged(ref: ObjectRef) -> str:
    return f"{ref} is as the patch makes it already"
