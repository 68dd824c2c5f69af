"""Reads, checks and rewrites the document that helm stores of a revision in its release Secret.

Anybody may write such a Secret, so its size and the number of its values are bounded before anything is built, and an
unreadable one is an error of that release only. `storage` reads the metadata of the Secrets, which is enough for most passes.
"""

import asyncio
import base64
import gzip
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from managedchart_operator.errors import UNREADABLE, HelmError
from managedchart_operator.helm.apart import LARGE, read_apart
from managedchart_operator.helm.storage import LEFT_UNFINISHED
from managedchart_operator.reasons import Reason
from managedchart_operator.shallow_json import uncollected

# How helm (3 and 4.3.1: install.go, upgrade.go, rollback.go) and the operator describe a failed revision.
_FAILURE = re.compile(rf'(?:Release|Upgrade|Rollback) ".*?" failed: |{LEFT_UNFINISHED}')

BY_SERVER = "ssa"
"""How helm notes that it applied a revision by server-side apply; Helm 3 notes nothing."""
# The values of the annotation helm.sh/hook-delete-policy with which helm deletes a hook after its end.
_SELF_DELETING = frozenset({"hook-succeeded", "hook-failed"})
# The events of tests; Helm 2 had two.
_TESTS = frozenset({"test", "test-success"})
# helm 4.3.1, pkg/chart/v2/chart.go: CRDObjects.
_CRD_FILE = re.compile(r"crds/.*\.(?i:yaml|yml|json)", re.DOTALL)
# A Secret holds 1 MiB, of which base64 leaves 768 KiB for the gzip; manifests and charts compress to a tenth, rarely to a
# twentieth. gzip can compress to a thousandth, so a few KiB that anybody wrote could fill the memory.
_DOCUMENT_BYTES = 16 * 1024 * 1024
# Objects, lists, texts and numbers. While json.loads builds them, no other thread runs: so many in a document that is not large
# enough for a worker process take 0.03 s (measured). A release has few: chart and values of podinfo 500.
_DOCUMENT_VALUES = 100_000
# Python needs the square of their number to read the digits of a whole number. Go's numbers have some 20, or 310 as a float.
_DIGITS = 400
# Characters of a release Secret's data, those of a small chart.
_SMALL_DATA = 16 * 1024
# A release has a few dozen. Checking a hook takes 3 µs, and blocks other threads too (measured).
_HOOKS = 5_000
_SEPARATORS = (b",", b"[", b"{")
# Possessive quantifiers, so that a text of any length is matched without memory for backtracking.
_JSON_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

# Only the first error is reported, so the others are not collected: a list may have thousands.
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
    """The parts of helm's document that the operator reads."""

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
        """Whether helm used server-side apply. Helm 3, and Helm 4 with --server-side=false, used client-side apply."""
        return self.document.get("apply_method") == BY_SERVER

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
        """The YAML files in the chart's crds/ folder; helm does not store those of subcharts. Raises ValueError."""
        files = (self.document.get("chart") or {}).get("files") or []
        return [
            base64.b64decode(file.get("data") or "").decode(errors="replace")
            for file in files
            if _CRD_FILE.fullmatch(file.get("name") or "")
        ]

    @property
    def manifests(self) -> list[str]:
        """The manifest, and those of the hooks."""
        return [self.manifest, *self.hook_manifests]

    @property
    def hook_manifests(self) -> list[str]:
        """Each hook's object as YAML."""
        return [hook.get("manifest") or "" for hook in self.document.get("hooks") or []]

    @property
    def self_deleting_hooks(self) -> list[str]:
        """The objects, as YAML, of the hooks that the chart wants deleted once they have ended.

        Other hooks are meant to stay, even after the release, such as a Secret that is created once.
        """
        hooks = self.document.get("hooks") or []
        return [hook.get("manifest") or "" for hook in hooks if _SELF_DELETING & set(hook.get("delete_policies") or ())]

    def hooks_at(self, event: str) -> int:
        """Return how many hooks run at an event, like `pre-install` or `post-delete`."""
        return sum(event in (hook.get("events") or ()) for hook in self.document.get("hooks") or ())

    def running_tests(self, *, since: datetime) -> list[str]:
        """Return the names of the tests that helm has begun since then, and not ended; helm notes that before it begins one."""
        hooks = self.document.get("hooks") or ()
        return [
            hook.get("name") or ""
            for hook in hooks
            if _TESTS & set(hook.get("events") or ()) and _runs_since(hook.get("last_run"), since)
        ]

    @property
    def description(self) -> str:
        """helm's own sentence about the outcome of the revision."""
        return (self.document.get("info") or {}).get("description") or ""

    @property
    def succeeded(self) -> bool:
        """Whether the description does not say that the revision failed; in doubt it did not.

        Once helm has superseded a failed revision, by an upgrade where nothing was deployed or by a rollback that failed
        itself, only the description still says so.
        """
        return _FAILURE.match(self.description) is None

    @property
    def _metadata(self) -> dict[str, Any]:
        return (self.document.get("chart") or {}).get("metadata") or {}


def _runs_since(last_run: Any, since: datetime) -> bool:
    try:
        return last_run["phase"] == "Running" and datetime.fromisoformat(last_run["started_at"]) >= since
    except UNREADABLE:  # anybody may write the Secret
        return False


async def read_secret(secret: Mapping[str, Any]) -> StoredRelease:
    """Decode a release Secret without holding up the event loop. Raises HelmError when helm cannot have written it."""
    text = await asyncio.to_thread(_unpacked, secret)

    def too_much(why: str) -> HelmError:
        return _unreadable(secret, why)

    try:
        return StoredRelease(await read_apart(read_document, text, size=len(text), error=too_much))
    except UNREADABLE as error:
        raise _unreadable(secret, str(error) or type(error).__name__) from error


def decode(secret: Mapping[str, Any]) -> StoredRelease:
    """Do what `read_secret` does; to be called in a thread, since a large one takes a while."""
    try:
        return StoredRelease(read_document(_unpacked(secret)))
    except UNREADABLE as error:
        raise _unreadable(secret, str(error) or type(error).__name__) from error


def _unpacked(secret: Mapping[str, Any]) -> bytes:
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        return unzipped(packed, _DOCUMENT_BYTES) if packed[:2] == b"\x1f\x8b" else packed
    except (*UNREADABLE, zlib.error) as error:
        raise _unreadable(secret, str(error) or type(error).__name__) from error


def _unreadable(secret: Mapping[str, Any], why: str) -> HelmError:
    return HelmError(
        f"The release Secret {secret_name(secret)} cannot be read: {why}",
        reason=Reason.HELM_FAILED,
        transient=False,
        hint="Delete the Secret if nothing needs it; it was not written by Helm 3 or 4.",
    )


def secret_name(secret: Mapping[str, Any]) -> str:
    """Return the name of a Secret, for messages."""
    return str((secret.get("metadata") or {}).get("name", "?"))


def read_document(text: bytes) -> dict[str, Any]:
    """Return helm's JSON of a release, checked; to be called in a thread.

    Raises ValueError for JSON that helm cannot have written, or with more values than a release has; its text quotes no value.
    """
    _check_values(text)
    try:
        with uncollected():
            document = json.loads(text, parse_int=_integer, parse_float=_float)
        if not isinstance(document, dict):
            raise ValueError("it is not a release")  # noqa: TRY004 -- callers handle one type of error
        _Document.model_validate(document)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}") from None
    return document


def _integer(digits: str) -> int:
    _check_digits(digits)
    return int(digits)


def _float(digits: str) -> float:
    _check_digits(digits)
    return float(digits)


def _check_digits(digits: str) -> None:
    if len(digits) > _DIGITS:
        raise ValueError("it has a number with too many digits")


def unzipped(packed: bytes, limit: int) -> bytes:
    """Decompress gzip. Raises ValueError or zlib.error if it is invalid, larger than the limit or cut off."""
    stream = zlib.decompressobj(wbits=31)
    unpacked = stream.decompress(packed, limit)
    if not stream.eof:
        raise ValueError("it is cut off" if len(unpacked) < limit else f"it is larger than {limit} bytes")
    return unpacked


def _check_values(document: bytes) -> None:
    """Raise ValueError for JSON with more values than a release has; counts the characters that separate and open them."""
    if _separators(document, 0, len(document)) <= _DOCUMENT_VALUES:
        return  # even with those within texts
    count = end = 0
    for text in _JSON_TEXT.finditer(document):  # not `split`, in which no other thread could run
        count += _separators(document, end, text.start())
        end = text.end()
        if count > _DOCUMENT_VALUES:
            break
    if count + _separators(document, end, len(document)) > _DOCUMENT_VALUES:
        raise ValueError(f"it has more than {_DOCUMENT_VALUES} values")


def _separators(document: bytes, start: int, end: int) -> int:
    return sum(document.count(separator, start, end) for separator in _SEPARATORS)


async def marked(secret: Mapping[str, Any], status: str, description: str | None) -> tuple[str, dict[str, str]]:
    """Do what `with_status` does without holding up the event loop. Raises HelmError."""

    def too_much(why: str) -> HelmError:
        return _unreadable(secret, why)

    # Reading and writing cost twice as much as reading, and nobody waits for it.
    data = (secret.get("data") or {}).get("release") or ""
    size = len(data) * LARGE // _SMALL_DATA
    return await read_apart(with_status, dict(secret), status, description, size=size, error=too_much)


def with_status(secret: Mapping[str, Any], status: str, description: str | None = None) -> tuple[str, dict[str, str]]:
    """Return the data and the labels of a release Secret with another status of the revision. To be called in a thread.

    A pending revision has to be marked failed before helm upgrades over it ("another operation is in progress"). One that did
    not become ready is marked failed as helm does it, and the previous one is then deployed again. Raises HelmError.
    """
    release = decode(secret)
    document = dict(release.document)
    described = {} if description is None else {"description": description}
    document["info"] = {**(document.get("info") or {}), "status": status, **described}
    labels = dict(secret["metadata"].get("labels") or {})
    labels["status"] = status
    return packed(document), labels


def packed(document: Mapping[str, Any]) -> str:
    """Return a document as the data of a release Secret, the inverse of `decode`."""
    try:
        text = _encoded(document, ascii_only=False)
    except UnicodeEncodeError:  # a lone surrogate, which can only be written as an escape
        text = _encoded(document, ascii_only=True)
    return base64.b64encode(base64.b64encode(gzip.compress(text, compresslevel=9))).decode()


def _encoded(document: Mapping[str, Any], *, ascii_only: bool) -> bytes:
    # Part by part, since no other thread runs meanwhile.
    parts = (
        f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=ascii_only, separators=(',', ':'))}".encode()
        for key, value in document.items()
    )
    return b"{" + b",".join(parts) + b"}"
