"""deploy/lifecycles: the operator accepts each profile, and the API server keeps each of its fields."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from managedchart_operator.lifecycle.profiles.profile import read_profile

FOLDER = REPOSITORY / "deploy" / "lifecycles"
FILES = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "kustomization.yaml"})
SCHEMA: dict[str, Any] = yaml.safe_load((REPOSITORY / "crds" / "lifecycleprofile.yaml").read_text())["spec"][
    "versions"
][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def _unknown(value: Any, schema: dict[str, Any], where: str = "spec") -> Iterator[str]:
    """Yield the fields that a schema does not name."""
    if isinstance(value, list):
        for each in value:
            yield from _unknown(each, schema["items"], f"{where}[]")
    elif isinstance(value, dict) and "properties" in schema:
        for name, each in value.items():
            if name in schema["properties"]:
                yield from _unknown(each, schema["properties"][name], f"{where}.{name}")
            else:
                yield f"{where}.{name}"


def test_all_are_in_the_kustomization() -> None:
    assert yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"] == [file.name for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_the_profile_is_accepted(file: Any) -> None:
    """It is found by the name of the chart, and by its own name, which is that of the file."""
    body = yaml.safe_load(file.read_text())

    profile = await read_profile({**body, "metadata": {**body["metadata"], "uid": "u"}})

    assert profile.error is None
    assert profile.actions
    assert profile.name == file.stem
    assert profile.match is not None
    assert profile.match.chart_names
    assert list(_unknown(body["spec"], SCHEMA)) == []
    assert file.read_text().startswith("# The difficulty: ")
