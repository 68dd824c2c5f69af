"""The verbs that change what others depend on, on a real API server: CRDs, Jobs, tests of charts, backups."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS
from e2e.fields.steps import delete, refused, small
from harness.chart_files import chart_files, write_chart
from harness.cluster import Cluster, KubectlError, condition_of, managedchart, wait_established
from managedchart_operator.helm.stored_release import decode

pytestmark = pytest.mark.usefixtures("operator")

FAIL = "devcluster.managedchart.dev/fail"
RAW = {"path": str(CHARTS / "raw")}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ONCE = {"limit": 0}

TESTS = """
{{- range $name := (.Values.names | default (list "good" "bad")) }}
---
apiVersion: v1
kind: Pod
metadata:
  name: {{ $.Release.Name }}-{{ $name }}
  labels: {"devcluster.managedchart.dev/fail": {{ index $.Values $name | quote }}}
  annotations:
    devcluster.managedchart.dev/run-seconds: {{ $.Values.seconds | default "0.2" | quote }}
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  restartPolicy: Never
  containers: [{name: main, image: "registry.example/test:1"}]
{{- end }}
"""


def crd(ns: str, *fields: str) -> dict[str, Any]:
    """Return a CRD of a group that only this namespace's test has."""
    group = f"{ns}.example.com"
    properties = {name: {"type": "string"} for name in fields}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def widget(ns: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{ns}.example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"size": name},
    }


def actions(*items: dict[str, Any]) -> dict[str, Any]:
    return {"actions": [{"name": f"a{number}", **item} for number, item in enumerate(items)]}


def messages(chart: dict[str, Any]) -> dict[str, str]:
    """Return what each action of the last run says, by its name."""
    return {each["name"]: each["message"] for phase in chart["status"]["phases"] for each in phase.get("actions") or ()}


def of(group: dict[str, Any], namespace: str) -> str:
    return f"/apis/{group['spec']['group']}/v1/namespaces/{namespace}/widgets"


def test_crds_come_before_the_chart_and_go_with_it(cluster: Cluster, ns: str) -> None:
    """Helm finds the kind that an action has just brought; a narrower CRD is refused; the removal deletes it."""
    wide = crd(ns, "size", "mode")
    removed = {"phase": "PostDelete", "deleteCRDs": {"group": wide["spec"]["group"], "confirmDataLoss": True}}
    values = {"objects": [widget(ns, "a")]}

    def lifecycle(applied: dict[str, Any]) -> dict[str, Any]:
        return actions({"phase": "PreExec", "applyCRDs": {"manifests": [applied]}}, removed)

    cluster.apply(managedchart("a", RAW, values=values, lifecycle=lifecycle(wide)), namespace=ns)
    found = cluster.wait_ready(ns, "a")
    assert messages(found)["a0"] == f"Applied CRD {wide['metadata']['name']}"
    assert cluster.get(f"{of(wide, ns)}/a")

    failure = refused(cluster, ns, "a", RAW, values=values, lifecycle=lifecycle(crd(ns, "size")), retry=ONCE)
    assert failure["message"] == (
        f"Action a0 (applyCRDs) failed: safety: Strict refuses CRD {wide['metadata']['name']}: .spec.mode (v1): the field is"
        " removed"
    )
    assert cluster.get(f"{of(wide, ns)}/a")

    delete(cluster, ns, "a")
    cluster.wait_gone(CRDS, wide["metadata"]["name"])


def test_a_dry_run_knows_the_crds_of_its_actions(cluster: Cluster, ns: str) -> None:
    """What an action and the chart make of a kind that an earlier action would bring; nothing is changed."""
    wide = crd(ns, "size")
    lifecycle = actions(
        {"phase": "PreExec", "applyCRDs": {"manifests": [wide]}},
        {"phase": "PreExec", "apply": {"manifest": widget(ns, "b")}},
        {"phase": "PostExec", "apply": {"manifest": widget(ns, "c")}},
    )
    values = {"objects": [widget(ns, "a")]}
    cluster.apply(managedchart("a", RAW, values=values, lifecycle=lifecycle, dryRun=True), namespace=ns)
    found = cluster.wait_ready(ns, "a")

    assert messages(found) == {
        "a0": f"Would apply CRD {wide['metadata']['name']}",
        "a1": f"Would apply Widget {ns}/b (action a0 applies its CRD first)",
        "a2": f"Would apply Widget {ns}/c (action a0 applies its CRD first)",
    }
    assert condition_of(found, "Ready")["message"].endswith(
        "1 objects rendered, 1 not validated because their CRDs are not applied yet"
    )
    assert cluster.get(f"{CRDS}/{wide['metadata']['name']}") is None


def test_the_crds_of_the_chart_are_updated(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """Of a second version, where spec.crds: Skip leaves them to the action."""
    lifecycle = actions(
        {"phase": "PreExec", "applyCRDs": {}},
        {"phase": "PostDelete", "deleteCRDs": {"names": [crd(ns)["metadata"]["name"]], "confirmDataLoss": True}},
    )
    for version, fields in (("1.0.0", ("size",)), ("2.0.0", ("size", "mode"))):
        files = {**chart_files("crds", version), "crds/widget.yaml": json.dumps(crd(ns, *fields))}
        chart = {"path": str(write_chart(chart_root / f"crds-{version}", files))}
        cluster.apply(managedchart("a", chart, crds="Skip", lifecycle=lifecycle), namespace=ns)
        cluster.wait_ready(ns, "a")

    found = cluster.get(f"{CRDS}/{crd(ns)['metadata']['name']}")
    assert found is not None
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(schema["properties"]["spec"]["properties"]) == {"size", "mode"}
    delete(cluster, ns, "a")
    cluster.wait_gone(CRDS, found["metadata"]["name"])


def test_a_failed_job_shows_its_log_and_is_made_again(cluster: Cluster, ns: str) -> None:
    """The Job of the corrected spec runs, and a repeated run of the same spec does not run it again."""
    job = {"image": "registry.example/migrate:1", "command": ["migrate"]}
    failure = refused(
        cluster,
        ns,
        "a",
        RAW,
        lifecycle=actions({"phase": "PreExec", "job": {**job, "labels": {FAIL: "job-fail"}}}),
        retry=ONCE,
    )
    assert failure["message"].startswith(f"Action a0 (job) failed: Job {ns}/a0-")
    assert "container main of Pod a0-" in failure["message"]
    assert "it logged: " in failure["message"]
    assert failure["containers"][0]["log"]
    assert cluster.revisions(ns, "a") == []

    cluster.apply(managedchart("a", RAW, lifecycle=actions({"phase": "PreExec", "job": job}), retry=ONCE), namespace=ns)
    assert messages(cluster.wait_ready(ns, "a"))["a0"].endswith("succeeded")
    jobs = cluster.items(f"/apis/batch/v1/namespaces/{ns}/jobs")
    assert len(jobs) == 2
    assert all(each["spec"]["ttlSecondsAfterFinished"] == 3600 for each in jobs)


def test_a_job_that_does_not_end_is_deleted_and_says_why(cluster: Cluster, ns: str) -> None:
    """When its action is over its timeout: with what it logged, or why nothing of it runs."""
    image = "registry.example/migrate:1"
    jobs = {
        "hangs": {"image": image, "labels": {FAIL: "unready"}},
        "image": {"image": image, "labels": {FAIL: "image"}},
        "account": {"image": image, "serviceAccountName": "nobody"},
    }
    for name, job in jobs.items():
        action = {"phase": "PreExec", "timeout": "12s", "job": job}
        cluster.apply(managedchart(name, RAW, lifecycle=actions(action), retry=ONCE), namespace=ns)
    said = {}
    for name in jobs:
        failure = cluster.wait_failed(ns, name, "PhaseTimeout")["status"]["lastFailure"]
        ended = rf"Action a0 \(job\) failed: Job {ns}/a0-\w+ did not end in time and is deleted: (.*)"
        found = re.fullmatch(ended, failure["message"])
        assert found, failure
        said[name] = found[1]
        if name == "hangs":
            assert failure["containers"][0]["log"], failure

    assert re.match(r"container main of Pod a0-\S+ is running; it logged: ", said["hangs"])
    assert re.fullmatch(r"container main of Pod a0-\S+ is waiting: (ErrImagePull|ImagePullBackOff)", said["image"])
    assert "error looking up service account" in said["account"]
    assert 'serviceaccount "nobody" not found' in said["account"]
    # With their pods: these are deleted first.
    cluster.wait_empty(f"/apis/batch/v1/namespaces/{ns}/jobs")
    assert cluster.items(f"/api/v1/namespaces/{ns}/pods") == []


def test_a_failed_test_of_the_chart_is_shown(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """helm stops at it; one that is left out does not run, and one that does not end is deleted."""
    chart = small(chart_root, name="tested", tests=TESTS)
    spec = {"values": {"good": "", "bad": "job-fail"}, "retry": ONCE, "atomic": False}

    failure = refused(
        cluster, ns, "a", chart, **spec, lifecycle=actions({"phase": "PostExec", "timeout": "30s", "helmTest": {}})
    )
    assert failure["message"].startswith(
        f"Action a0 (helmTest) failed: Test a-bad of release {ns}/a failed: container main of Pod a-bad ended with exit code"
    )
    assert failure["containers"][0]["pod"] == "a-bad"
    assert failure["containers"][0]["log"]

    left_out = {"phase": "PostExec", "timeout": "30s", "helmTest": {"exclude": ["a-bad"]}}
    cluster.apply(managedchart("a", chart, **spec, lifecycle=actions(left_out)), namespace=ns)
    assert messages(cluster.wait_ready(ns, "a"))["a0"] == "1 tests succeeded"

    endless = actions({"phase": "PostExec", "timeout": "8s", "helmTest": {"filters": ["a-bad"]}})
    failure = refused(cluster, ns, "a", chart, **spec | {"values": {"good": "", "bad": "unready"}}, lifecycle=endless)
    assert failure["message"].startswith(
        f"Action a0 (helmTest) failed: Test a-bad of release {ns}/a did not end in time and is deleted"
    )
    cluster.wait_gone(f"/api/v1/namespaces/{ns}/pods", "a-bad")


def test_what_exceeds_the_timeout_only_together_is_deleted(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """helm is ended while a test runs, and nobody else would delete that."""
    chart = small(chart_root, name="tested", tests=TESTS)
    # Each is within helm's 9 s for one of them; 11 s after the first has begun, the second runs.
    values = {"names": ["one", "two", "other"], "seconds": "3", "two": "unready"}
    action = {"phase": "PostExec", "timeout": "14s", "helmTest": {"filters": ["a-one", "a-two"]}}
    failure = refused(cluster, ns, "a", chart, values=values, retry=ONCE, atomic=False, lifecycle=actions(action))

    assert failure["message"].startswith(
        f"Action a0 (helmTest) failed: Test a-two of release {ns}/a did not end in time and is deleted"
    )
    assert failure["reason"] == "PhaseTimeout"
    cluster.wait_gone(f"/api/v1/namespaces/{ns}/pods", "a-two")
    stored = cluster.get(f"/api/v1/namespaces/{ns}/secrets/sh.helm.release.v1.a.v1")
    assert stored is not None
    assert decode(stored).hooks_at("test") == 3, "helm takes those that do not run out of the release"


def test_custom_resources_survive_an_upgrade_that_deletes_them(cluster: Cluster, ns: str) -> None:
    """The chart no longer has the CRD's objects, so helm deletes them; who else labelled theirs loses nothing either."""
    definition = crd(ns, "size")
    cluster.apply(definition)
    wait_established(cluster, definition["metadata"]["name"])
    chosen = {"apiVersion": f"{ns}.example.com/v1", "kind": "Widget", "selector": {"matchLabels": {"app": "a"}}}

    def lifecycle(**options: Any) -> dict[str, Any]:
        return actions(
            {"name": "widgets", "phase": "PreExec", "backup": {"objects": [chosen]}},
            {"phase": "PostExec", "timeout": "30s", "restore": {"from": "widgets", **options}},
        )

    cluster.apply(
        managedchart(
            "a", RAW, values={"objects": [widget(ns, "one"), widget(ns, "two")]}, lifecycle=lifecycle(deleteAfter=False)
        ),
        namespace=ns,
    )
    cluster.wait_ready(ns, "a")
    before = cluster.get(f"{of(definition, ns)}/one")

    cluster.apply(managedchart("a", RAW, values={"objects": [widget(ns, "two")]}, lifecycle=lifecycle()), namespace=ns)
    found = cluster.wait_ready(ns, "a")

    after = cluster.get(f"{of(definition, ns)}/one")
    assert messages(found)["a1"] == f"Restored 1 of 2 objects from Secret {ns}/managedchart-backup-widgets"
    assert before is not None
    assert after is not None
    assert before["metadata"]["uid"] != after["metadata"]["uid"], "helm has deleted it in between"
    assert after["spec"] == {"size": "one"}
    assert cluster.get(f"/api/v1/namespaces/{ns}/secrets/managedchart-backup-widgets") is None
    cluster.delete(f"{CRDS}/{definition['metadata']['name']}")


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"phase": "PostDelete", "deleteCRDs": {"group": "example.com"}}, "confirmDataLoss"),
        ({"phase": "PostDelete", "deleteCRDs": {"confirmDataLoss": True}}, "set exactly one of names and group"),
        (
            {"phase": "PreExec", "deleteCRDs": {"group": "example.com", "confirmDataLoss": True}},
            "deleteCRDs can be in PreDelete and PostDelete only",
        ),
        ({"phase": "PreExec", "helmTest": {}}, "helmTest can be in PostExec only"),
    ],
)
def test_the_api_server_refuses(cluster: Cluster, ns: str, action: dict[str, Any], expected: str) -> None:
    with pytest.raises(KubectlError, match=expected):
        cluster.kubectl_apply(managedchart("a", RAW, lifecycle=actions(action)), namespace=ns)
