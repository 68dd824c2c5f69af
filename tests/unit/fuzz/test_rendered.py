"""S10: whatever a chart renders, or somebody writes into a release Secret, is read or refused in words."""

import base64
import contextlib
import gzip
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.fuzzing import JSON, bounded_time, fuzzed, texts
from managedchart_operator.errors import HelmError
from managedchart_operator.helm.invalid_objects import name_invalid
from managedchart_operator.helm.manifest import ManifestError, outline, parse_manifest
from managedchart_operator.helm.manifest_edits import Drop, rewrite
from managedchart_operator.helm.release_size import name_biggest
from managedchart_operator.helm.storage import revisions_of
from managedchart_operator.helm.stored_release import StoredRelease, decode, with_status
from managedchart_operator.redaction import secrets_in_manifest

MANIFEST = [
    *(
        "apiVersion: v1\n",
        "apiVersion: apps/v1\n",
        "kind: ConfigMap\n",
        "kind: Secret\n",
        "kind: List\n",
        "kind: 'A'\n",
    ),
    *("metadata:\n  name: a\n", "metadata: {name: b, labels: {c: d}}\n", "metadata: &m\n  name: c\n", "spec: *m\n"),
    *(
        "items:\n- apiVersion: v1\n  kind: Pod\n",
        "data:\n  a: YQ==\n",
        "stringData: {a: b}\n",
        "\n---\n",
        "# Source: a/b.yaml\n",
    ),
    *(
        "  x: |\n    text\n",
        "{kind: A, metadata: {name: d}}\n",
        "\n",
        "- a\n",
        "kind: true\n",
        "\r\n",
        "%a\n",
    ),
]
DOCUMENT = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {},
        optional={
            "manifest": st.one_of(texts(MANIFEST, longest=2000), JSON),
            "hooks": st.one_of(
                st.lists(
                    st.fixed_dictionaries(
                        {}, optional={"manifest": texts(MANIFEST, longest=200), "events": JSON, "path": JSON}
                    )
                ),
                JSON,
            ),
            "chart": st.one_of(
                st.fixed_dictionaries(
                    {}, optional={"metadata": JSON, "files": JSON, "templates": JSON, "schema": JSON}
                ),
                JSON,
            ),
            "info": st.one_of(st.fixed_dictionaries({}, optional={"description": JSON, "status": JSON}), JSON),
            "config": JSON,
        },
    ),
)


def secret(text: bytes, *, compressed: bool = True) -> dict[str, Any]:
    """A release Secret with this document."""
    packed = gzip.compress(text) if compressed else text
    data = base64.b64encode(base64.b64encode(packed)).decode()
    return {
        "metadata": {"name": "sh.helm.release.v1.a.v1", "labels": {"status": "deployed"}},
        "data": {"release": data},
    }


@fuzzed
@given(text=texts(MANIFEST))
def test_any_manifest_is_read_or_refused(text: str) -> None:
    """What the fast way finds is what the slow one finds."""
    with bounded_time():
        try:
            whole = parse_manifest(text)
        except ManifestError:
            return
        short = outline(text)
        secrets_in_manifest(whole)
    assert [(item.get("kind"), item.get("metadata")) for item in whole] == [
        (item.get("kind"), item.get("metadata")) for item in short
    ]


@fuzzed
@given(text=texts(MANIFEST, longest=2000))
def test_any_manifest_is_rewritten_or_refused(text: str) -> None:
    with bounded_time(), contextlib.suppress(ManifestError):
        rewrite(text, lambda each: Drop() if each.kind == "ConfigMap" else None)


@fuzzed
@given(document=DOCUMENT)
def test_any_release_document_is_read_or_refused(document: Any) -> None:
    text = json.dumps(document).encode()
    with bounded_time():
        for read in (name_biggest, name_invalid):
            with contextlib.suppress(ValueError):
                read(text)
        try:
            use(decode(secret(text)))
            with_status(secret(text), "failed", description="x")
        except (HelmError, ManifestError):
            pass


def use(release: StoredRelease) -> None:
    """Read everything of a release that the operator reads."""
    assert isinstance(release.description, str)
    assert isinstance(release.manifests, list)
    assert release.hooks_at("pre-install") >= 0
    assert (release.succeeded, release.applied_by_server) is not None
    assert (release.chart_name, release.chart_version, release.app_version, release.values) is not None
    assert isinstance(release.self_deleting_hooks, list)
    with contextlib.suppress(ValueError):
        assert isinstance(release.crd_files, list)
    outline(*release.manifests)


@fuzzed
@given(data=st.one_of(st.binary(max_size=300), st.text(max_size=300)), compressed=st.booleans())
def test_any_bytes_of_a_release_are_refused(data: bytes | str, compressed: bool) -> None:
    with bounded_time(), contextlib.suppress(HelmError):
        decode(
            secret(data, compressed=compressed)
            if isinstance(data, bytes)
            else {"metadata": {}, "data": {"release": data}}
        )


@fuzzed
@given(
    secrets=st.lists(
        st.fixed_dictionaries(
            {"name": st.text(max_size=30), "labels": st.dictionaries(st.text(max_size=8), st.text(max_size=20))}
        )
    )
)
def test_any_metadata_of_release_secrets_is_read(secrets: list[dict[str, Any]]) -> None:
    """Labels are texts: the API server sees to that."""
    revisions_of(secrets)
