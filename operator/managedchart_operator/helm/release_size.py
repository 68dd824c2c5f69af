"""What makes a release big: its rendered templates, the files of its chart, its values.

Purpose: helm keeps a release as one document in a Secret, and says only that it does not fit; this says what to take out.
Boundary: pure, over the document that a dry run prints. Invariant: sizes are those before compression, in bytes of the text
itself; the Secret holds gzip of it, so they compare with each other and not with the Secret's limit.
Source: helm's pkg/release/v1 and pkg/chart/v2 (4.3.1), whose JSON the document is. Files of subcharts are not part of it,
what their templates render to is.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from managedchart_operator.errors import UNREADABLE
from managedchart_operator.helm.stored_release import read_document

# What a person can look at next; the fourth is seldom what the first three leave to do.
SHOWN = 3
# To take out what is smaller than this part of the biggest helps nobody.
WORTH_TELLING = 0.01
_SOURCE = re.compile(r"^---\n# Source: (.+)\n", re.MULTILINE)
VALUES = "the values"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a release by the name that a person finds it under, and its size in bytes."""

    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.name} {spelled(self.size)}"


def parts_of(document: Mapping[str, Any]) -> list[Part]:
    """Return the parts of a release's document, the biggest first. A template counts with its text and with what it renders to.

    `document` is helm's JSON of a release, as `helm upgrade --dry-run --output=json` prints it.
    """
    sizes: Counter[str] = Counter()
    manifest: str = document.get("manifest") or ""
    found = list(_SOURCE.finditer(manifest))
    for source, end in pairwise([*((mark[1], mark.start()) for mark in found), ("", len(manifest))]):
        sizes[source[0]] += _text(manifest[source[1] : end[1]])
    for hook in document.get("hooks") or ():
        sizes[hook.get("path") or ""] += _text(hook.get("manifest") or "")
    chart: Mapping[str, Any] = document.get("chart") or {}
    name = (chart.get("metadata") or {}).get("name") or "chart"
    for file in _files(chart):
        sizes[f"{name}/{file.get('name')}"] += _base64(file.get("data") or "")
    sizes[f"{name}/values.yaml"] += _json(chart.get("values"))
    sizes[f"{name}/values.schema.json"] += _base64(chart.get("schema") or "")
    sizes[VALUES] += _json(document.get("config"))
    return [Part(name, size) for name, size in sizes.most_common() if size > 0]


def name_biggest(output: bytes) -> str:
    """Return in words what is biggest in a release that helm printed as JSON. Raises ValueError when that cannot be read."""
    try:
        parts = parts_of(read_document(output))
    except UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not parts:
        raise ValueError("it has neither chart nor manifest")
    told = [part for part in parts[:SHOWN] if part.size >= WORTH_TELLING * parts[0].size]
    return f"the biggest (before compression): {', '.join(map(str, told))}"


def spelled(size: int) -> str:
    """Return a number of bytes as a person reads it."""
    if size < 1024:
        return f"{size} B"
    # Rounded to KiB first, so that nothing is told to have 1024 KiB.
    kib = round(size / 1024)
    return f"{kib} KiB" if kib < 1024 else f"{size / 1024 / 1024:.1f} MiB"


def _files(chart: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    yield from chart.get("templates") or ()
    yield from chart.get("files") or ()


def _text(text: str) -> int:
    return len(text.encode())


def _base64(data: str) -> int:
    """The size of what base64 stands for; Go writes bytes so."""
    return len(data) * 3 // 4 - data[-2:].count("=")


def _json(value: Any) -> int:
    return _text(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) if value else 0
