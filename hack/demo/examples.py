"""Loads the ManagedCharts and LifecycleProfiles of examples/, with local addresses in them.

The files name /charts, a chart repository and an OCI registry. The demo and the tests have neither a pod nor the internet, so
all three are local there. Nothing else is changed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from places import ROOT

FOLDER = ROOT / "examples"
# One for each kind of failure; the first is shown whole.
FAIL_ON_PURPOSE = ("broken-image", "broken-crash", "broken-hook", "broken-size", "broken-values")
# Of the examples with actions, the one of which it is shown what they have done.
WITH_ACTION = "hello-restarted"

CHARTS = "/charts"
REGISTRY = "oci://registry.example.com/charts"


@dataclass(frozen=True)
class Local:
    """Where things are: the folder that /charts stands for, the URLs of the repository and of the registry."""

    charts: Path
    repository: str
    registry: str

    def path(self, path: str) -> str:
        """A path of the operator's pod, on this machine."""
        return str(self.charts) + path.removeprefix(CHARTS)


def files() -> list[Path]:
    """The example files in their order."""
    return sorted(FOLDER.glob("[0-9][0-9]-*.yaml"))


def is_chart(document: dict[str, Any]) -> bool:
    """Whether an example is a ManagedChart, and no LifecycleProfile."""
    return bool(document["kind"] == "ManagedChart")


def load(file: Path, local: Local) -> dict[str, Any]:
    """Return the ManagedChart or LifecycleProfile of an example, for this machine."""
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    if not is_chart(document):
        return document
    spec = document["spec"]
    chart = spec["chart"]
    if "path" in chart:
        chart["path"] = local.path(chart["path"])
    if "repository" in chart:
        chart["repository"] = local.repository
    if "oci" in chart:
        chart["oci"] = local.registry + chart["oci"].removeprefix(REGISTRY)
        chart["plainHTTP"] = True  # the local registry has no certificate
    if "valuesFiles" in spec:
        spec["valuesFiles"] = [local.path(path) for path in spec["valuesFiles"]]
    return document
