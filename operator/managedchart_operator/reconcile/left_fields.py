"""Finds the fields of a release that are left to other managers while helm applies it: `spec.conflicts.leave`, and replicas.

helm takes every field over that the chart sets (`--force-conflicts`), which is wrong for fields that another manager holds by
design. The number of replicas is left to whoever set it by the subresource `scale`: always while an autoscaler targets the
object, and otherwise as long as the chart's own value is what it was in the deployed revision. So the chart wins when its value
changes; else one `kubectl scale` would hide the chart's value for good.

A field that another manager holds is left out of what helm applies. But where helm alone owns it, server-side apply would then
reset it, and where helm replaces objects, what is left out is lost. There helm applies the value that the object has.
Source: Kubernetes documentation, "Server-Side Apply", transferring ownership; measured with helm 4.3.1.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from managedchart_operator.api.conflicts import ConflictPolicy, LeftToManager
from managedchart_operator.errors import HelmError
from managedchart_operator.helm import left_fields
from managedchart_operator.helm.errors.text import in_hook
from managedchart_operator.helm.left_fields import LeftField, LeftFields
from managedchart_operator.helm.manifest_edits import Rendered, chart_values, noted_values
from managedchart_operator.helm.manifest_fields import FieldEdit
from managedchart_operator.helm.storage import deployed_of
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.discovery import group_of
from managedchart_operator.kube.field_owners import OwnedField, Path, is_key, matches, value_at
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.adopted import place_of
from managedchart_operator.reconcile.autoscalers import (
    Autoscalers,
    Place,
    autoscalers_in,
    horizontal_autoscalers,
    other_autoscalers,
)
from managedchart_operator.reconcile.owned_fields import OwnedFields
from managedchart_operator.reconcile.release_run import ReleaseRun

SCALE = "scale"
FAIL_HINT = (
    "Set spec.conflicts.policy: Force to let Helm take these fields over, or leave them to their manager: name it in "
    "spec.conflicts.leave."
)
Field = tuple[ObjectRef, Path]
REPLICAS: Path = ("f:spec", "f:replicas")
# The kinds that an autoscaler of Kubernetes can target; others show by who has scaled them.
_SCALABLE = frozenset(
    {("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "ReplicaSet"), ("", "ReplicationController")}
)


@dataclass(frozen=True, slots=True)
class Left:
    """A field that is left to its manager."""

    ref: ObjectRef
    path: Path
    held: bool
    """Whether a manager other than helm holds it."""
    autoscalers: tuple[ObjectRef, ...] = ()
    """The autoscalers for which it is left."""
    while_unchanged: bool = False
    """Whether, without an autoscaler, it is left only while the chart's own value is what it was."""


def fields_left(
    fields: Mapping[ObjectRef, Sequence[OwnedField]],
    objects: Iterable[ObjectRef],
    *,
    rules: Sequence[LeftToManager],
    autoscalers: Autoscalers,
) -> list[Left]:
    """Return which fields of the objects are left to their managers; `fields` are those of managers other than helm."""
    left: dict[tuple[ObjectRef, Path], Left] = {}
    for ref in objects:
        targeting = tuple(autoscalers.get(place_of(ref), ()))
        for owned in fields.get(ref, ()):
            key = (ref, owned.path)
            if is_key(owned.path):
                continue
            if any(_applies(rule, ref, owned) for rule in rules):
                left[key] = Left(ref, owned.path, held=True)
            elif owned.manager.subresource == SCALE and key not in left:
                left[key] = Left(ref, owned.path, held=True, autoscalers=targeting, while_unchanged=True)
        if targeting and not any(each.autoscalers == targeting for each in left.values() if each.ref == ref):
            left.setdefault((ref, REPLICAS), Left(ref, REPLICAS, held=False, autoscalers=targeting))
    return list(left.values())


def _applies(rule: LeftToManager, ref: ObjectRef, owned: OwnedField) -> bool:
    """Whether a rule of the spec leaves a field to this manager."""
    if rule.subresource is not None and rule.subresource != owned.manager.subresource:
        return False
    if rule.managers is not None and owned.manager.name not in rule.managers:
        return False
    group, kind = ref.group_kind
    if rule.target and not rule.target.matches(group=group, kind=kind, namespace=ref.namespace, name=ref.name):
        return False
    return rule.paths is None or any(matches(owned.path, pointer) for pointer in rule.paths)


async def fields_to_leave(
    run: ReleaseRun, owned: OwnedFields, *, client_side: bool, target: StoredRelease | None = None
) -> LeftFields:
    """Return the fields that helm leaves to their managers; `target` is the revision that a rollback returns to.

    `client_side` says that helm does not use server-side apply. Raises KubeError.
    """
    fields = owned.of_others
    autoscalers = await _autoscalers(run, owned, fields, target)
    left = fields_left(fields, owned.metadata, rules=run.spec.conflicts.leave, autoscalers=autoscalers)
    restored = await _left_by(target, owned, namespace=run.namespace) if target else {}
    recreated = await _left_in_missing(target, owned, namespace=run.namespace) if target else {}
    if not left and not restored and not recreated:
        return LeftFields(run.namespace)
    before = target or await _deployed(run, owned)
    charted = await _chart_values(before, left, namespace=run.namespace) if before else {}
    by_value = {(each.ref, each.path) for each in left if client_side or not each.held}
    live = await _live_values(run, by_value | (restored.keys() if client_side else set()))
    found: defaultdict[ObjectRef, list[LeftField]] = defaultdict(list)
    own = {place_of(ref) for ref in owned.metadata}
    for each in left:
        key = (each.ref, each.path)
        if key in by_value and key not in live:
            continue  # the object has no such field
        field = left_field(each, value=live.get(key), charted=charted.get(key), own=own)
        if field is not None:
            found[each.ref].append(field)
    for (ref, path), value in restored.items():
        if client_side or not any(field.path == path for field in fields.get(ref, ())):
            edit = FieldEdit(path, live.get((ref, path), value), insert=True)
            found[ref].append(LeftField(edit))
    places = {_place(ref): tuple(edits) for ref, edits in found.items()} | recreated
    return LeftFields(run.namespace, tuple(places.items()))


@asynccontextmanager
async def explained_conflicts(run: ReleaseRun) -> AsyncIterator[None]:
    """Add to a refusal for the sake of another manager's fields which part of the spec decides about them."""
    try:
        yield
    except HelmError as error:
        fails = run.spec.conflicts.policy is ConflictPolicy.FAIL and not in_hook(error.text)
        if error.reason is Reason.FIELD_CONFLICT and fails:
            error.hint = FAIL_HINT
        raise


def left_field(each: Left, *, value: str | None, charted: str | None, own: Container[Place]) -> LeftField | None:
    """Return how a field is left; None where it is the chart's.

    `value` is what helm applies instead of leaving it out, `charted` the chart's value in the deployed revision, both as JSON.
    `own` are the objects of the release: an upgrade may remove an autoscaler that is one of them.
    """
    # Written also where the chart has stopped rendering the field: what is missing would be reset or lost there.
    edit = FieldEdit(each.path, value, insert=value is not None)
    if each.autoscalers:
        removable = [ref for ref in each.autoscalers if place_of(ref) in own]
        if len(removable) < len(each.autoscalers):
            return LeftField(edit)
        return LeftField(replace(edit, only_if=charted), tuple(map(_place, removable)))
    if not each.while_unchanged:
        return LeftField(edit)
    return None if charted is None else LeftField(replace(edit, only_if=charted))


async def _autoscalers(
    run: ReleaseRun,
    owned: OwnedFields,
    fields: Mapping[ObjectRef, Sequence[OwnedField]],
    target: StoredRelease | None,
) -> Autoscalers:
    """Return the autoscalers in the cluster, and those that a rollback to the target makes again. Raises KubeError."""
    scaled = {ref for ref, each in fields.items() if any(field.manager.subresource == SCALE for field in each)}
    scalable = {ref for ref in owned.metadata if ref.group_kind in _SCALABLE} | scaled
    if not scalable:
        return {}
    restored = await asyncio.to_thread(autoscalers_in, target.manifest, run.namespace) if target else {}
    found = {**restored, **await horizontal_autoscalers(run.objects, (ref.namespace for ref in scalable))}
    if without := [ref for ref in scaled if place_of(ref) not in found]:
        found |= await other_autoscalers(run.objects, (ref.namespace for ref in without))
    return found


async def _deployed(run: ReleaseRun, owned: OwnedFields) -> StoredRelease | None:
    """Return the deployed revision, or the newest if none is. Raises KubeError."""
    deployed = deployed_of(run.storage.revisions)
    if deployed is None or deployed == run.newest:
        return owned.stored
    try:
        return await run.storage.read(deployed)
    except HelmError:
        return owned.stored


async def _live_values(run: ReleaseRun, wanted: Iterable[Field]) -> dict[Field, str]:
    """Return the values that fields have in the cluster, as JSON. Raises KubeError."""
    objects: dict[ObjectRef, Any] = {}
    values = {}
    for ref, path in wanted:
        if ref not in objects:
            objects[ref] = await run.objects.get(ref)
        present, value = value_at(objects[ref], path)
        if present:
            values[ref, path] = _json(value)
    return values


async def _chart_values(stored: StoredRelease, left: Sequence[Left], *, namespace: str) -> dict[Field, str]:
    """Return what the chart itself rendered for fields in a revision, as JSON."""
    places = {each.ref: _place(each.ref) for each in left}

    def wanted(rendered: Rendered) -> list[Path]:
        return [each.path for each in left if places[each.ref].is_of(rendered, release_namespace=namespace)]

    found = await asyncio.to_thread(chart_values, stored.manifest, wanted)
    return {
        (each.ref, each.path): _json(values[each.path])
        for rendered, values in found.items()
        for each in left
        if each.path in values and places[each.ref].is_of(rendered, release_namespace=namespace)
    }


async def _left_by(target: StoredRelease, owned: OwnedFields, *, namespace: str) -> dict[Field, str]:
    """Return the fields that a revision left to their managers, with what the chart rendered for them, as JSON.

    Its manifest lacks them, so a rollback to it would reset those that nobody else holds any more.
    """
    noted = await asyncio.to_thread(noted_values, target.manifest)
    return {
        (ref, path): _json(value)
        for rendered, values in noted.items()
        for ref in owned.metadata
        if _place(ref).is_of(rendered, release_namespace=namespace)
        for path, value in values.items()
    }


async def _left_in_missing(
    target: StoredRelease, owned: OwnedFields, *, namespace: str
) -> dict[left_fields.Place, tuple[LeftField, ...]]:
    """Return how fields that a revision left to their managers are restored in objects that the cluster lacks."""
    noted = await asyncio.to_thread(noted_values, target.manifest)
    existing = [_place(ref) for ref in owned.metadata]
    return {
        left_fields.Place(each.group, each.kind, each.namespace or namespace, each.name): tuple(
            LeftField(FieldEdit(path, _json(value), insert=True)) for path, value in values.items()
        )
        for each, values in noted.items()
        if not any(place.is_of(each, release_namespace=namespace) for place in existing)
    }


def _place(ref: ObjectRef) -> left_fields.Place:
    return left_fields.Place(group_of(ref.api_version), ref.kind, ref.namespace, ref.name)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
