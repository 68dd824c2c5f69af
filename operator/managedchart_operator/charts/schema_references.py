"""Finds what a chart's values.schema.json refers to that helm must not read.

helm fetches what a schema refers to when it checks the values, and it reads files of the operator's pod too, whose content its
error messages show (measured with 4.3.1). So only http:// and https:// are allowed, and references within the same document.
Subcharts count, folders and packages, also those that the values disable. This only reads documents; which addresses may be
fetched, and what is found there, `schema_documents` decides.

In doubt a reference is refused: where helm may take a part of the schema for data or for a schema, both are assumed. `search`
applies this to the files of a chart, and refuses packaged subcharts that cannot be read. `spec.skipSchemaValidation` is the way
out.

Source: github.com/santhosh-tekuri/jsonschema v6.0.3 (roots.go, objcompiler.go, util.go), which helm 4.3 uses; JSON Schema,
drafts 4 to 2020-12.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin

from managedchart_operator.charts.schema_addresses import is_built_in
from managedchart_operator.helm.errors.foreign import without_login
from managedchart_operator.shortening import one_line

SCHEMA = "values.schema.json"
# The address that helm gives to each schema (pkg/chart/common/util/jsonschema.go).
_DOCUMENT = f"file:///{SCHEMA}"
# Stands for every address that is neither of the web nor certain to be a part of the document.
_ELSEWHERE = "?"
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_IDS = ("$id", "id")

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):")
# Go and this module make the same address of these.
_PLAIN_PATH = re.compile(r"/?(?!\.{1,2}(?:/|$))[\w.-]+(?:/(?!\.{1,2}(?:/|$))[\w.-]+)*", re.ASCII)

_DRAFTS = {
    "json-schema.org/draft-04/schema": 4,
    "json-schema.org/draft-06/schema": 6,
    "json-schema.org/draft-07/schema": 7,
    "json-schema.org/draft/2019-09/schema": 2019,
    "json-schema.org/draft/2020-12/schema": 2020,
    "json-schema.org/schema": 2020,
}
# Keywords that contain a schema, a list of schemas, or schemas by name, with the first draft that has them.
_OF_A_SCHEMA = {
    "not": 4, "additionalProperties": 4, "items": 4, "additionalItems": 4,
    "propertyNames": 6, "contains": 6, "if": 7, "then": 7, "else": 7,
    "unevaluatedProperties": 2019, "unevaluatedItems": 2019, "contentSchema": 2019,
}  # fmt: skip
_OF_A_LIST = {"allOf": 4, "anyOf": 4, "oneOf": 4, "items": 4, "prefixItems": 2020}
_OF_NAMED_SCHEMAS = {
    "definitions": 4, "properties": 4, "patternProperties": 4, "dependencies": 4, "$defs": 2019, "dependentSchemas": 2019,
}  # fmt: skip

_NO_DRAFT = 9999

# helm refuses larger files (pkg/chart/loader/archive, MaxDecompressedFileSize).
MAX_SCHEMA_BYTES = 5 * 1024 * 1024
# A bound for memory and time: 100 MiB and 0.5 s. The largest schema of a public chart (values of kube-prometheus-stack with
# everything described) has some 20,000.
_MAX_VALUES = 500_000
# Real schemas refer to one or two.
_MAX_REMOTE = 32
# Each id may count or not; real schemas have one or none above a reference.
_MAX_BASES = 16
_SHOWN = 200


UNSEARCHED = "cannot be searched for schemas that refer to files"
"""What is wrong with a packaged subchart that cannot be read."""


@dataclass(frozen=True, slots=True)
class References:
    """What a schema refers to outside of itself."""

    refused: str | None = None
    """What is wrong with the first reference that is refused, as the rest of a sentence about the file."""
    remote: tuple[str, ...] = ()
    """The http:// and https:// addresses that helm may fetch, without fragments, sorted."""

    def __or__(self, other: "References") -> "References":
        """Return what both refer to; the first problem counts."""
        if not (other.refused or other.remote):
            return self
        return References(self.refused or other.refused, tuple(sorted({*self.remote, *other.remote})))


def references_of(data: bytes, address: str = _DOCUMENT) -> References:
    """Return what a schema refers to. `address` is where it was found. To be called in a thread or a worker process."""
    if len(data) > MAX_SCHEMA_BYTES or sum(data.count(sign) for sign in (b",", b"{", b"[")) > _MAX_VALUES:
        return References("is too large to be searched for references to files")
    try:
        # As Go reads it: numbers of any length, invalid UTF-8 replaced. helm removes the byte order mark.
        text = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
        schema = json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError:
        return References()  # helm reports it, if it needs this schema
    except (RecursionError, MemoryError):
        return References("is nested too deep to be searched for references to files")
    document = _Document(schema, address)
    refused = document.problem()
    if refused is None and len(document.remote) > _MAX_REMOTE:
        refused = f"refers to more than {_MAX_REMOTE} addresses"
    return References(refused, tuple(sorted(document.remote)))


def references_in(name: str, data: bytes) -> References:
    """Return what a file of a chart refers to, if it is a schema; what is refused is the rest of a sentence about the chart.

    `name` is relative to the chart.
    """
    if name.rpartition("/")[2] != SCHEMA:
        return References()
    found = references_of(data)
    return found if found.refused is None else replace(found, refused=f"its {name} {found.refused}")


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a schema. `bases` are the addresses that helm may resolve its references against.

    It is `certain` that helm takes this part for a schema of the document's draft; then there is one base.
    """

    value: Mapping[str, Any]
    certain: bool
    bases: frozenset[str]


@dataclass(slots=True)
class _Document:
    schema: Any
    address: str
    remote: set[str] = field(default_factory=set)
    """The addresses of other documents of the web that helm may fetch."""
    _ids: set[str] = field(default_factory=set)
    """The addresses that are certain to be parts of this document."""

    def problem(self) -> str | None:
        """Return the first reference that is refused, as the rest of a sentence about the file."""
        root: Mapping[str, Any] = self.schema if isinstance(self.schema, dict) else {}
        self._ids.add(self.address)
        draft = _draft_of(root)
        references: list[tuple[str, frozenset[str]]] = []
        parts = [_Part(root, draft is not None, frozenset({self.address}))]
        if not isinstance(self.schema, dict):
            parts = [_Part(each, False, frozenset({self.address})) for each in _mappings_in(self.schema)]
        while parts:
            part = parts.pop()
            metaschema = part.value.get("$schema")
            if isinstance(metaschema, str) and _SCHEME.match(metaschema):  # one without a scheme helm refuses itself
                if not _is_web(target := _join(self.address, _without_fragment(metaschema))):
                    return _refers_to(metaschema)
                self._note(target)
            if part.value is not root and isinstance(metaschema, str):
                part = _Part(part.value, False, part.bases)  # it may be of another draft
            part = self._with_id(part, draft)
            if len(part.bases) > _MAX_BASES:
                return "has too many nested $id to be searched for references to files"
            references += [(part.value[key], part.bases) for key in _REFERENCES if isinstance(part.value.get(key), str)]
            parts += _below(part, draft)
        return next((_refers_to(ref) for ref, bases in references if not self._is_allowed(ref, bases)), None)

    def _with_id(self, part: _Part, draft: int | None) -> _Part:
        """Return a part with the bases that its own id makes."""
        value, bases = part.value, part.bases
        if part.certain and draft is not None:
            found = value.get("id" if draft == 4 else "$id")
            address = _without_fragment(found) if isinstance(found, str) else ""
            if not address or (draft < 2019 and "$ref" in value):  # which hides all others
                return part
            bases = frozenset(_join(base, address) for base in bases)
            self._ids |= bases - {_ELSEWHERE}
            return _Part(value, True, bases)
        for key in _IDS:
            found = value.get(key)
            if isinstance(found, str) and (address := _without_fragment(found)):
                bases |= {_join(base, address) for base in bases}
        return _Part(value, False, bases)

    def _is_allowed(self, reference: str, bases: frozenset[str]) -> bool:
        address = _without_fragment(reference)
        if not address:
            return True  # within the same schema, whatever its address is
        targets = {_join(base, address) for base in bases} - self._ids
        for target in filter(_is_web, targets):
            self._note(target)
        return all(map(_is_web, targets))

    def _note(self, target: str) -> None:
        if not is_built_in(target):
            self.remote.add(target)


def _below(part: _Part, draft: int | None) -> Iterator[_Part]:
    """Yield the parts below a part."""
    for key, value in part.value.items():
        schemas: Iterable[Any] = ()
        if part.certain and draft is not None:
            match value:
                case dict() if _OF_A_SCHEMA.get(key, _NO_DRAFT) <= draft:
                    schemas = [value]
                case list() if _OF_A_LIST.get(key, _NO_DRAFT) <= draft:
                    schemas = value
                case dict() if _OF_NAMED_SCHEMAS.get(key, _NO_DRAFT) <= draft and not _may_be_schema(value):
                    schemas = value.values()
        for each in schemas or [value]:
            certain = schemas != () and isinstance(each, dict)
            yield from (_Part(found, certain, part.bases) for found in _mappings_in(each))


def _may_be_schema(named: Mapping[str, Any]) -> bool:
    """Whether schemas by name may be one schema too, to which a reference leads: its keywords have texts."""
    return any(isinstance(named.get(key), str) for key in (*_REFERENCES, *_IDS, "$schema"))


def _mappings_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a mapping itself, or the outermost mappings in a list."""
    rest = [value]
    while rest:
        match rest.pop():
            case dict() as found:
                yield found
            case list() as found:
                rest += found


def _draft_of(root: Mapping[str, Any]) -> int | None:
    """Return the draft of a schema; None for one that helm may read by other rules."""
    found = root.get("$schema")
    if not isinstance(found, str):
        return 2020
    address, _, fragment = found.partition("#")
    return None if fragment else _DRAFTS.get(re.sub(r"^https?://", "", address))


def _join(base: str, reference: str) -> str:
    """Return the address of a reference without a fragment, or what stands for it."""
    if found := _SCHEME.match(reference):
        if found["scheme"].lower() in ("http", "https"):
            return found["scheme"].lower() + reference[found.end("scheme") :]
        path = reference.removeprefix("file://")
        plain = reference.startswith("file:///") and _PLAIN_PATH.fullmatch(path)
        return reference if plain else _ELSEWHERE
    if _is_web(base):
        try:
            return urljoin(base, reference)
        except ValueError:
            return _ELSEWHERE
    if base == _ELSEWHERE or not _PLAIN_PATH.fullmatch(reference):
        return _ELSEWHERE
    return f"file://{reference}" if reference.startswith("/") else f"{base.rpartition('/')[0]}/{reference}"


def _is_web(address: str) -> bool:
    return address.startswith(("http:", "https:"))


def _without_fragment(reference: str) -> str:
    return reference.partition("#")[0]


def _refers_to(reference: str) -> str:
    shown = one_line(without_login(reference), _SHOWN)
    return f'refers to "{shown}", which is neither within the schema nor an http:// or https:// address'
