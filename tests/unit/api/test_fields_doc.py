"""docs/fields.md lists every field of the spec, with its default."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from managedchart_operator.api.schema import structural
from managedchart_operator.api.spec import ManagedChartSpec

DOCUMENT = Path(__file__).parents[3] / "docs" / "fields.md"


def _fields(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        path = f"{where}{name}"
        yield path, part
        yield from _fields(part, f"{path}.")
        yield from _fields(part.get("items", {}), f"{path}[].")


FIELDS = dict(_fields(structural(ManagedChartSpec)))


def _rows() -> dict[str, list[str]]:
    """The table rows by the field in their first cell. An escaped bar is text of its cell."""
    rows = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.replace("\\|", "¦").strip("|").split("|")]
        if line.startswith("| `"):
            rows[cells[0].strip("`")] = cells
    return rows


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_has_a_row(field: str) -> None:
    assert field in _rows()


def test_every_row_is_about_an_existing_field() -> None:
    assert _rows().keys() <= FIELDS.keys()


@pytest.mark.parametrize("field", [name for name, part in FIELDS.items() if part.get("default") not in (None, {})])
def test_the_row_has_the_default(field: str) -> None:
    default = FIELDS[field]["default"]
    expected = str(default).lower() if isinstance(default, bool) else str(default)

    assert _rows()[field][2] == f"`{expected}`"


@pytest.mark.parametrize("field", [name for name, part in FIELDS.items() if "enum" in part])
def test_the_row_has_the_choices(field: str) -> None:
    for choice in FIELDS[field]["enum"]:
        assert choice in _rows()[field][1]
