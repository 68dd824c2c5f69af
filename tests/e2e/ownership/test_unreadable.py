"""Unreadable release Secrets do not block a deletion, and what stays because of them is reported."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import delete, deploy, is_there, message, small
from harness.cluster import Cluster

pytestmark = pytest.mark.usefixtures("operator")

FORMS = {
    "not-packed": b"nothing",
    "deep": b64encode(b"[" * 50_000),
    "of-other-types": b64encode(b'{"info": [], "manifest": 5}'),
}
"""What the API server decodes from the Secret's data; helm's own packing is base64 of gzip of JSON."""


def secret_path(ns: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/secrets/{name}".rstrip("/")


def break_secret(cluster: Cluster, ns: str, form: str) -> None:
    """Put something else into the Secret of revision 1 of the release a, with its labels as they are."""
    patch = json.dumps({"data": {"release": b64encode(FORMS[form]).decode()}})
    cluster.kubectl(
        "patch", "secret", "sh.helm.release.v1.a.v1", f"--namespace={ns}", "--type=merge", f"--patch={patch}"
    )


def forge_secret(cluster: Cluster, ns: str, form: str, **labels: str) -> None:
    """Create a Secret that claims to be revision 2 of the release a."""
    known = {"owner": "helm", "name": "a", "version": "2", "status": "deployed", "createdAt": "1767225600"}
    body: dict[str, Any] = {
        "metadata": {"name": "sh.helm.release.v1.a.v2", "labels": {**known, **labels}},
        "type": "helm.sh/release.v1",
        "data": {"release": b64encode(FORMS[form]).decode()},
    }
    cluster.create(secret_path(ns), body)


@pytest.mark.parametrize("form", FORMS)
def test_an_unreadable_release_does_not_block_deletion(cluster: Cluster, ns: str, chart_root: Path, form: str) -> None:
    """Helm is run, since the labels prove ownership. Objects that it cannot find are left, with the Secret."""
    deploy(cluster, ns, "a", small(chart_root))
    break_secret(cluster, ns, form)
    delete(cluster, ns, "a")
    assert not is_there(cluster, ns, "a")
    [event] = cluster.wait_event(ns, "a", "ReleaseLeft")
    assert "The release Secret sh.helm.release.v1.a.v1 cannot be read" in event["message"]
    assert "left in the cluster" in event["message"]
    assert message(cluster, ns, "a") == "hello"
    assert cluster.get(secret_path(ns, "sh.helm.release.v1.a.v1")) is not None


@pytest.mark.parametrize("form", FORMS)
def test_a_forged_revision_does_not_block_deletion(cluster: Cluster, ns: str, chart_root: Path, form: str) -> None:
    """Whoever may create Secrets in the namespace can make one: without proof the release stays, and an Event says so."""
    deploy(cluster, ns, "a", small(chart_root))
    forge_secret(cluster, ns, form)
    delete(cluster, ns, "a")
    assert not is_there(cluster, ns, "a")
    assert cluster.wait_event(ns, "a", "ReleaseLeft")
    assert cluster.get(secret_path(ns, "sh.helm.release.v1.a.v2")) is not None


def test_helm_uninstalls_by_a_readable_revision(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """A newer revision with the same owner's labels cannot be read: the objects of the one before go."""
    deploy(cluster, ns, "a", small(chart_root))
    first = cluster.get(secret_path(ns, "sh.helm.release.v1.a.v1"))
    assert first is not None
    ours = {key: value for key, value in first["metadata"]["labels"].items() if key.startswith("managedchart.dev/")}
    forge_secret(cluster, ns, "not-packed", **ours)
    delete(cluster, ns, "a")
    assert not is_there(cluster, ns, "a")
    assert message(cluster, ns, "a") is None
    assert cluster.revisions(ns, "a") == [(2, "deployed")]
    [event] = cluster.wait_event(ns, "a", "ReleaseLeft")
    assert "sh.helm.release.v1.a.v2 cannot be read" in event["message"]
