"""Times as Kubernetes writes them, and invalid ones."""

from datetime import UTC, datetime
from typing import Any

import pytest

from managedchart_operator.times import read_time, write_time


@pytest.mark.parametrize("text", ["2026-01-01T12:00:00Z", "2026-01-01T13:00:00+01:00", "2026-01-01T12:00:00"])
def test_a_time_is_read_in_utc(text: str) -> None:
    assert read_time(text) == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", [None, "", "soon", 5, {}, "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_an_invalid_time_is_none(text: Any) -> None:
    """The API server accepts years that Python cannot represent."""
    assert read_time(text) is None


def test_times_are_written_as_kubernetes_writes_them() -> None:
    moment = datetime.fromisoformat("2026-01-02T03:04:05.678+02:00")
    assert write_time(moment) == "2026-01-02T01:04:05Z"
    assert datetime.fromisoformat(write_time()).tzinfo is UTC
