"""The list of reasons is closed: no other reason is used, and each one is used."""

import re
from pathlib import Path

import pytest

import managedchart_operator
from managedchart_operator.reasons import Reason

SOURCES = [path for path in Path(managedchart_operator.__file__).parent.rglob("*.py") if path.name != "reasons.py"]


@pytest.fixture(scope="module")
def used() -> set[str]:
    return {name for path in SOURCES for name in re.findall(r"\bReason\.([A-Z_]+)", path.read_text())}


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_every_reason_is_set_somewhere(reason: Reason, used: set[str]) -> None:
    """An alert for a reason that is never set would never fire."""
    assert reason.name in used
