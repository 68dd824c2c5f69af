"""Reads a spec as the API server stored it.

Purpose: the CRD's schema has checked it already; what still fails (a rule of a newer CRD, an object stored before a rule) is
told by field. Boundary: pure.
"""

from pydantic import ValidationError

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import Action, ChartSource, DeletionPolicy, ManagedChartSpec
from managedchart_operator.errors import SpecError


def parse_spec(chart: ManagedChart) -> ManagedChartSpec:
    """Return the spec. Raises SpecError that names each wrong field."""
    try:
        return ManagedChartSpec.model_validate(chart.spec)
    except ValidationError as error:
        problems = "; ".join(
            f"spec.{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False)
        )
        raise SpecError(problems, hint="correct the named fields; docs/fields.md tells what each accepts") from error


def spec_for_removal(chart: ManagedChart) -> ManagedChartSpec:
    """Return the spec, or for one that cannot be read as much of it as a removal needs: nothing may hold up a deletion."""
    try:
        return parse_spec(chart)
    except SpecError:
        orphan = chart.spec.get("deletionPolicy") == DeletionPolicy.ORPHAN
        return ManagedChartSpec(
            chart=ChartSource(path="/unreadable"),
            action=Action.DESTROY,
            deletion_policy=DeletionPolicy.ORPHAN if orphan else DeletionPolicy.UNINSTALL,
        )
