"""Reads a spec as the API server stored it.

The CRD's schema has validated it already; what still fails, such as an object stored before a rule, is reported by field.
Fields that the operator does not know are left out: they come from a newer CRD, since the API server drops misspelt ones. Those
of spec.lifecycle it keeps, and they are an error: without its `actions` a chart would be deployed unchecked.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from managedchart_operator.api.lifecycle import LifecycleRef
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.schema import field_names, nearest
from managedchart_operator.api.spec import Action, ChartSource, DeletionPolicy, ManagedChartSpec
from managedchart_operator.errors import SpecError
from managedchart_operator.helm.values import MAX_NODES
from managedchart_operator.nesting import MAX_LEVELS, count, too_deep
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut

# A person corrects the first few.
_NAMED = 8
_LONGEST_NAME = 64

logger = logging.getLogger(__name__)


def parse_spec(chart: ManagedChart) -> ManagedChartSpec:
    """Return the spec. To be called in a thread, since it may have a megabyte. Raises SpecError that names each wrong field."""
    values = chart.spec.get("values")
    if isinstance(values, dict) and count(values, limit=MAX_NODES) > MAX_NODES:
        raise SpecError(
            f"spec.values has more than {MAX_NODES} values",
            hint="Remove values that equal the chart's defaults, and large lists that the chart does not need.",
        )
    if path := too_deep(chart.spec):
        # Checked first: whatever walks through a value level by level fails at some hundred levels.
        raise SpecError(
            f"spec.{path} is nested deeper than {MAX_LEVELS} levels, so the spec cannot be read",
            hint="Flatten these values, or pass them to the chart as one string.",
        )
    _check_lifecycle(chart.spec.get("lifecycle"))
    try:
        return ManagedChartSpec.model_validate(chart.spec)
    except ValidationError as error:
        if unknown := [item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"]:
            fields = ", ".join(_field(place) for place in unknown)
            logger.warning("%s: this operator is older than the CRD and does not know %s", chart.key, fields)
    try:
        return ManagedChartSpec.model_validate(chart.spec, extra="ignore")
    except ValidationError as error:
        problems = [f"{_field(item['loc'])}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()]
        raise SpecError("; ".join(problems), hint="Correct the named fields; see docs/fields.md.") from error


def _check_lifecycle(lifecycle: Any) -> None:
    """Raise SpecError for unknown fields of spec.lifecycle; the API server keeps as many as a megabyte has room for."""
    if not isinstance(lifecycle, dict):
        return
    for place in ((), ("validation",)):
        part: Any = lifecycle
        for name in place:
            part = part.get(name)
        known = field_names(LifecycleRef, *place)
        if isinstance(part, dict) and (misspelt := [name for name in part if name not in known]):
            raise _misspelt(".".join(("spec.lifecycle", *place)), misspelt, known)


def _misspelt(where: str, names: Sequence[str], known: Sequence[str]) -> SpecError:
    fields = [f"{where}.{cut(name, _LONGEST_NAME)}" for name in names[:_NAMED]]
    more = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    near = [
        f"{field} to {meant}" for name, field in zip(names, fields, strict=False) if (meant := nearest(name, known))
    ]
    correct = f"Correct {', '.join(near)}" if near else "Correct the name of the field"
    return SpecError(
        "; ".join(f"{field}: there is no such field: correct its name" for field in fields) + more,
        reason=Reason.LIFECYCLE_INVALID,
        hint=f"{correct}; the fields are {', '.join(known)}.",
    )


def _field(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, ("spec", *place)))


def spec_for_removal(chart: ManagedChart) -> ManagedChartSpec:
    """Return the spec, or if it cannot be read, as much of it as an uninstall needs: nothing may block a deletion.

    An uninstall needs no values, whose nesting the schema does not limit, and no fields that do not exist.
    """
    lifecycle = chart.spec.get("lifecycle")
    # It needs no validation.
    known = (
        {name: lifecycle[name] for name in ("name", "actions") if name in lifecycle}
        if isinstance(lifecycle, dict)
        else {}
    )
    for spec in (chart.spec, {**chart.spec, "values": {}}, {**chart.spec, "values": {}, "lifecycle": known}):
        with contextlib.suppress(SpecError):
            return parse_spec(replace(chart, spec=spec))
    orphan = chart.spec.get("deletionPolicy") == DeletionPolicy.ORPHAN
    return ManagedChartSpec(
        chart=ChartSource(path="/unreadable"),
        action=Action.DESTROY,
        deletion_policy=DeletionPolicy.ORPHAN if orphan else DeletionPolicy.UNINSTALL,
        lifecycle=_lifecycle_for_removal(known),
    )


def misspelt_actions(chart: ManagedChart) -> SpecError | None:
    """Return the error for unknown fields of spec.lifecycle if one of them may be meant to be its actions."""
    lifecycle = chart.spec.get("lifecycle")
    if isinstance(lifecycle, dict) and "actions" not in lifecycle:
        try:
            _check_lifecycle({name: part for name, part in lifecycle.items() if name != "validation"})
        except SpecError as error:
            return error
    return None


def _lifecycle_for_removal(known: dict[str, Any]) -> LifecycleRef:
    """Return as much of spec.lifecycle as can be read: its actions may save data before the uninstall."""
    for name in (None, "validation", "name"):
        known = {field: value for field, value in known.items() if field != name}
        with contextlib.suppress(ValidationError):
            return LifecycleRef.model_validate(known)
    return LifecycleRef()
