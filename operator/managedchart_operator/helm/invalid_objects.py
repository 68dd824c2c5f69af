"""Finds the rendered objects that helm cannot apply because of their form, and the templates that they come from.

helm reports such an object without its template, and often without its kind and name. Pure, over the document that a dry run
prints, in which each object stands below the name of its template. Texts of the objects are not repeated, except their names
and the keys of labels and annotations.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from managedchart_operator.helm.stored_release import read_document as read_release
from managedchart_operator.helm.yaml_reader import Budget, YamlError, read_document, split
from managedchart_operator.shortening import cut

_SOURCE = re.compile(rb"^# Source: ([^\r\n]+)", re.MULTILINE)
_LENGTH = 120
_SHOWN = 3


def name_invalid(output: bytes) -> str | None:
    """Name the invalid objects in a dry run's JSON output, as the end of a sentence; None if there is none.

    To be called in a thread. Raises ValueError for an unreadable output.
    """
    found = list(dict.fromkeys(_invalid(read_release(output))))
    if not found:
        return None
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "see " + ", ".join(found[:_SHOWN]) + more


def _invalid(document: Mapping[str, Any]) -> Iterator[str]:
    budget = Budget()
    texts = [("", document.get("manifest") or "")]
    texts += [(hook.get("path") or "", hook.get("manifest") or "") for hook in document.get("hooks") or ()]
    for template, text in texts:
        data = text.encode(errors="replace")
        try:
            budget.spend(bytes=len(data))
            for first_line, part in split(data):
                source = _SOURCE.search(part)
                value = read_document(part, first_line, budget)
                for what in _problems(value):
                    yield f"{what} in template {source[1].decode(errors='replace') if source else template or '?'}"
        except YamlError as error:
            raise ValueError(error.problem) from error


def _problems(value: Any) -> Iterator[str]:
    """Yield a name for each thing that is wrong with the form of an object."""
    if value is None or value == {}:
        return  # a template that renders nothing
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or not value["kind"]:
        yield "an object without a kind"
        return
    if isinstance(value.get("items"), list) and value["kind"].endswith("List"):
        for item in value["items"]:
            yield from _problems(
                {"kind": value["kind"].removesuffix("List"), **item} if isinstance(item, dict) else item
            )
        return
    kind = cut(value["kind"], _LENGTH)
    meta = value.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = meta.get("name")
    if not name:
        yield kind
    for field in ("labels", "annotations"):
        entries = meta.get(field)
        for key, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(entry, str | None):
                yield f"metadata.{field}.{cut(str(key), _LENGTH)} of {kind} {cut(str(name or ''), _LENGTH)}".rstrip()
