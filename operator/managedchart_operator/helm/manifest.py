"""Reads the manifests that helm rendered and stored: YAML documents, each a Kubernetes object or a list of them.

They are read by helm's rules (`yaml_reader`), and taken apart as helm takes them apart. Which of the objects belong together,
and where they are in the cluster, is decided by the callers. A manifest is a chart author's, and lies in a Secret that others
may write too, so reading is bounded and any text at all ends in objects or in a ManifestError. It takes long enough to be done
in a thread.

Source: k8s.io/apimachinery (util/yaml, unstructured), k8s.io/cli-runtime (FlattenListVisitor), which helm builds objects with.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from typing import Any

from managedchart_operator.helm.yaml_reader import Budget, YamlError, read_document, split
from managedchart_operator.helm.yaml_scalars import as_json_number

_TOP_LEVEL_KEY = re.compile(rb"(?P<name>[A-Za-z]\w*):(?:[ \t]+(?P<value>[^#\r\n]*)|(?=[\r\n]|$))")
_NAMING = (b"apiVersion", b"kind", b"metadata")


class ManifestError(Exception):
    """A manifest that helm cannot have rendered, or that is larger than any that it can store.

    The text says why without a part of the manifest, which may hold secrets.
    """


def parse_manifest(*manifests: str) -> list[dict[str, Any]]:
    """Return the objects of manifests that helm rendered; lists are taken apart. Parts of them may be shared: change none.

    To be called in a thread. Raises ManifestError.
    """
    return _read(manifests)


def outline(*manifests: str, whole: Container[str] = ()) -> list[dict[str, Any]]:
    """Return the objects of manifests with their apiVersion, kind and metadata only, but those of `whole` kinds entirely.

    For the 4.5 MB of the Prometheus operator's CustomResourceDefinitions it takes 50 ms instead of 300. To be called in a
    thread. Raises ManifestError.
    """
    return _read(manifests, partial(_read_outline, whole=whole))


def as_sent(value: Any) -> Any:
    """Return a copy of an object as helm sends it to the API server, for `json`: with the numbers that Go makes of it."""
    match value:
        case dict():
            return {key: as_sent(item) for key, item in value.items()}
        case list():
            return [as_sent(item) for item in value]
        case bool():
            return value
        case int() | float():
            return as_json_number(value)
        case _:
            return value


def _read(manifests: Iterable[str], read: Callable[[bytes, int, Budget], Any] = read_document) -> list[dict[str, Any]]:
    budget = Budget()
    found: list[dict[str, Any]] = []
    try:
        for manifest in manifests:
            data = manifest.encode()
            budget.spend(bytes=len(data))
            for first_line, document in split(data):
                found += _objects(read(document, first_line, budget))
    except YamlError as error:
        raise ManifestError(error.problem if error.line is None else f"line {error.line}: {error.problem}") from None
    except MemoryError:
        raise ManifestError("there is not enough memory to read it") from None
    except (ValueError, OverflowError, RecursionError) as error:
        # Without its own text: that of a UnicodeError quotes the manifest.
        raise ManifestError(f"it is not YAML that can be read ({type(error).__name__})") from None
    return found


def _objects(document: Any, *, api_version: str = "", kind: str = "") -> Iterator[dict[str, Any]]:
    """Take a document apart into objects; an item of a list that names no kind has the one that the list's kind tells."""
    if not isinstance(document, dict):
        return
    if not document.get("kind") and not document.get("apiVersion"):
        document = {**document, "apiVersion": api_version, "kind": kind}
    if not _is_object(document):
        return
    items = document.get("items", ())
    if items is None or ("items" in document and isinstance(items, list)):
        # helm takes whatever has items for a list.
        listed = str(document.get("apiVersion") or "")
        for item in items or ():
            yield from _objects(item, api_version=listed, kind=document["kind"].removesuffix("List"))
    else:
        yield document


def _is_object(document: dict[str, Any]) -> bool:
    """Whether YAML has the form of an object. Helm refuses any other, but its document is in a Secret that others may write."""
    kind, meta = document.get("kind"), document.get("metadata") or {}
    if not kind or not isinstance(kind, str) or not isinstance(meta, dict):
        return False
    texts = (document.get("apiVersion"), meta.get("name"), meta.get("namespace"))
    mappings = (meta.get("labels"), meta.get("annotations"))
    return all(isinstance(text or "", str) for text in texts) and all(isinstance(each or {}, dict) for each in mappings)


def _read_outline(document: bytes, first_line: int, budget: Budget, *, whole: Container[str]) -> Any:
    """Read of a document what names the object, where that is enough."""
    head = _head(document, whole=whole)
    if head is not None:
        try:
            return read_document(head, first_line, budget)
        except YamlError:
            pass  # it was cut in the middle of something: a text over lines that begin at the margin, say
    return read_document(document, first_line, budget)


def _head(document: bytes, *, whole: Container[str]) -> bytes | None:
    """Cut a document down to what names the object; None where all of it is to be read."""
    kept: list[bytes] = []
    seen: set[bytes] = set()
    keeps, kind = False, ""
    for line in document.splitlines(keepends=True):
        if key := _TOP_LEVEL_KEY.match(line):
            name = key["name"]
            if name in seen or name == b"items":
                return None  # a text over lines looks like a key, or it is a list, which holds objects of its own
            seen.add(name)
            keeps = name in _NAMING
            if name == b"kind":
                kind = (key["value"] or b"").strip(b" \t'\"").decode(errors="replace")
        elif not line.startswith((b" ", b"#", b"-", b"\t", b"\n", b"\r")):
            return None  # in another form: JSON, say
        if keeps:
            kept.append(line)
    text = b"".join(kept)
    # An anchor may stand in what was cut off.
    if not kind.isalnum() or kind in whole or b"*" in text:
        return None
    return text
