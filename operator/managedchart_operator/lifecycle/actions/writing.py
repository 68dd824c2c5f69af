"""What all writing verbs do alike: which objects they leave alone, and how a refusal of the API server reads.

A tenant reads the messages, so they name the object and the missing permission, and never repeat data of a Secret: what the
API server quotes is removed before it is shortened.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from managedchart_operator.api import resource
from managedchart_operator.errors import KubeError, LifecycleError
from managedchart_operator.hints import Names
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.single_writes import Writer
from managedchart_operator.lifecycle.actions.api_errors import permission_of, worded
from managedchart_operator.lifecycle.actions.scene import FIELD_MANAGER, Scene
from managedchart_operator.lifecycle.actions.targets import KindRef, get_command
from managedchart_operator.reasons import Reason

CRD = "CustomResourceDefinition"
# As many names as fit into a condition's message beside the rest.
_NAMED = 5


def writer(scene: Scene, *, dry_run: bool = False) -> Writer:
    """Return what writes as the action's identity and field manager."""
    return Writer(scene.cluster, FIELD_MANAGER, dry_run)


def check_not_itself(scene: Scene, ref: ObjectRef) -> None:
    """Raise LifecycleError for the ManagedChart of the action: a change of it would start the run again, for ever."""
    chart = scene.context.chart.key
    if ref.group_kind == (resource.GROUP, resource.KIND) and (ref.namespace, ref.name) == (chart.namespace, chart.name):
        raise LifecycleError(
            f"{ref} is the ManagedChart of this action, which cannot change itself",
            reason=Reason.LIFECYCLE_INVALID,
            transient=False,
            hint="Make the change where the ManagedChart is written.",
        )


def missing(ref: ObjectRef) -> LifecycleError:
    """Return the error for an object that does not exist."""
    return LifecycleError(
        f"{ref} does not exist",
        reason=Reason.LIFECYCLE_FAILED,
        hint=f"Correct name and namespace in the action: {get_command(replace(ref, name=''))}",
    )


@contextlib.contextmanager
def refusals(scene: Scene, ref: ObjectRef, *written: Mapping[str, Any]) -> Iterator[None]:
    """Raise LifecycleError that names the object, for what the API server refuses in the block.

    `written` are the objects that are written: their secrets are removed from the message. A missing permission stays a
    KubeError, which `running` words with the command that grants it.
    """
    try:
        yield
    except KubeError as error:
        if not error.answer or error.reason is Reason.KIND_MISSING or permission_of(error) is not None:
            raise
        redact = scene.context.release.redactor([dict(each) for each in written])
        found = worded(error, redact, about=str(ref), names=Names(ref.kind, ref.name, ref.namespace))
        if found.reason is Reason.FIELD_CONFLICT:
            raise LifecycleError(
                found.message.replace("that the chart sets", "that the action sets"),
                reason=found.reason,
                transient=False,
                hint="Leave these fields out, or set force: true to take them over.",
            ) from error
        raise found from error


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a write has changed the object: the API server gives a changed one another resourceVersion."""
    versions = [each["metadata"].get("resourceVersion") for each in (before, after)]
    return versions[0] != versions[1] or versions[0] is None


def named(refs: Sequence[ObjectRef]) -> str:
    """Return the first of the objects for a message, and how many more there are."""
    more = f" and {len(refs) - _NAMED} more" if len(refs) > _NAMED else ""
    return ", ".join(map(str, refs[:_NAMED])) + more


def these(scene: Scene, kind: KindRef, refs: Sequence[ObjectRef], *, chosen: bool) -> str:
    """Return the objects for a message; `chosen` says that a selector has chosen them.

    A tenant reads what an account of an administrator sees: how many, but not which.
    """
    return f"{len(refs)} {kind.kind}" if chosen and scene.foreign else named(refs)


def about(kind: KindRef, name: str | None, namespace: str) -> ObjectRef:
    """Return what a message is about: one object, or several of a kind."""
    return ObjectRef(kind.version, kind.kind, name or "*", namespace)


def ref_of(found: Mapping[str, Any]) -> ObjectRef:
    """Return the reference of an object that the API server has."""
    meta = found["metadata"]
    return ObjectRef(found["apiVersion"], found["kind"], meta["name"], meta.get("namespace") or "")
