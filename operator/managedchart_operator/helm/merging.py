"""Merges values as helm does: mappings entry by entry, everything else as a whole.

helm itself merges the sources of a release. This merges the documents of one source, and copies that the operator needs for its
own checks, such as which values a release has lost.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings; neither is changed. A None stays: helm deletes the chart's default."""
    result = dict(base)
    for key, value in override.items():
        present = result.get(key)
        result[key] = merge(present, value) if isinstance(value, dict) and isinstance(present, dict) else value
    return result


def merged(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge mappings, the weakest first."""
    empty: dict[str, Any] = {}
    return reduce(merge, layers, empty)
