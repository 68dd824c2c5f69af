"""docs/lifecycles.md has every field of a LifecycleProfile, and its example is one that the operator accepts."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from managedchart_operator.api.schema import structural
from managedchart_operator.lifecycle.profiles.model import LifecycleProfileSpec
from managedchart_operator.lifecycle.profiles.profile import read_profile

PAGE = (REPOSITORY / "docs" / "lifecycles.md").read_text()
SECTION = PAGE.partition("\n## Profiles\n")[2].partition("\n## ")[0]
# As Kubernetes has it, and explained in a word.
_SELECTORS = ("match.namespaces.selector", "match.labels")


def _fields(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        yield f"{where}{name}", part
        if f"{where}{name}" not in _SELECTORS:
            yield from _fields(part, f"{where}{name}.")


FIELDS = dict(_fields(structural(LifecycleProfileSpec)))
ROWS = {cells[1].strip(" `"): cells for cells in (line.split("|") for line in SECTION.splitlines()) if len(cells) == 6}


def test_every_field_has_a_row() -> None:
    assert ROWS.keys() - {"Field", "---"} == FIELDS.keys()


@pytest.mark.parametrize("field", [name for name, part in FIELDS.items() if part.get("default") not in (None, {}, "")])
def test_the_row_has_the_default(field: str) -> None:
    assert ROWS[field][3].strip() == f"`{FIELDS[field]['default']}`"


async def test_the_example_is_accepted() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
    body = yaml.safe_load(text)

    profile = await read_profile({**body, "metadata": {**body["metadata"], "uid": "u"}})

    assert profile.error is None
    assert [each.name for each in profile.actions] == ["quota", "no-crash-loops"]
