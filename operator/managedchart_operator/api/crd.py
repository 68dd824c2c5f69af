"""The CustomResourceDefinition: names, columns and the schema of the models; and whether another schema can store the same.

Everything about a field comes from its model (`schema`); this module only chooses what `kubectl get` shows. The schema of an
action is that of `lifecycle.actions`, which stands above this room; `lifecycle.definitions` joins the two.

The API server drops, without an error, whatever a CRD's schema does not list, so `kube.definition` compares the one of the
cluster at start. Each field must exist there, with its type and all its values; it may have more, because the CRD is upgraded
before the operator. The digest only shows that two schemas differ: who edits a CRD by hand leaves the annotation unchanged.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from managedchart_operator.api import resource
from managedchart_operator.api.schema import describe_defaults, rules, structural
from managedchart_operator.api.spec import RELEASE_NAME_LENGTH, ManagedChartSpec
from managedchart_operator.api.status import ManagedChartStatus

# Deleting the CRD deletes every ManagedChart, so tools keep it when it is no longer among what they apply, or when the
# release of deploy/chart is uninstalled.
_KEPT = {
    "helm.sh/resource-policy": "keep",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
}

SCHEMA_DIGEST = f"{resource.GROUP}/schema-digest"
"""The CRD's annotation with the digest of its schema; an operator that has another schema logs the difference at its start."""

_NAME_FITS = (
    f"has(self.spec.releaseName) || size(self.metadata.name) <= {RELEASE_NAME_LENGTH}",
    (
        f"metadata.name is longer than the {RELEASE_NAME_LENGTH} characters that Helm allows for a release: "
        "shorten it or set spec.releaseName"
    ),
)

# Below this keyword the API server stores also what is not described.
_OPEN = "x-kubernetes-preserve-unknown-fields"
# The schemas of the items of lists and maps, and how a path shows such an item.
_CONTAINED = (("items", "[]"), ("additionalProperties", ".*"))


@dataclass(frozen=True, slots=True)
class Names:
    """How a kind is called in the API."""

    kind: str
    plural: str
    short: str
    categories: tuple[str, ...] = ()

    @property
    def definition(self) -> str:
        """The name of its CustomResourceDefinition."""
        return f"{self.plural}.{resource.GROUP}"


MANAGEDCHART = Names(resource.KIND, resource.PLURAL, "mc", ("helm",))


def definition(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of ManagedCharts as it is applied; `schema` is that of `root`."""
    # Dropped by Kubernetes 1.30, unknown to older versions; generally available since 1.32 (KEP-4358).
    selectable = {"selectableFields": [{"jsonPath": ".status.phase"}]}
    return definition_of(MANAGEDCHART, "Namespaced", _columns(), schema, selectable)


def definition_of(
    names: Names,
    scope: str,
    columns: Sequence[Mapping[str, Any]],
    schema: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a CustomResourceDefinition of this group with one version; `more` is added to that."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.definition, "annotations": {**_KEPT, SCHEMA_DIGEST: digest_of(schema)}},
        "spec": {
            "group": resource.GROUP,
            "names": {
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                "singular": names.kind.lower(),
                "shortNames": [names.short],
                **({"categories": [*names.categories]} if names.categories else {}),
            },
            "scope": scope,
            "versions": [
                {
                    "name": resource.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    **(more or {}),
                    "additionalPrinterColumns": list(columns),
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def root(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the whole object; `action` is that of one action of a lifecycle.

    The API server adds apiVersion, kind and metadata itself.
    """
    spec = describe_defaults(structural(ManagedChartSpec))
    spec["properties"]["lifecycle"]["properties"]["actions"]["items"] = action
    return {
        "description": "A Helm chart and the lifecycle that installs, upgrades, checks and removes it.",
        "type": "object",
        "properties": {
            "spec": spec,
            # Without it kstatus treats an object without a status as finished.
            "status": {**structural(ManagedChartStatus), "default": {"observedGeneration": -1}},
        },
        "required": ["spec"],
        **rules(_NAME_FITS),
    }


def _columns() -> list[dict[str, Any]]:
    ready = '.status.conditions[?(@.type=="Ready")]'
    # The API server shows the first value that a path finds, here that of the release, else that of the attempt. Statuses of
    # earlier operators have no chart in the attempt, and nothing is written to add it.
    shown = ".status['release','attempt']"
    return [
        column("Ready", f"{ready}.status", "Whether the release matches the spec"),
        column("Reason", f"{ready}.reason", "Reason of the condition Ready"),
        column("Chart", f"{shown}.chart", "Name of the deployed chart, else of the one that was to be deployed"),
        column("Version", f"{shown}.chartVersion", "Version of that chart"),
        column("Revision", ".status.release.revision", "Revision of the release", kind="integer"),
        column("Age", ".metadata.creationTimestamp", "When the resource was created", kind="date"),
        {**column("Phase", ".status.phase", "Current phase"), "priority": 1},
        {**column("Status", ".status.summary", "What is going on, or why it failed"), "priority": 1},
    ]


def column(name: str, path: str, description: str, *, kind: str = "string") -> dict[str, Any]:
    """Return a column of `kubectl get`."""
    return {"name": name, "type": kind, "description": description, "jsonPath": path}


def render(crd: Mapping[str, Any], *, file: str) -> str:
    """Return the text of a CRD's file, with the command that writes it."""
    header = (
        "# Generated from the models in operator/managedchart_operator by\n"
        f"#   python -m managedchart_operator.lifecycle.definitions {file} > crds/{file}.yaml\n"
        "# Do not edit by hand.\n"
    )
    return header + yaml.dump(dict(crd), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, and writes a shared part out instead of naming it `&id001`."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def digest_of(schema: Mapping[str, Any]) -> str:
    """Return a digest of a schema without its descriptions, which change nothing of what the API server does."""
    text = json.dumps(_without_descriptions(schema), sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def misfit(needed: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """Return why a schema cannot store all that another one stores, like "it has no field status.phase"; None if it can.

    Of several reasons it is the first one in the order of `needed`.
    """
    return next(_misfits(needed, found, path=""), None)


def _misfits(needed: Mapping[str, Any], found: Mapping[str, Any], *, path: str) -> Iterator[str]:
    if needed.get("type") != found.get("type") and "type" in found:
        yield f"{path} is of type {found['type']}, not {needed.get('type')}"
        return
    if found.get("enum"):
        yield from (f"{path} cannot be {value}" for value in needed.get("enum", ()) if value not in found["enum"])
    if needed.get(_OPEN) and not found.get(_OPEN):
        yield f"{path} does not keep unknown fields"
    fields = found.get("properties", {})
    parts = [
        (part, fields.get(name), f"{path}.{name}".lstrip(".")) for name, part in needed.get("properties", {}).items()
    ]
    parts += [(needed[key], found.get(key), path + step) for key, step in _CONTAINED if key in needed]
    for part, described, where in parts:
        if isinstance(described, Mapping):
            yield from _misfits(part, described, path=where)
        elif not found.get(_OPEN):
            yield f"it has no field {where}"


def _without_descriptions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without the keyword `description`; a field of that name stays."""
    kept = {key: value for key, value in schema.items() if key != "description"}
    if "properties" in kept:
        kept["properties"] = {name: _without_descriptions(part) for name, part in kept["properties"].items()}
    for key, _ in _CONTAINED:
        if isinstance(kept.get(key), Mapping):
            kept[key] = _without_descriptions(kept[key])
    return kept
