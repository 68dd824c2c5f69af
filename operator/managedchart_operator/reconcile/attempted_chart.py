"""Notes in `status.attempt` which chart an attempt is about, so that the resource names it also where nothing is deployed.

Before the chart is fetched it is what the spec asks for, a constraint as it is written; once it is fetched, it is that chart.
Nothing decides by it.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from managedchart_operator.api.status import AttemptStatus
from managedchart_operator.charts.store import Chart


def note_asked(attempt: AttemptStatus, spec: Mapping[str, Any]) -> None:
    """Note the chart that a spec in its wire form asks for; the spec may be invalid."""
    source = spec.get("chart")
    source = source if isinstance(source, Mapping) else {}
    texts = {key: value for key, value in source.items() if isinstance(value, str)}
    place = PurePosixPath(texts.get("path") or texts.get("oci") or "")
    attempt.chart = texts.get("name") or place.name.removesuffix(".tgz") or None
    attempt.chart_version = texts.get("version")


def note_fetched(attempt: AttemptStatus, chart: Chart | None) -> None:
    """Note the chart that was fetched, if it was."""
    if chart is not None:
        attempt.chart, attempt.chart_version = chart.name, chart.version
