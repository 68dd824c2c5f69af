"""Reads Kubernetes objects from a chart's own files, as they are: nothing is rendered.

Blocking functions for a worker process (`reading`), since a chart is untrusted. What a pattern matches is bounded in bytes
before it is read as YAML, and every document must be an object: one that is left out without a word would look applied.
"""

import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from managedchart_operator.api import annotations
from managedchart_operator.charts import archive
from managedchart_operator.errors import UNREADABLE, ChartError
from managedchart_operator.helm.manifest import as_sent
from managedchart_operator.helm.yaml_reader import Budget, YamlError, read_documents
from managedchart_operator.reasons import Reason

_UNREADABLE = (*UNREADABLE, archive.ArchiveError, OSError)


def objects_in(chart: Path, pattern: str, most_bytes: int, most_objects: int) -> list[dict[str, Any]]:
    """Return the objects in the files that a pattern matches, by file name, as the API server gets them. Raises ChartError.

    `chart` is a folder or an archive of the cache. A `*` or `?` of the pattern matches within the name of one folder or file.
    Files of packaged subcharts are not found.
    """
    budget = Budget()
    found: list[dict[str, Any]] = []
    for name, data in _matching(chart, pattern, most_bytes):
        try:
            for _, document in read_documents(data, budget):
                found += _objects(name, document)
        except YamlError as error:
            raise _invalid(error.at(name)) from error
        if len(found) > most_objects:
            raise _invalid(f"{pattern} has more than {most_objects} objects")
    return found


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern matches the path of a file in a chart, folder by folder."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _matching(chart: Path, pattern: str, most_bytes: int) -> list[tuple[str, bytes]]:
    """Return the names and contents of the files, sorted. Raises ChartError, also where there are none."""
    try:
        found = sorted(_files(chart, pattern))
    except _UNREADABLE as error:
        raise _invalid(f"{pattern} cannot be read: {error}") from error
    if not found:
        raise _invalid(f"the chart has no file {pattern}")
    if sum(len(data) for _, data in found) > most_bytes:
        raise _invalid(f"{pattern} is larger than {most_bytes >> 10} KiB")
    return found


def _files(chart: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    if not chart.is_dir():
        packed = archive.files_in(chart.read_bytes(), archive.Budget())
        yield from ((name, data) for name, data in packed if matches(name, pattern))
        return
    for file in chart.rglob("*"):
        name = file.relative_to(chart).as_posix()
        if matches(name, pattern) and file.is_file():
            yield name, file.read_bytes()


def _objects(name: str, document: Any) -> Iterator[dict[str, Any]]:
    """Yield the object of a document, or those of a list. Raises ChartError; an empty document has none."""
    if document is None:
        return
    listed = document.get("items") if isinstance(document, dict) else None
    for item in listed if isinstance(listed, list) else (document,):
        meta = item.get("metadata") if isinstance(item, dict) else None
        texts = (item.get("apiVersion"), item.get("kind"), meta.get("name")) if isinstance(meta, dict) else ()
        if not texts or not all(text and isinstance(text, str) for text in texts):
            raise _invalid(f"{name}: a document is not a Kubernetes object with apiVersion, kind and metadata.name")
        yield as_sent(item)


def _invalid(problem: str) -> ChartError:
    return ChartError(
        f"The files of the chart cannot be used: {problem}",
        reason=Reason.CHART_INVALID,
        hint="Correct the file, or the pattern that names it. After a correction of the chart itself, change the annotation "
        f"{annotations.RETRY}.",
    )
