"""Which chart an attempt is about, as the columns CHART and VERSION show it where nothing is deployed."""

from pathlib import Path
from typing import Any

import pytest

from managedchart_operator.api.status import AttemptStatus
from managedchart_operator.charts.metadata import ChartMetadata
from managedchart_operator.charts.store import Chart
from managedchart_operator.reconcile.attempted_chart import note_asked, note_fetched


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"chart": {"repository": "https://x", "name": "podinfo", "version": "6.x"}}, ("podinfo", "6.x")),
        ({"chart": {"oci": "oci://registry/charts/podinfo", "version": "6.14.1"}}, ("podinfo", "6.14.1")),
        ({"chart": {"path": "/charts/podinfo"}}, ("podinfo", None)),
        ({"chart": {"path": "/charts/podinfo-6.14.1.tgz"}}, ("podinfo-6.14.1", None)),
        ({"chart": {"contents": "H4sI"}}, (None, None)),
        ({"chart": {"path": 3}}, (None, None)),
        ({"chart": "podinfo"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_before_it_is_fetched_it_is_what_the_spec_asks_for(
    spec: dict[str, Any], shown: tuple[str | None, str | None]
) -> None:
    attempt = AttemptStatus(chart="former", chart_version="1")
    note_asked(attempt, spec)
    assert (attempt.chart, attempt.chart_version) == shown


def test_after_that_it_is_the_chart() -> None:
    attempt = AttemptStatus(chart="podinfo", chart_version="6.x")
    note_fetched(attempt, None)
    assert attempt.chart_version == "6.x"
    note_fetched(
        attempt, Chart(Path("/cache"), ChartMetadata("podinfo", "6.14.1", None), "d", late_hooks=False, ttl_jobs=False)
    )
    assert (attempt.chart, attempt.chart_version) == ("podinfo", "6.14.1")
