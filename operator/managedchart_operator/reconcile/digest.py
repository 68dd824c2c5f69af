"""Computes the digest over everything that decides what runs.

Equal digests mean that a new run would do the same. A digest covers the whole spec except the fields of `IGNORED`, so that a
new field that is missing from both lists deploys again instead of never. Fields that equal their default are left out, so that
a new field with a default changes no digest. A digest starts with the version of these rules. One without a version is of an
older operator and is compared by its rules (`earlier_operators`), so that a new operator deploys nothing automatically.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from managedchart_operator.api.lifecycle import Revalidation
from managedchart_operator.api.spec import ManagedChartSpec, WaitFor
from managedchart_operator.helm.values import Values
from managedchart_operator.reconcile.earlier_operators import (
    has_newer_fields,
    version_1_digest,
    version_1_digest_without_inputs,
)

VERSION = 2
# 160 bits: nobody gets two inputs with the same digest, by chance or on purpose, and it fits into a label (63 characters).
_HEX_DIGITS = 40

IGNORED = frozenset(
    {
        # what the operator waits for and how long, what it does after a failure, how it retries
        "wait_for",
        "timeout",
        "fail_fast",
        "fail_fast_grace",
        "atomic",
        "retry",
        # what happens before the first and after the last deployment
        "create_namespace",
        "deletion_policy",
        # which release it is: both are immutable
        "release_name",
        "target_namespace",
    }
)
"""Fields of the spec that change nothing of what runs."""
# Only tells two attempts apart, in words for people; if two parts had the same one, the change would not be named.
_PART_DIGITS = 8

FROM_INPUTS = frozenset({"chart", "values_files", "yaml_files_content", "values", "set"})
"""Fields covered by what they refer to: the chart's fingerprint and the sources of the values."""


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of an input; `text` is stored in the status and in a label."""

    text: str
    version_1: Callable[[], str] | None = field(default=None, compare=False, repr=False)
    """Computes it by the rules of an older operator; None where no older operator can have stored it."""
    parts: Callable[[], dict[str, str]] = field(default=dict, compare=False, repr=False)
    """Computes digests of its parts, by their fields in the spec; none where the inputs are not covered."""

    async def prepare(self, *stored: str | None) -> None:
        """Compute in a thread what `matches` needs for these: merged values take up to 0.2 s."""
        if self.version_1 is not None and any(each and "-" not in each for each in stored):
            await asyncio.to_thread(self.version_1)

    def matches(self, stored: str | None) -> bool:
        """Whether this operator or an older one computed a stored digest from the same input."""
        if stored is None or stored == self.text:
            return stored is not None
        is_version_1 = "-" not in stored
        return is_version_1 and self.version_1 is not None and stored == self.version_1()


def digest_of(spec: ManagedChartSpec, *, chart: str, values: Values) -> Digest:
    """Return the digest; `chart` is the chart's fingerprint. To be called in a thread."""
    spec = _counted(spec)
    document = {
        "chart": chart,
        "sources": [hashlib.sha256(source.content).hexdigest() for source in values.sources],
        "set": [[entry.key, entry.value] for entry in spec.set],
        "spec": spec.model_dump(mode="json", by_alias=True, exclude={*IGNORED, *FROM_INPUTS}, exclude_defaults=True),
    }
    version_1 = cache(lambda: version_1_digest(spec, chart=chart, values=values.merged()))
    return Digest(_hashed(document), None if has_newer_fields(spec) else version_1, lambda: _parts(spec, document))


def _counted(spec: ManagedChartSpec) -> ManagedChartSpec:
    """Return the spec with the part of the lifecycle that a run carries out."""
    if not spec.lifecycle.actions and spec.lifecycle.validation == Revalidation():
        return spec
    return spec.model_copy(update={"lifecycle": spec.lifecycle.of_a_run()})


def _parts(spec: ManagedChartSpec, document: dict[str, Any]) -> dict[str, str]:
    sources = iter(document["sources"])
    parts = {
        "chart": document["chart"],
        "valuesFiles": [next(sources) for _ in spec.values_files],
        "yamlFilesContent": [next(sources) for _ in spec.yaml_files_content],
        "values": list(sources),
        "set": document["set"],
        **document["spec"],
    }
    return {name: _sha256(part)[:_PART_DIGITS] for name, part in parts.items() if part not in ([], {})}


def digest_without_inputs(spec: ManagedChartSpec) -> Digest:
    """Return a digest of the spec alone, where its inputs cannot be read or are not needed (Destroy, Skip).

    To be called in a thread.
    """
    # Whether a rollback is followed by a retry changes nothing here, nor what a wait leaves out.
    retry = spec.retry.model_copy(update={"after_rollback": False})
    spec = _counted(spec)
    counted = spec.model_copy(update={"retry": retry, "wait_for": WaitFor()})
    # Values are JSON already; pydantic would hold up other threads while it copies them.
    unread = counted.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"values"})
    document = {"unread": {**unread, **({"values": spec.values} if spec.values else {})}}
    version_1 = cache(lambda: version_1_digest_without_inputs(spec))
    return Digest(_hashed(document), None if has_newer_fields(spec) else version_1)


def digest_of_deletion() -> Digest:
    """Return the digest of every deletion: whatever is in the spec, it cannot block one."""
    return Digest(_hashed({"deleted": True}))


def _hashed(document: dict[str, Any]) -> str:
    return f"{VERSION}-{_sha256(document)[:_HEX_DIGITS]}"


def _sha256(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
