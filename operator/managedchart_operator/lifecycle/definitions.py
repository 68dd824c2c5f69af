"""The CustomResourceDefinitions with the schemas of the verbs, and the command that writes their files.

    python -m managedchart_operator.lifecycle.definitions managedchart > crds/managedchart.yaml
    python -m managedchart_operator.lifecycle.definitions lifecycleprofile > crds/lifecycleprofile.yaml

A test compares the committed files with the models.
"""

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from managedchart_operator.api import crd
from managedchart_operator.api.lifecycle import OPEN_OBJECT
from managedchart_operator.api.schema import describe_defaults, structural
from managedchart_operator.lifecycle.actions.registry import Action
from managedchart_operator.lifecycle.profiles.model import (
    ACCEPTED,
    KIND,
    PLURAL,
    LifecycleProfileSpec,
    LifecycleProfileStatus,
)


@cache
def action_schema() -> dict[str, Any]:
    """Return the schema of one action.

    Its objects keep fields that are not described, so that the operator can report a misspelt one. Its defaults are only
    described: the API server would write them into every stored action, and a new one would change the digest of a spec.
    """
    return _opened(describe_defaults(structural(Action)))


def _opened(schema: Mapping[str, Any]) -> dict[str, Any]:
    opened = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in opened:
        opened = {**OPEN_OBJECT, **opened}
        opened["properties"] = {name: _opened(part) for name, part in opened["properties"].items()}
    if isinstance(opened.get("items"), dict):
        opened["items"] = _opened(opened["items"])
    return opened


def managedchart_schema() -> dict[str, Any]:
    """Return the schema of ManagedCharts."""
    return crd.root(action_schema())


def managedchart() -> dict[str, Any]:
    """Return the CRD of ManagedCharts."""
    return crd.definition(managedchart_schema())


PROFILE = crd.Names(KIND, PLURAL, "lcp", ("helm",))


def lifecycleprofile_schema() -> dict[str, Any]:
    """Return the schema of LifecycleProfiles.

    Unknown fields are kept, so that the operator can report them: without a misspelt one a profile would match more.
    """
    spec = {**OPEN_OBJECT, **describe_defaults(structural(LifecycleProfileSpec))}
    spec["properties"]["actions"]["items"] = action_schema()
    spec["properties"]["match"] = _opened(spec["properties"]["match"])
    return {
        "description": "What administrators do around the phases of charts, also of those that others own.",
        "type": "object",
        "properties": {"spec": spec, "status": structural(LifecycleProfileStatus)},
        "required": ["spec"],
    }


def lifecycleprofile() -> dict[str, Any]:
    """Return the CRD of LifecycleProfiles."""
    accepted = f'.status.conditions[?(@.type=="{ACCEPTED}")]'
    columns = [
        crd.column("Accepted", f"{accepted}.status", "Whether the operator can carry out the profile"),
        crd.column("Reason", f"{accepted}.reason", "Reason of that"),
        crd.column("Priority", ".spec.priority", "Its place among several profiles", kind="integer"),
        crd.column("Age", ".metadata.creationTimestamp", "When the profile was created", kind="date"),
        {**crd.column("Message", f"{accepted}.message", "What it has, or what is wrong with it"), "priority": 1},
        {**crd.column("Description", ".spec.description", "What the profile is for"), "priority": 1},
    ]
    return crd.definition_of(PROFILE, "Cluster", columns, lifecycleprofile_schema())


DEFINITIONS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "managedchart": managedchart,
    "lifecycleprofile": lifecycleprofile,
}
"""The CRDs by the names of their files."""


def render(file: str) -> str:
    """Return the text of a file in crds/."""
    return crd.render(DEFINITIONS[file](), file=file)


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1]))
