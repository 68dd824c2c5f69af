"""`exists`: objects exist, with the labels and in the number that is expected."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field, model_validator

from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.targets import KindRef, Selector, find, get_command, name_only, what
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.reasons import Reason


class Exists(KindRef, Verb):
    """Checks that objects exist, or that there are none."""

    verb: ClassVar[str] = "exists"
    writes: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("get", "list")

    name: str | None = Field(default=None, min_length=1, max_length=253)
    """Name of the object; without name and selector all objects of the kind count."""
    selector: Selector | None = None
    """Labels of the objects."""
    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace of the objects; default the release's. Not for cluster-wide kinds."""
    count: int = Field(default=1, ge=0, le=10_000, strict=True)
    """How many must exist at least; 0 for none at all."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.name is not None and self.count > 1:
            raise ValueError("one name means one object: leave out count, or use a selector")
        return self

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its kind."""
        if problem := self.kind_problem():
            yield f"kind: {problem}"

    async def run(self, scene: Scene) -> Done:
        """Count the objects. Raises LifecycleError, KubeError."""
        labels = self.selector.text() if self.selector else ""
        namespace = self.namespace or scene.namespace
        found = await find(scene.cluster, self, name=self.name, labels=labels, namespace=namespace, keep=name_only)
        where = await scene.cluster.resolve(ObjectRef(self.version, self.kind, self.name or "", namespace))
        these = what(self, where.namespace, name=self.name, selector=self.selector)
        # Without the name: of what does not exist, those that do show what is misspelt.
        hint = f"See what exists: {get_command(replace(where, name=''), labels=labels)}"
        if self.count == 0 and found:
            raise _failed(f"{these} exists, but must not", hint)
        if len(found) < self.count:
            if self.count > 1:
                raise _failed(f"{these}: {len(found)} found, at least {self.count} needed", hint)
            raise _failed(f"{these} does not exist" if self.name else f"There is no {these}", hint)
        which = f"{self.kind} {self.name}" if self.name else f"{self.kind} with {labels}" if labels else self.kind
        return Done(f"{len(found)} {which}" if self.count else f"No {which}")


def _failed(message: str, hint: str) -> LifecycleError:
    return LifecycleError(message, reason=Reason.LIFECYCLE_FAILED, hint=hint)
