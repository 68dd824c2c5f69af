"""Computes digests as operators did before digests had a version.

Statuses and labels of releases have such digests until the next run. Do not change this module when the model of the spec
changes: the fields, and their order, are those of that time.
"""

import hashlib
import json
from typing import Any

from managedchart_operator.api.spec import ManagedChartSpec

_HEX_DIGITS = 40
_FIELDS: dict[str, Any] = {
    "chart": {"path", "repository", "name", "version", "oci", "plain_http", "contents"},
    "release_name": True,
    "target_namespace": True,
    "create_namespace": True,
    "action": True,
    "deletion_policy": True,
    "atomic": True,
    "wait": True,
    "timeout": True,
    "fail_fast": True,
    "fail_fast_grace": True,
    "force_upgrade": True,
    "dry_run": True,
    "last_breaking_version_requiring_restart": True,
    "values_files": True,
    "yaml_files_content": {"__all__": {"filename", "yaml_content"}},
    "values": True,
    "set": {"__all__": {"key", "value"}},
    "lifecycle": {"name"},
    "retry": {"limit", "backoff", "max_backoff"},
}


def digest_of(spec: ManagedChartSpec, *, chart: str, values: dict[str, Any]) -> str:
    """Return the digest over the chart's fingerprint, the merged values, and the options that change what is applied."""
    document = {
        "chart": chart,
        "values": values,
        "action": spec.action,
        "dryRun": spec.dry_run,
        "wait": spec.wait,
        "forceUpgrade": spec.force_upgrade,
        "breaking": spec.last_breaking_version_requiring_restart,
        "lifecycle": spec.lifecycle.name,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX_DIGITS]


def digest_without_inputs(spec: ManagedChartSpec) -> str:
    """Return the digest of the spec alone, where its inputs could not be read or were not needed."""
    text = spec.model_dump_json(by_alias=True, include=_FIELDS)
    return hashlib.sha256(f"unread {text}".encode()).hexdigest()[:_HEX_DIGITS]
