"""Reading and rewriting helm's release Secrets, tested with a Secret that the real helm wrote.

test_storage_pending.json is what helm 4.3.1 left when it was killed (SIGKILL) during `upgrade --wait` of tests/charts/web.
"""

import base64
import gzip
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from managedchart_operator.errors import HelmError
from managedchart_operator.helm import stored_release
from managedchart_operator.helm.manifest import parse_manifest
from managedchart_operator.helm.storage import ATTEMPT_LABEL, FAILED, attempt_label, revision_of, revisions_of
from managedchart_operator.helm.stored_release import decode, with_status

FIXTURE = Path(__file__).with_name("test_storage_pending.json")


@pytest.fixture
def secret() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FIXTURE.read_text())
    return loaded


def secret_of(release: bytes) -> dict[str, Any]:
    """A release Secret around what helm would have packed."""
    packed = base64.b64encode(base64.b64encode(release)).decode()
    return {"metadata": {"name": "sh.helm.release.v1.web.v1"}, "data": {"release": packed}}


def zipped(document: object) -> dict[str, Any]:
    return secret_of(gzip.compress(json.dumps(document).encode()))


# ---- what helm wrote


def test_a_document_of_helm_is_read(secret: dict[str, Any]) -> None:
    stored = decode(secret)
    assert (stored.chart_name, stored.chart_version, stored.app_version) == ("web", "1.2.3", "4.5")
    assert stored.description == "Preparing upgrade"
    assert [item["kind"] for item in parse_manifest(stored.manifest)] == ["ConfigMap", "Service", "Deployment"]
    assert stored.hook_manifests == []


def test_a_revision_is_read_from_metadata(secret: dict[str, Any]) -> None:
    revision = revision_of(secret["metadata"])
    assert (revision.number, revision.status, revision.secret) == (2, "pending-upgrade", "sh.helm.release.v1.web.v2")
    assert (revision.digest, revision.owner) == ("d2", "uid-1")
    assert revision.pending


def test_the_attempt_label_names_its_revision() -> None:
    """Another Helm operation copies it to a revision of another number."""
    carried = attempt_label("c0ffee", number=2)
    ours, theirs = (revision_of(metadata(number, **{ATTEMPT_LABEL: carried})) for number in ("2", "3"))
    assert (ours.number, ours.labelled_for, ours.attempt) == (2, 2, "c0ffee")
    assert (theirs.number, theirs.labelled_for, theirs.attempt) == (3, 2, "c0ffee")


@pytest.mark.parametrize("label", ["", ".", "c0ffee", "x.c0ffee", "0.c0ffee"])
def test_an_invalid_attempt_label_is_ignored(label: str) -> None:
    assert revision_of(metadata("2", **{ATTEMPT_LABEL: label})).labelled_for is None


def test_a_pending_upgrade_has_its_own_age(secret: dict[str, Any]) -> None:
    """helm carries the label modifiedAt over from the revision before, so a lock looked older than it was."""
    labels = secret["metadata"]["labels"]
    assert int(labels["modifiedAt"]) < int(labels["createdAt"])
    assert revision_of(secret["metadata"]).modified_at == float(labels["createdAt"])


def test_a_rewritten_revision_has_the_later_time() -> None:
    labels = {"version": "1", "createdAt": "100", "modifiedAt": "160"}
    assert revision_of({"name": "s", "labels": labels}).modified_at == 160.0
    assert revision_of({"name": "s", "labels": {"version": "1", "modifiedAt": "90"}}).modified_at == 90.0
    assert revision_of({"name": "s", "labels": {"version": "1"}}).modified_at is None


# ---- marking a revision failed


def test_marking_failed_changes_only_the_status(secret: dict[str, Any]) -> None:
    """Unknown parts of the document stay unchanged; helm reads info.status, lists read the label."""
    before = decode(secret).document
    data, labels = with_status(secret, FAILED, description="ended by an operator")
    after = decode({**secret, "data": {"release": data}}).document
    assert after["info"] == {**before["info"], "status": "failed", "description": "ended by an operator"}
    assert {key: value for key, value in after.items() if key != "info"} == {
        key: value for key, value in before.items() if key != "info"
    }
    assert list(after) == list(before)
    assert labels == {**secret["metadata"]["labels"], "status": "failed"}


def test_marking_failed_does_not_change_its_input(secret: dict[str, Any]) -> None:
    with_status(secret, FAILED, description="x")
    assert secret == json.loads(FIXTURE.read_text())


def test_a_marked_revision_is_packed_like_helms(secret: dict[str, Any]) -> None:
    """base64 of gzip, inside the base64 of the API; helm knows the gzip by its first three bytes."""
    data, _ = with_status(secret, FAILED, description="x")
    assert base64.b64decode(base64.b64decode(data))[:3] == b"\x1f\x8b\x08"


def test_an_uncompressed_document_is_read() -> None:
    """As helm does: releases of its first versions are plain JSON."""
    assert decode(secret_of(b'{"manifest": "kind: A"}')).manifest == "kind: A"


def test_crd_files_of_the_chart_are_read() -> None:
    """As helm picks them; README and values are files too."""
    names = ["crds/a.yaml", "crds/deep/b.YML", "crds/c.json", "crds/README.md", "other/crds/d.yaml", "Crds/e.yaml"]
    files = [{"name": name, "data": base64.b64encode(name.encode()).decode()} for name in names]
    stored = decode(zipped({"chart": {"files": [*files, {"name": None, "data": None}]}}))
    assert stored.crd_files == names[:3]


def test_a_document_without_its_parts_reads_as_empty() -> None:
    stored = decode(zipped({"info": None, "chart": None, "hooks": None, "manifest": None}))
    assert (stored.chart_name, stored.manifest, stored.hook_manifests, stored.description) == (None, "", [], "")


# ---- what helm did not write

GARBAGE = {
    "no data": {"metadata": {"name": "s"}},
    "no release": {"metadata": {"name": "s"}, "data": {"other": ""}},
    "no metadata": {"data": {"release": "!"}},
    "empty": secret_of(b""),
    "not base64": {"metadata": {"name": "s"}, "data": {"release": "%%%"}},
    "not ASCII": {"metadata": {"name": "s"}, "data": {"release": "ü"}},
    "not gzip": secret_of(b"\x00\x01\x02"),
    "cut off": secret_of(gzip.compress(b'{"name": "web", "manifest": "' + b"x" * 5000 + b'"}')[:40]),
    "not JSON": secret_of(gzip.compress(b"kind: Secret")),
    "not UTF-8": secret_of(gzip.compress(b'{"name": "\xff\xfe"}')),
    "too deep": secret_of(gzip.compress(b"[" * 200_000)),
    "a list": zipped([]),
    "a text": zipped("password"),
    "null": zipped(None),
    "info is no mapping": zipped({"info": ["status"]}),
    "chart is no mapping": zipped({"chart": "password"}),
    "chart metadata is no mapping": zipped({"chart": {"metadata": "web"}}),
    "the chart's files are no list of mappings": zipped({"chart": {"files": ["crds/a.yaml"]}}),
    "hooks are no list of mappings": zipped({"hooks": ["job"]}),
    "a hook's manifest is no text": zipped({"hooks": [{"manifest": 1}]}),
    "a chart's version is no text": zipped({"chart": {"metadata": {"version": 1.5}}}),
    "manifest is no text": zipped({"manifest": {"kind": "Secret"}}),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_has_a_message(garbage: dict[str, Any]) -> None:
    """Everybody who may write Secrets in the namespace can write one; it is an error of that release only."""
    with pytest.raises(HelmError) as caught:
        decode(garbage)
    assert "The release Secret" in caught.value.message
    assert caught.value.hint
    assert "password" not in caught.value.message
    with pytest.raises(HelmError):
        with_status(garbage, FAILED, description="x")


def test_a_decompression_bomb_is_refused_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it would unfold to, no more than the limit is unfolded, and the error says so."""
    monkeypatch.setattr(stored_release, "_DOCUMENT_BYTES", 1024 * 1024)
    bomb = secret_of(gzip.compress(b"{}" + b" " * (4 * 1024 * 1024)))
    assert len(bomb["data"]["release"]) < 16 * 1024
    with pytest.raises(HelmError, match="larger than"):
        decode(bomb)


@pytest.mark.parametrize(
    "many",
    ["[],", "{},", "1,", "1.5,", '"a",', '"\\\\","a\\",",', '{"a":1},'],
    ids=["lists", "objects", "numbers", "fractions", "texts", "texts with quotes", "objects with a key"],
)
def test_a_document_with_too_many_values_is_not_parsed(many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few KiB of gzip could make json fill the memory, and block the event loop of all charts for seconds."""
    monkeypatch.setattr(stored_release.json, "loads", lambda _: pytest.fail("it was parsed"))
    document = '{"chart": [' + many * (stored_release._DOCUMENT_VALUES + 1) + "0]}"
    with pytest.raises(HelmError, match="more than 100000 values"):
        decode(secret_of(gzip.compress(document.encode())))


def test_separators_within_texts_do_not_count() -> None:
    """A manifest may hold dashboards, which are JSON themselves."""
    manifest = json.dumps(
        {"kind": "ConfigMap", "data": json.dumps([{"a": [1, "\\"]}] * stored_release._DOCUMENT_VALUES)}
    )
    assert decode(zipped({"manifest": manifest, "hooks": [{"manifest": manifest}]})).manifest == manifest


def test_too_many_hooks_are_refused() -> None:
    with pytest.raises(HelmError, match=r"hooks: .*at most 5000"):
        decode(zipped({"hooks": [{}] * 5001}))


# ---- order


def metadata(version: str, **labels: str) -> dict[str, Any]:
    return {"name": f"sh.helm.release.v1.web.v{version}", "labels": {"version": version, "status": "x", **labels}}


def test_revisions_are_sorted_by_number() -> None:
    found = revisions_of(metadata(version) for version in ("2", "10", "1", "9"))
    assert [revision.number for revision in found] == [10, 9, 2, 1]


def test_a_foreign_secret_is_not_a_revision() -> None:
    """A label that is not a number must not block the release that it names."""
    strange = [metadata("latest"), {"name": "s", "labels": {"owner": "helm"}}, {"name": "s"}, metadata("")]
    assert [revision.number for revision in revisions_of([*strange, metadata("3")])] == [3]


def test_an_invalid_time_is_unknown() -> None:
    [revision] = revisions_of([metadata("1", modifiedAt="yesterday")])
    assert revision.modified_at is None


def test_the_fixture_is_of_the_present_helm(helm_binary: str) -> None:
    """A new helm line asks for a new fixture: its layout may have changed."""
    text = subprocess.run([helm_binary, "version", "--template={{.Version}}"], capture_output=True, check=True).stdout
    assert text.decode().lstrip("v").startswith("4.3.")


# ---- what others put there


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"release": None},
        {"release": 5},
        {"release": "é"},
        {"release": base64.b64encode(base64.b64encode(b"[" * 50_000)).decode()},
    ],
    ids=str,
)
def test_any_secret_is_at_most_unreadable(data: Any) -> None:
    with pytest.raises(HelmError, match="cannot be read"):
        decode({"metadata": {"name": "s"}, "data": data})


@pytest.mark.parametrize("raised", [MemoryError(), RecursionError(), OverflowError("x")])
def test_every_error_of_a_parser_means_unreadable(
    secret: dict[str, Any], monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    def loads(_: bytes) -> None:
        raise raised

    monkeypatch.setattr(stored_release.json, "loads", loads)
    with pytest.raises(HelmError, match=r"The release Secret sh\.helm\.release\.v1\.web\.v2 cannot be read: .+"):
        decode(secret)


@pytest.mark.parametrize("wrong", ["9999999999", "4102444800", ""])
def test_a_time_in_the_future_is_ignored(wrong: str) -> None:
    """Else a lock would be waited for until then; when the Secret was made the API server knows."""
    labels = {"version": "1", "status": "pending-install", "createdAt": wrong, "modifiedAt": wrong}
    made = {"name": "s", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert revision_of(made).modified_at == 1767225600.0
    assert revision_of({**made, "creationTimestamp": "0000-01-01T00:00:00Z"}).modified_at is None
    labels["createdAt"] = "1767225700"
    assert revision_of(made).modified_at == 1767225700.0


def test_a_small_clock_skew_is_allowed() -> None:
    soon = int(time.time()) + 60
    assert revision_of({"name": "s", "labels": {"version": "1", "createdAt": str(soon)}}).modified_at == soon
