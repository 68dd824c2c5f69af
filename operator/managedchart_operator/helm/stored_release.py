"""The document that helm keeps of a revision, in its release Secret: how it is read, checked and rewritten.

Anybody may write such a Secret, so its size and the number of its values are bounded before anything is built, and what cannot
be read is an error of that one release. `storage` reads the metadata of the Secrets, which is all that most passes need.
"""

import base64
import gzip
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from managedchart_operator.errors import UNREADABLE, HelmError
from managedchart_operator.helm.storage import LEFT_UNFINISHED
from managedchart_operator.reasons import Reason

# How helm describes a revision that failed (3 and 4.3.1: install.go, upgrade.go, rollback.go), and the operator one of its own.
_FAILURE = re.compile(rf'(?:Release|Upgrade|Rollback) ".*?" failed: |{LEFT_UNFINISHED}')

# The values of the annotation helm.sh/hook-delete-policy by which a hook goes when it has ended, one way or the other.
_PASSING = frozenset({"hook-succeeded", "hook-failed"})
# helm 4.3.1, pkg/chart/v2/chart.go: CRDObjects.
_CRD_FILE = re.compile(r"crds/.*\.(?i:yaml|yml|json)", re.DOTALL)
# A Secret holds 1 MiB, of which base64 leaves 768 KiB for the gzip; manifests and charts compress to a tenth, seldom to a
# twentieth. gzip itself goes to a thousandth, so that a few KiB of anybody's could fill the memory.
_DOCUMENT_BYTES = 32 * 1024 * 1024
# Objects, lists, texts and numbers. json parses in one piece, in which no other thread runs: 32 MiB of few long texts, as helm
# writes them, hold up the event loop for 0.1 s, but as empty lists for 2.3 s, with 1.6 GiB of memory. So many values, whatever
# they are, hold it up for 0.15 s at most (measured on two busy cores). A release has few: chart and values of podinfo 500.
_DOCUMENT_VALUES = 100_000
# A release has a few dozen. The check of a hook takes 3 µs, in one piece too (measured).
_HOOKS = 5_000
_SEPARATORS = (b",", b"[", b"{")
# Possessive, so that a text of any length is matched without a memory of where it could be tried again.
_JSON_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

# The first error is told, so the others need not be gathered: a list may have many thousands.
_FAIL_FAST = Field(fail_fast=True)


class _Hook(BaseModel):
    manifest: str | None = None
    events: Annotated[list[str], _FAIL_FAST] | None = None
    delete_policies: Annotated[list[str], _FAIL_FAST] | None = None


class _ChartMetadata(BaseModel):
    name: str | None = None
    version: str | None = None
    app_version: str | None = Field(default=None, alias="appVersion")


class _File(BaseModel):
    name: str | None = None
    data: str | None = None


class _Chart(BaseModel):
    metadata: _ChartMetadata | None = None
    files: Annotated[list[_File], _FAIL_FAST] | None = None


class _Info(BaseModel):
    description: str | None = None


class _Document(BaseModel):
    """The parts of helm's document that are read here; a Secret of anybody may hold anything."""

    chart: _Chart | None = None
    info: _Info | None = None
    config: dict[str, Any] | None = None
    hooks: Annotated[list[_Hook], Field(fail_fast=True, max_length=_HOOKS)] | None = None
    manifest: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """The document of one revision."""

    document: dict[str, Any]

    @property
    def chart_name(self) -> str | None:
        """Name of the chart."""
        return self._metadata.get("name")

    @property
    def chart_version(self) -> str | None:
        """Version of the chart."""
        return self._metadata.get("version")

    @property
    def app_version(self) -> str | None:
        """Version of the application that the chart installs."""
        return self._metadata.get("appVersion")

    @property
    def applied_by_server(self) -> bool:
        """Whether helm used server-side apply; helm 3, and helm 4 when told so, applied from the client's side."""
        return self.document.get("apply_method") == "ssa"

    @property
    def values(self) -> dict[str, Any]:
        """The values that were set, without the chart's defaults."""
        return self.document.get("config") or {}

    @property
    def manifest(self) -> str:
        """The objects of the release as YAML documents."""
        return self.document.get("manifest") or ""

    @property
    def crd_files(self) -> list[str]:
        """The YAML files in the chart's crds/ folder; helm stores none of its subcharts. Raises ValueError."""
        files = (self.document.get("chart") or {}).get("files") or []
        return [
            base64.b64decode(file.get("data") or "").decode(errors="replace")
            for file in files
            if _CRD_FILE.fullmatch(file.get("name") or "")
        ]

    @property
    def hook_manifests(self) -> list[str]:
        """Each hook's object as YAML."""
        return [hook.get("manifest") or "" for hook in self.document.get("hooks") or []]

    @property
    def manifests(self) -> list[str]:
        """The manifest, and each hook's."""
        return [self.manifest, *self.hook_manifests]

    @property
    def passing_hook_manifests(self) -> list[str]:
        """Each hook's object as YAML, of those that the chart wants deleted once they have ended.

        Other hooks are meant to stay, even after the release: a Secret that is made once, say.
        """
        hooks = self.document.get("hooks") or []
        return [hook.get("manifest") or "" for hook in hooks if _PASSING & set(hook.get("delete_policies") or ())]

    def hooks_before(self, operation: str) -> int:
        """Return how many hooks run before the objects of an `install` or `upgrade` are applied."""
        return self.hooks_at(f"pre-{operation}")

    def hooks_at(self, event: str) -> int:
        """Return how many hooks run at an event, like `post-delete`."""
        return sum(event in (hook.get("events") or ()) for hook in self.document.get("hooks") or ())

    @property
    def description(self) -> str:
        """helm's own sentence about what came of the revision."""
        return (self.document.get("info") or {}).get("description") or ""

    @property
    def came_up(self) -> bool:
        """Whether the revision was not told to have failed; in doubt it was not.

        helm keeps that only in the description once it has superseded a failed revision, by an upgrade where nothing was
        deployed, or by a rollback that failed itself.
        """
        return _FAILURE.match(self.description) is None

    @property
    def _metadata(self) -> dict[str, Any]:
        return (self.document.get("chart") or {}).get("metadata") or {}


def decode(secret: Mapping[str, Any]) -> StoredRelease:
    """Decode a release Secret; to be called in a thread, since a large one takes a while.

    Raises HelmError when it is not one that helm wrote, or larger than any that helm can have written.
    """
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        return StoredRelease(read_document(_decompressed(packed) if packed[:2] == b"\x1f\x8b" else packed))
    except (*UNREADABLE, zlib.error) as error:
        raise _unreadable(secret, str(error) or type(error).__name__) from error


def read_document(text: bytes) -> dict[str, Any]:
    """Return helm's JSON of a release, checked; to be called in a thread.

    Raises ValueError for what helm cannot have written, and for more values than a release has; its text quotes none of it.
    """
    _check_values(text)
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("it is not a release")  # noqa: TRY004 -- one error for all that it can be
        _Document.model_validate(document)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}") from None
    return document


def _unreadable(secret: Mapping[str, Any], why: str) -> HelmError:
    name = (secret.get("metadata") or {}).get("name", "?")
    return HelmError(
        f"the release Secret {name} cannot be read: {why}",
        reason=Reason.HELM_FAILED,
        transient=False,
        hint="it was not written by helm 3 or 4; remove it if nothing needs it",
    )


def _decompressed(packed: bytes) -> bytes:
    """Unpack gzip. Raises ValueError or zlib.error for one that is too large or cut off."""
    stream = zlib.decompressobj(wbits=31)
    unpacked = stream.decompress(packed, _DOCUMENT_BYTES)
    if not stream.eof:
        raise ValueError(
            "it is cut off" if len(unpacked) < _DOCUMENT_BYTES else f"it is larger than {_DOCUMENT_BYTES} bytes"
        )
    return unpacked


def _check_values(document: bytes) -> None:
    """Raise ValueError for JSON of more values than a release has; counts what separates and opens them."""
    if _separators(document, 0, len(document)) <= _DOCUMENT_VALUES:
        return  # those within texts included
    count = end = 0
    for text in _JSON_TEXT.finditer(document):
        count += _separators(document, end, text.start())
        end = text.end()
        if count > _DOCUMENT_VALUES:
            break
    if count + _separators(document, end, len(document)) > _DOCUMENT_VALUES:
        raise ValueError(f"it has more than {_DOCUMENT_VALUES} values")


def _separators(document: bytes, start: int, end: int) -> int:
    return sum(document.count(separator, start, end) for separator in _SEPARATORS)


def with_status(
    secret: Mapping[str, Any], status: str, *, description: str | None = None
) -> tuple[str, dict[str, str]]:
    """Return the data and the labels of a release Secret whose revision is to have another status; takes as long as `decode`.

    A pending revision has to be marked failed before helm upgrades over it ("another operation is in progress"), and one that
    did not become ready, as helm itself does; the one before it then is the deployed one again. Raises HelmError.
    """
    release = decode(secret)
    document = dict(release.document)
    told = {} if description is None else {"description": description}
    document["info"] = {**(document.get("info") or {}), "status": status, **told}
    labels = dict(secret["metadata"].get("labels") or {})
    labels["status"] = status
    return packed(document), labels


def packed(document: Mapping[str, Any]) -> str:
    """Return a document as the data of a release Secret: what `decode` reads."""
    try:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        text = json.dumps(document, separators=(",", ":")).encode()
    return base64.b64encode(base64.b64encode(gzip.compress(text, compresslevel=9))).decode()
