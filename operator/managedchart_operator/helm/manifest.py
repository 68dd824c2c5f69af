"""Reads the manifests that helm rendered and stored: YAML documents, each a Kubernetes object or a list of them.

They are read by helm's rules (`yaml_reader`) and split into objects as helm does; the callers decide which objects belong
together and where they are in the cluster. A chart author controls a manifest, and others may write the Secret that holds it,
so reading is bounded, and every text gives objects or a ManifestError. It is slow enough to belong in a thread.

Source: k8s.io/apimachinery (util/yaml, unstructured), k8s.io/cli-runtime (FlattenListVisitor), which helm builds objects with.
"""

import re
from collections.abc import Container, Iterable, Iterator
from itertools import islice, pairwise
from typing import Any

from managedchart_operator.errors import UNREADABLE
from managedchart_operator.helm.yaml_reader import Budget, YamlError, read_document, split
from managedchart_operator.helm.yaml_scalars import as_json_number

_TOP_LEVEL_KEY = re.compile(rb"(?P<name>[A-Za-z]\w*):(?:[ \t]+(?P<value>[^#\r\n]*)|(?=[\r\n]|$))")
# Where a line begins that is neither indented, nor an item of a list, nor a comment, nor empty.
_TOP_LEVEL_LINE = re.compile(rb"\n(?<!\n\n)\n*+(?![ #\-\t]|\Z)")
# An object has some five.
_MAX_KEYS = 32
# Each object that is read, waited for or looked for costs a task and requests. Nobody can work with a release of so many, but a
# release Secret of some KiB can name them.
MAX_OBJECTS = 5000
_NAMING = (b"apiVersion", b"kind", b"metadata")


class ManifestError(Exception):
    """A manifest that helm cannot have rendered, or that is larger than helm can store.

    The text says why without quoting the manifest, which may hold secrets.
    """


def parse_manifest(*manifests: str) -> list[dict[str, Any]]:
    """Return the objects of manifests that helm rendered, with lists split into their items.

    Do not change the objects: they may share parts. To be called in a thread. Raises ManifestError.
    """
    return _read(manifests, whole=None)


def outline(*manifests: str, whole: Container[str] = ()) -> list[dict[str, Any]]:
    """Return the objects of manifests with apiVersion, kind and metadata only; those of the kinds in `whole` completely.

    The 4.5 MB of the Prometheus operator's CustomResourceDefinitions take 50 ms instead of 300. To be called in a thread.
    Raises ManifestError.
    """
    return _read(manifests, whole=whole)


def outlined(manifests: tuple[str, ...], whole: frozenset[str]) -> list[dict[str, Any]]:
    """Do what `outline` does, with arguments that a worker process can be given."""
    return outline(*manifests, whole=whole)


def as_sent(value: Any) -> Any:
    """Return a copy of an object as helm sends it to the API server: with numbers as Go writes them."""
    match value:
        case dict():
            return {key: as_sent(item) for key, item in value.items()}
        case list():
            return [as_sent(item) for item in value]
        case int() | float() if not isinstance(value, bool):
            return as_json_number(value)
        case _:
            return value


def _read(manifests: Iterable[str], *, whole: Container[str] | None) -> list[dict[str, Any]]:
    budget = Budget()
    found: list[dict[str, Any]] = []
    try:
        for manifest in manifests:
            data = manifest.encode()
            budget.spend(bytes=len(data))
            for first_line, document in split(data):
                found += _objects(_read_one(document, first_line, budget, whole))
                if len(found) > MAX_OBJECTS:
                    raise ManifestError(f"it has more than {MAX_OBJECTS} objects")
    except YamlError as error:
        raise ManifestError(error.problem if error.line is None else f"line {error.line}: {error.problem}") from None
    except UNREADABLE as error:
        # The error's own text is left out: a UnicodeError quotes the manifest.
        raise ManifestError(f"it is not readable YAML ({type(error).__name__})") from None
    return found


def _objects(document: Any, *, api_version: str = "", kind: str = "") -> Iterator[dict[str, Any]]:
    """Split a document into objects; an item without a kind gets it from its list."""
    if not isinstance(document, dict):
        return
    if not document.get("kind") and not document.get("apiVersion"):
        document = {**document, "apiVersion": api_version, "kind": kind}
    if not _is_object(document):
        return
    items = document.get("items", ())
    if items is None or ("items" in document and isinstance(items, list)):
        # helm treats everything that has items as a list.
        listed = str(document.get("apiVersion") or "")
        for item in items or ():
            yield from _objects(item, api_version=listed, kind=document["kind"].removesuffix("List"))
    else:
        yield document


def _is_object(document: dict[str, Any]) -> bool:
    """Whether a document has the form of an object. Helm refuses any other, but others may write the Secret that stores it."""
    kind, meta = document.get("kind"), document.get("metadata") or {}
    if not kind or not isinstance(kind, str) or not isinstance(meta, dict):
        return False
    texts = (document.get("apiVersion"), meta.get("name"), meta.get("namespace"))
    mappings = (meta.get("labels"), meta.get("annotations"))
    return all(isinstance(text or "", str) for text in texts) and all(isinstance(each or {}, dict) for each in mappings)


def _read_one(document: bytes, first_line: int, budget: Budget, whole: Container[str] | None) -> Any:
    """Read a document; with `whole` only the part of it that names its object, where that is enough."""
    head = None if whole is None else _head(document, whole=whole)
    if head is not None:
        try:
            return read_document(head, first_line, budget)
        except YamlError:
            pass  # it was cut in the middle of something, such as a multi-line text that begins at the margin
    return read_document(document, first_line, budget)


def _head(document: bytes, *, whole: Container[str]) -> bytes | None:
    """Return the part of a document that names its object; None where the whole document has to be read."""
    data = b"\n" + document
    if b"\r" in data:
        return None
    starts = [found.end() for found in islice(_TOP_LEVEL_LINE.finditer(data), _MAX_KEYS + 1)]
    if len(starts) > _MAX_KEYS:
        return None
    kept: list[bytes] = []
    seen: set[bytes] = set()
    kind = ""
    # Not line by line: a document may have millions of empty ones.
    for start, end in pairwise([*starts, len(data)]):
        key = _TOP_LEVEL_KEY.match(data, start)
        if key is None or key["name"] in seen or key["name"] == b"items":
            return None  # in another form, or a line of a text looks like a key, or a list with objects of its own
        seen.add(key["name"])
        if key["name"] in _NAMING:
            kept.append(data[start:end])
        if key["name"] == b"kind":
            kind = (key["value"] or b"").strip(b" \t'\"").decode(errors="replace")
    text = b"".join(kept)
    # The anchor of an alias may be in the part that was cut off.
    if not kind.isalnum() or kind in whole or b"*" in text:
        return None
    return text
