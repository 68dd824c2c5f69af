"""Explains a failure that the CRDs in a chart's own crds/ folders would prevent.

With `crds: Create` an upgrade leaves existing CRDs as they are, and with Skip it creates none. An object of a newer chart is
then refused for a field or a kind that the cluster does not know yet, and the error alone points away from the cause. So the
objects that helm, or the API server in a dry run, has refused are compared with the CRDs of the chart and of the cluster.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from managedchart_operator.api.spec import CrdPolicy
from managedchart_operator.errors import HelmError, OperatorError
from managedchart_operator.helm.errors.text import MAX_TEXT
from managedchart_operator.kube.crd_changes import group_kind, has_field
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.crd_files import reading
from managedchart_operator.reconcile.crds import RunCrds
from managedchart_operator.shortening import cut_middle

_REASONS = (Reason.KIND_MISSING, Reason.OBJECT_INVALID)
# Only what a name can consist of: helm's text is cut in its middle, where one name begins and another one ends.
_UNKNOWN_KIND = re.compile(r'no matches for kind "(?P<kind>\w+)" in version "(?P<version>[\w./-]+)"')
# Server-side apply: one header for an object, then its fields.
_OBJECT = re.compile(r"\([^();]*; (?P<version>[^\s,()]+), Kind=(?P<kind>\w+)\)")
_UNDECLARED = re.compile(r"(?P<field>\.[^\s:]+): field not declared in schema")
# helm's own way with forceUpgrade.
_STRICT = re.compile(
    r'(?P<kind>\w+) in version "(?P<version>[^"]+)" cannot be handled as a \w+: strict decoding error: (?P<fields>[^\n]+)'
)
_STRICT_FIELD = re.compile(r'unknown field "(?P<field>[^"]+)"')


@dataclass(frozen=True, slots=True)
class Unknown:
    """A kind, or a field of a kind, that the cluster does not know. `group` is None where the error does not name it."""

    group: str | None
    version: str
    kind: str
    field: str = ""
    """Empty if the kind itself is unknown."""

    @property
    def api_version(self) -> str:
        """Group and version as an object has them."""
        return f"{self.group}/{self.version}" if self.group else self.version


async def explain_crds(error: OperatorError, crds: RunCrds) -> None:
    """Give the error a hint if the chart's crds/ would prevent it. Raises nothing except when cancelled."""
    if error.reason not in _REASONS:
        return
    # Bounded: a word of megabytes would make the patterns slow.
    unknown = list(unknown_in(cut_middle(error.text if isinstance(error, HelmError) else error.message, MAX_TEXT)))
    if not unknown:
        return
    try:
        hint = await _hint(unknown, crds)
    except OperatorError:
        return  # the first error counts
    if hint:
        error.hint = hint


def unknown_in(text: str) -> Iterator[Unknown]:
    """Yield the kinds and fields of custom resources that an error reports as unknown."""
    for found in _UNKNOWN_KIND.finditer(text):
        group, _, version = found["version"].rpartition("/")
        yield Unknown(group, version, found["kind"])
    objects = list(_OBJECT.finditer(text))
    for found, following in zip_longest(objects, objects[1:]):
        group, _, version = found["version"].rpartition("/")
        end = following.start() if following else len(text)
        for field in _UNDECLARED.finditer(text, found.end(), end):
            yield Unknown(group, version, found["kind"], field["field"])
    for found in _STRICT.finditer(text):
        for field in _STRICT_FIELD.finditer(found["fields"]):
            yield Unknown(None, found["version"], found["kind"], f".{field['field']}")


async def _hint(unknown: list[Unknown], crds: RunCrds) -> str | None:
    wanted = (await crds.files.whole()).crds
    for each in unknown:
        for name, crd in wanted.items():
            group, kind = await reading(partial(group_kind, crd))
            if kind != each.kind or each.group not in (None, group):
                continue
            if not await reading(partial(has_field, crd, each.version, each.field)):
                continue
            existing = await crds.run.objects.crds.get(name)
            if existing is None:
                return _skipped(name) if crds.run.spec.crds is CrdPolicy.SKIP else None
            if not has_field(existing, each.version, each.field):
                return _older(name, each, crds)
    return None


def _skipped(name: str) -> str:
    return f"Set spec.crds: Create, or apply the CRD first: the chart has {name} in its crds/ folder, and spec.crds is Skip."


def _older(name: str, unknown: Unknown, crds: RunCrds) -> str | None:
    what = f"the field {unknown.field}" if unknown.field else f"the version {unknown.version}"
    older = f"the CRD {name} in the cluster is older than the one in the chart's crds/ folder, which has {what}"
    if owner := crds.owners.get(name):
        return f"Upgrade the release {owner}, which owns the CRD: {older}."
    if crds.run.spec.crds is CrdPolicy.CREATE_REPLACE:
        return None
    return f"Set spec.crds: CreateReplace, which updates it: {older}."
