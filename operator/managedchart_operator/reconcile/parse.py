"""Reads a spec as the API server stored it.

The CRD's schema has validated it already; what still fails, such as an object stored before a rule, is reported by field.
Fields that the operator does not know are left out: they come from a newer CRD, since the API server refuses misspelt ones.
"""

import contextlib
import logging
from dataclasses import replace

from pydantic import ValidationError

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import Action, ChartSource, DeletionPolicy, ManagedChartSpec
from managedchart_operator.errors import SpecError
from managedchart_operator.helm.values import MAX_NODES
from managedchart_operator.nesting import MAX_LEVELS, count, too_deep

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


def _field(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, ("spec", *place)))


def spec_for_removal(chart: ManagedChart) -> ManagedChartSpec:
    """Return the spec, or if it cannot be read, as much of it as an uninstall needs: nothing may block a deletion.

    An uninstall needs no values, the only part of a spec whose nesting the schema does not limit.
    """
    for spec in (chart.spec, {**chart.spec, "values": {}}):
        with contextlib.suppress(SpecError):
            return parse_spec(replace(chart, spec=spec))
    orphan = chart.spec.get("deletionPolicy") == DeletionPolicy.ORPHAN
    return ManagedChartSpec(
        chart=ChartSource(path="/unreadable"),
        action=Action.DESTROY,
        deletion_policy=DeletionPolicy.ORPHAN if orphan else DeletionPolicy.UNINSTALL,
    )
