"""The committed CRD matches the models, under the names of `resource`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from managedchart_operator.api import resource
from managedchart_operator.lifecycle.definitions import DEFINITIONS, lifecycleprofile, managedchart, render

ROOT = Path(__file__).parents[3]
# kubectl keeps a copy of what it applies in an annotation of at most 256 KiB.
MOST_BYTES = 200_000


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_committed_files_are_up_to_date(name: str) -> None:
    """If not: make crds."""
    assert (ROOT / "crds" / f"{name}.yaml").read_text() == render(name)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_crds_can_be_applied_by_clients(name: str) -> None:
    assert len(json.dumps(DEFINITIONS[name](), separators=(",", ":"))) < MOST_BYTES


def test_both_crds_have_the_same_actions() -> None:
    def actions(crd: dict[str, Any], *path: str) -> Any:
        found = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for part in path:
            found = found["properties"][part]
        return found

    assert actions(managedchart(), "lifecycle", "actions")["items"] == actions(lifecycleprofile(), "actions")["items"]


def test_profiles_keep_unknown_fields() -> None:
    """The API server would drop a misspelt condition, and the profile would match more."""
    spec = lifecycleprofile()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    match = spec["properties"]["match"]
    for part in (spec, match, match["properties"]["namespaces"], match["properties"]["labels"]):
        assert part["x-kubernetes-preserve-unknown-fields"] is True


def test_the_file_says_how_it_is_generated() -> None:
    first_lines = render("managedchart").splitlines()[:3]

    assert first_lines[0].startswith("# Generated")
    assert (
        "python -m managedchart_operator.lifecycle.definitions managedchart > crds/managedchart.yaml" in first_lines[1]
    )


def test_the_file_reads_back_as_the_managedchart() -> None:
    """No YAML 1.1 surprises (True for "True"), no anchors."""
    text = render("managedchart")

    assert yaml.safe_load(text) == managedchart()
    assert "&id" not in text


def test_names() -> None:
    crd = managedchart()

    assert crd["metadata"]["name"] == "managedcharts.managedchart.dev"
    assert crd["spec"]["group"] == resource.GROUP
    assert crd["spec"]["scope"] == "Namespaced"
    assert crd["spec"]["names"] == {
        "kind": "ManagedChart",
        "listKind": "ManagedChartList",
        "plural": "managedcharts",
        "singular": "managedchart",
        "shortNames": ["mc"],
        "categories": ["helm"],
    }


def test_gitops_tools_do_not_prune_the_crd() -> None:
    """It would delete every ManagedChart."""
    annotations = managedchart()["metadata"]["annotations"]

    assert annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
    assert annotations["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"


def test_one_version_has_a_status_subresource() -> None:
    (version,) = managedchart()["spec"]["versions"]

    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert version["subresources"] == {"status": {}}


def test_columns() -> None:
    (version,) = managedchart()["spec"]["versions"]
    columns = version["additionalPrinterColumns"]

    assert [c["name"].upper() for c in columns if not c.get("priority")] == [
        "READY", "REASON", "CHART", "VERSION", "REVISION", "AGE",
    ]  # fmt: skip
    assert [c["name"].upper() for c in columns if c.get("priority") == 1] == ["PHASE", "STATUS"]


def test_the_phase_can_be_selected() -> None:
    (version,) = managedchart()["spec"]["versions"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]

    assert version["selectableFields"] == [{"jsonPath": ".status.phase"}]
    assert status["phase"]["type"] == "string"


def test_columns_show_existing_fields() -> None:
    """A column of a misspelt field stays empty without an error."""
    (version,) = managedchart()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    condition = schema["properties"]["status"]["properties"]["conditions"]["items"]
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].lstrip(".")
        if path == "metadata.creationTimestamp":
            continue
        if path.startswith("status.conditions["):
            assert path.rpartition("].")[2] in condition["properties"]
            continue
        union = re.search(r"\['(\w+)','(\w+)'\]", path)
        for choice in union.groups() if union else [""]:
            node = schema
            for part in re.sub(r"\[.*?\]", f".{choice}", path).split("."):
                node = node["properties"][part]
            assert node["type"] == column["type"]


def test_kubectl_explain_names_every_default() -> None:
    """It shows nothing of a schema's defaults."""
    (version,) = managedchart()["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert spec["atomic"]["description"].endswith("Default: true.")
    assert spec["timeout"]["description"].endswith("Default: 180s.")
    assert spec["retry"]["properties"]["limit"]["description"].endswith("Default: 5.")
    for name, part in {**spec, **spec["retry"]["properties"]}.items():
        if part.get("default") not in (None, {}):
            assert "default" in part["description"].lower(), name
