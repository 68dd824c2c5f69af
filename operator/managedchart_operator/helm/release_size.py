"""Finds what makes a release big: its rendered templates, the files of its chart, its values.

helm stores a release as one document in a Secret, and reports only that it does not fit; this names what to remove. Pure, over
the document that a dry run prints. Sizes are those before compression, in bytes of the text; the Secret holds gzip of it, so
they can be compared with each other but not with the Secret's limit.
Source: helm's pkg/release/v1 and pkg/chart/v2 (4.3.1), whose JSON the document is. It has what the templates of subcharts
render to, but not their files.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from managedchart_operator.errors import UNREADABLE
from managedchart_operator.helm.stored_release import read_document

# A fourth part rarely helps where the first three do not.
SHOWN = 3
# Removing a part that is smaller than this share of the biggest does not help.
_MIN_SHARE = 0.01
_BEFORE_SOURCE = re.compile(r"^(?=---\n# Source: )", re.MULTILINE)
_SOURCE = re.compile(r"---\n# Source: (.+)\n")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a release: the name under which a person finds it, and its size in bytes."""

    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.name} {format_size(self.size)}"


def parts_of(document: Mapping[str, Any]) -> list[Part]:
    """Return the parts of a release's document, the biggest first. A template counts with its text and its rendered output.

    `document` is helm's JSON of a release, as `helm upgrade --dry-run --output=json` prints it.
    """
    sizes: Counter[str] = Counter()
    for text in _BEFORE_SOURCE.split(document.get("manifest") or ""):
        if source := _SOURCE.match(text):
            sizes[source[1]] += _text(text)
    for hook in document.get("hooks") or ():
        sizes[hook.get("path") or ""] += _text(hook.get("manifest") or "")
    chart: Mapping[str, Any] = document.get("chart") or {}
    name = (chart.get("metadata") or {}).get("name") or "chart"
    for file in (*(chart.get("templates") or ()), *(chart.get("files") or ())):
        sizes[f"{name}/{file.get('name')}"] += _base64(file.get("data") or "")
    sizes[f"{name}/values.yaml"] += _json(chart.get("values"))
    sizes[f"{name}/values.schema.json"] += _base64(chart.get("schema") or "")
    sizes["the values"] += _json(document.get("config"))
    return [Part(name, size) for name, size in sizes.most_common() if size > 0]


def name_biggest(output: bytes) -> str:
    """Name the biggest parts of a release that helm printed as JSON. Raises ValueError when that cannot be read."""
    try:
        parts = parts_of(read_document(output))
    except UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not parts:
        raise ValueError("it has neither chart nor manifest")
    named = [part for part in parts[:SHOWN] if part.size >= _MIN_SHARE * parts[0].size]
    return f"the biggest (before compression): {', '.join(map(str, named))}"


def format_size(size: int) -> str:
    """Return a number of bytes in a unit for people."""
    if size < 1024:
        return f"{size} B"
    # Rounded to KiB first, so that no size reads 1024 KiB.
    kib = round(size / 1024)
    return f"{kib} KiB" if kib < 1024 else f"{size / 1024 / 1024:.1f} MiB"


def _text(text: str) -> int:
    return len(text.encode())


def _base64(data: str) -> int:
    """The size of what is encoded as base64, as Go writes bytes in JSON."""
    return len(data) * 3 // 4 - data[-2:].count("=")


def _json(value: Any) -> int:
    return _text(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) if value else 0
