"""dryRun: renders, validates every object with the API server, changes nothing, and reports in the status."""

import json
from pathlib import Path

import pytest

from e2e.fields.steps import config, deploy, message, ready_reason, refused, small
from harness.cluster import Cluster, condition_of

pytestmark = pytest.mark.usefixtures("operator")

# Each is wrong in a way that only the API server sees; helm's own dry run passes all of them.
OBJECTS = """
kind: ConfigMap
apiVersion: v1
metadata: {name: {{ .Release.Name }}}
data: {message: {{ .Values.message | default "hello" }}}
---
kind: Service
apiVersion: v1
metadata: {name: {{ .Values.name | default "service" }}}
spec:
  ports: [{port: {{ .Values.port | default 80 }}}]
  {{- if .Values.unknown }}
  {{ .Values.unknown }}: x
  {{- end }}
---
kind: Secret
apiVersion: v1
metadata: {name: secret}
data: {key: {{ .Values.secret | default "aGk=" }}}
"""


@pytest.fixture(scope="module")
def chart(chart_root: Path) -> dict[str, str]:
    """A chart that can be made wrong by its values."""
    return small(chart_root, name="judged", objects=OBJECTS)


def test_a_dry_run_installs_nothing_and_reports(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    found = deploy(cluster, ns, "a", chart, dryRun=True)
    assert (found["status"]["phase"], ready_reason(found)) == ("Ready", "DryRunSucceeded")
    ready = condition_of(found, "Ready")
    assert ready["message"] == "Dry run of judged 1.0.0: 3 objects rendered and validated, nothing changed"
    assert "release" not in found["status"]
    assert not condition_of(found, "Released")
    assert cluster.revisions(ns, "a") == []
    assert message(cluster, ns, "a") is None


def test_a_dry_run_does_not_touch_the_release(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    """Without it, the same resource is upgraded."""
    deploy(cluster, ns, "a", chart)
    found = deploy(cluster, ns, "a", chart, values={"message": "new"}, dryRun=True)
    assert ready_reason(found) == "DryRunSucceeded"
    assert cluster.revisions(ns, "a") == [(1, "deployed")]
    assert message(cluster, ns, "a") == "hello"
    deploy(cluster, ns, "a", chart, values={"message": "new"})
    assert cluster.revisions(ns, "a") == [(1, "superseded"), (2, "deployed")]
    assert message(cluster, ns, "a") == "new"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"unknown": "selektor"}, ["selektor"]),
        ({"port": 99999}, ["spec.ports[0].port"]),
        ({"port": "none"}, ["port"]),
        ({"name": "Not_Allowed"}, ["Not_Allowed"]),
        ({"secret": "no base64!"}, ["secret"]),
    ],
    ids=["unknown field", "value out of range", "wrong type", "forbidden name", "secret"],
)
def test_a_dry_run_finds_refusals_of_the_api_server(
    cluster: Cluster, ns: str, chart: dict[str, str], values: dict[str, object], told: list[str]
) -> None:
    """For the reason and in the words of the real run."""
    dry = refused(cluster, ns, "a", chart, values=values, dryRun=True)
    assert cluster.revisions(ns, "a") == []
    assert config(cluster, ns, "a") is None
    assert [part for part in told if part not in dry["message"]] == []
    real = refused(cluster, ns, "b", chart, values=values)
    assert (dry["phase"], dry["reason"]) == (real["phase"], real["reason"])


def test_a_dry_run_takes_over_fields_like_an_upgrade(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    """And changes nothing."""
    deploy(cluster, ns, "a", chart)
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"message": "theirs"}}
    options = ("--server-side", "--force-conflicts", "--field-manager=somebody", f"--namespace={ns}")
    cluster.kubectl("apply", *options, "-f", "-", input=json.dumps(theirs))
    found = deploy(cluster, ns, "a", chart, values={"message": "ours"}, dryRun=True)
    assert ready_reason(found) == "DryRunSucceeded"
    assert message(cluster, ns, "a") == "theirs"
    deploy(cluster, ns, "a", chart, values={"message": "ours"})
    assert message(cluster, ns, "a") == "ours"


def test_a_dry_run_adopts_like_an_install(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    """It once reported a FieldConflict that the real install does not have."""
    marks = {"meta.helm.sh/release-name": "a", "meta.helm.sh/release-namespace": ns}
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    meta = {"name": "a", "annotations": marks, "labels": labels}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"message": "theirs"}}
    options = ("--server-side", "--field-manager=somebody", f"--namespace={ns}")
    cluster.kubectl("apply", *options, "-f", "-", input=json.dumps(theirs))
    found = deploy(cluster, ns, "a", chart, dryRun=True)
    assert ready_reason(found) == "DryRunSucceeded"
    assert message(cluster, ns, "a") == "theirs"
    deploy(cluster, ns, "a", chart)
    assert message(cluster, ns, "a") == "hello"


def test_a_dry_run_creates_no_namespace(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    found = deploy(cluster, ns, "a", chart, dryRun=True, targetNamespace=f"{ns}-none")
    assert ready_reason(found) == "DryRunSucceeded"
    assert condition_of(found, "Ready")["message"] == (
        "Dry run of judged 1.0.0: 3 objects rendered, 3 not validated because their namespace does not exist yet"
    )
    assert cluster.get(f"/api/v1/namespaces/{ns}-none") is None
