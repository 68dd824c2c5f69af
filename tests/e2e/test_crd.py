"""The CRD on a real API server: what it takes, what it refuses and in which words, and what kubectl shows."""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from harness.cluster import Cluster, wait_established
from managedchart_operator.api import status as s
from managedchart_operator.api.effective_lifecycle import EffectiveAction, EffectiveLifecycle
from managedchart_operator.api.phase_status import ActionState, ActionStatus, PhaseState, PhaseStatus
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.lifecycle.definitions import managedchart
from unit.api.cases import ACCEPTED, BACKOFF, BEYOND_BOUNDS, CONTENTS, PATH, REFUSED, TIMEOUT, Case

pytestmark = pytest.mark.usefixtures("no_operator")

CRD = "managedcharts.managedchart.dev"
IMMUTABLE = (
    "{} cannot be changed: delete the ManagedChart and create it again (deletionPolicy: Orphan keeps the release)"
)


class Charts:
    """ManagedCharts in the namespace of these tests, by kubectl."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def kubectl(self, *args: str, body: dict[str, Any] | None = None) -> str:
        return self._cluster.kubectl("-n", self._namespace, *args, input=None if body is None else json.dumps(body))

    def send(self, verb: str, name: str, spec: dict[str, Any], *options: str, **fields: Any) -> str:
        return self.kubectl(verb, "-f", "-", *options, body=manifest(name, spec, **fields))

    def create(self, name: str, spec: dict[str, Any], *options: str) -> dict[str, Any]:
        self.send("create", name, spec, *options)
        return self.get(name)

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "managedchart", name, "-o", "json"))
        return found

    def patch(self, name: str, patch: dict[str, Any], *options: str) -> None:
        self.kubectl("patch", "managedchart", name, "--type=merge", "-p", json.dumps(patch), *options)

    def patch_status(self, name: str, status: dict[str, Any]) -> None:
        self.patch(name, {"status": status}, "--subresource=status")

    def refusal(self, verb: str, name: str, spec: dict[str, Any], *options: str) -> str:
        """What kubectl says when the API server refuses."""
        with pytest.raises(subprocess.CalledProcessError) as refused:
            self.send(verb, name, spec, *options)
        return str(refused.value.stderr)

    def refusal_of_patch(self, name: str, patch: dict[str, Any], *options: str) -> str:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            self.patch(name, patch, *options)
        return str(refused.value.stderr)


def manifest(name: str, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A ManagedChart as a person writes it."""
    return {
        "apiVersion": "managedchart.dev/v1alpha1",
        "kind": "ManagedChart",
        "metadata": {"name": name},
        "spec": spec,
        **fields,
    }


def object_name(case: Case) -> str:
    return "".join(char if char.isalnum() else "-" for char in case.name.lower())[:53].strip("-")


@pytest.fixture(scope="module")
def charts(cluster: Cluster) -> Iterator[Charts]:
    # Its own name each time: on a cluster that is kept, the last run's namespace may still be going away.
    namespace = f"crd-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", namespace)
    yield Charts(cluster, namespace)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


# -- the definition itself


def test_the_crd_is_established_and_structural(cluster: Cluster) -> None:
    wait_established(cluster, CRD)

    conditions = json.loads(cluster.kubectl("get", "crd", CRD, "-o", "json"))["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions} == {"NamesAccepted": "True", "Established": "True"}


def test_explain_speaks_in_sentences(cluster: Cluster) -> None:
    text = " ".join(cluster.kubectl("explain", "managedchart.spec.chart").split())

    assert "Where the chart comes from." in text
    assert "path <string> Folder or .tgz of the chart in the operator's own pod" in text
    assert "version <string> Version or constraint (6.14.1, 6.x, >=1.2 <2) of the chart" in text


def test_explain_tells_the_choices(cluster: Cluster) -> None:
    text = cluster.kubectl("explain", "mc.spec.action")

    assert "ENUM: Deploy Destroy Skip" in " ".join(text.split())
    assert "Skip leaves everything as it is." in " ".join(text.split())


# -- what is accepted and what is refused


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepts_and_the_model_reads_what_was_stored(charts: Charts, case: Case) -> None:
    stored = charts.create(object_name(case), case.spec)["spec"]

    assert ManagedChartSpec.model_validate(stored) == ManagedChartSpec.model_validate(case.spec)


@pytest.mark.parametrize("case", [*REFUSED, *BEYOND_BOUNDS], ids=str)
def test_refuses_in_words(charts: Charts, case: Case) -> None:
    assert case.says is not None
    assert case.says in charts.refusal("apply", object_name(case), case.spec)


def test_the_largest_chart_and_lists_are_judged_without_exceeding_the_cost_limits(charts: Charts) -> None:
    """A rule that costs too much is refused at run time, with the object; found with a megabyte of contents."""
    spec = {
        "chart": {"contents": ("H4sI" + "A" * 1_000_000)[:1_000_000]},
        "valuesFiles": ["/" + "a/" * 511 + "b"] * 64,
        "set": [{"key": f"a.b[{i}]", "value": "x"} for i in range(256)],
        "yamlFilesContent": [{"filename": f"{i}.yaml", "yamlContent": "a: 1"} for i in range(64)],
    }

    charts.create("largest", spec)
    charts.kubectl("delete", "managedchart", "largest")


def test_refused_contents_are_not_repeated_in_the_answer(charts: Charts) -> None:
    secret = "not-a-chart-" * 1000

    assert "not-a-chart" not in charts.refusal("apply", "not-repeated", {"chart": {"contents": secret}})


def test_all_mistakes_are_told_at_once(charts: Charts) -> None:
    said = charts.refusal("apply", "many", {"chart": {**PATH, **CONTENTS}, "timeout": "0s", "releaseName": "UP"})

    assert "set exactly one of path, repository, oci and contents" in said
    assert "write a duration longer than zero" in said
    assert "write a release name in lower case letters" in said


def test_a_name_too_long_for_a_release_needs_a_release_name(charts: Charts) -> None:
    name = "a" * 54

    said = charts.refusal("apply", name, {"chart": PATH})

    assert (
        "metadata.name is longer than the 53 characters that Helm allows for a release: "
        "shorten it or set spec.releaseName"
    ) in said
    charts.create(name, {"chart": PATH, "releaseName": "short"})
    charts.create("a" * 53, {"chart": PATH})


def test_without_strict_validation_unknown_fields_are_dropped(charts: Charts) -> None:
    charts.send("apply", "unvalidated", {"chart": PATH, "timeOut": "5m"}, "--validate=ignore")

    stored = charts.get("unvalidated")["spec"]
    assert "timeOut" not in stored
    assert stored["timeout"] == "180s"


# -- defaults and nulls

DEFAULTS = {
    "createNamespace": True,
    "action": "Deploy",
    "deletionPolicy": "Uninstall",
    "atomic": True,
    "wait": True,
    "waitFor": {},
    "timeout": "180s",
    "failFast": True,
    "failFastGrace": "3s",
    "forceUpgrade": False,
    "dryRun": False,
    "skipSchemaValidation": False,
    "conflicts": {"policy": "Force"},
    "crds": "Create",
    "lifecycle": {"name": "default", "validation": {"every": "5m", "failureThreshold": 3}},
    "retry": {"limit": 5, "backoff": "10s", "maxBackoff": "5m", "afterRollback": False},
}


def test_defaults_are_filled_in_also_inside_nested_parts(charts: Charts) -> None:
    assert charts.create("minimal", {"chart": PATH})["spec"] == {"chart": PATH, **DEFAULTS}


def test_defaults_complete_a_nested_part(charts: Charts) -> None:
    stored = charts.create("partial", {"chart": PATH, "retry": {"limit": 1}})["spec"]

    assert stored["retry"] == {"limit": 1, "backoff": "10s", "maxBackoff": "5m", "afterRollback": False}


def test_null_for_a_field_means_its_default_or_its_absence(charts: Charts) -> None:
    spec = {"chart": {**PATH, "version": None}, "releaseName": None, "wait": None, "retry": None, "values": None}

    assert charts.create("nulls", spec)["spec"] == {"chart": PATH, **DEFAULTS}


VALUES_WITH_NULLS = {"nodeSelector": None, "deep": {"gone": None, "list": [1, None]}, "kept": "yes"}


@pytest.mark.parametrize(
    ("name", "command"),
    [("created", ["create"]), ("applied-by-the-server", ["apply", "--server-side"])],
)
def test_nulls_inside_values_survive(charts: Charts, name: str, command: list[str]) -> None:
    """helm removes a chart's default where a value is null."""
    verb, *options = command
    charts.send(verb, name, {"chart": PATH, "values": VALUES_WITH_NULLS}, *options)

    assert charts.get(name)["spec"]["values"] == VALUES_WITH_NULLS


@pytest.mark.parametrize("values", [{}, {"a": {}}, {"a": {"b": {}}}], ids=str)
def test_an_emptied_map_inside_values_stays_a_map(charts: Charts, values: dict[str, Any]) -> None:
    """Flux applies on the server, which makes null of a map that it merges by key and finds empty; helm removes a null."""
    for each in ({"a": {"b": {"c": 1}}}, values):
        charts.send("apply", "emptied", {"chart": PATH, "values": each}, "--server-side")

    assert charts.get("emptied")["spec"]["values"] == values
    charts.kubectl("delete", "managedchart", "emptied")


def test_nulls_inside_values_survive_an_update(charts: Charts) -> None:
    for replicas in (1, 2):
        values = {**VALUES_WITH_NULLS, "replicas": replicas}
        charts.send("apply", "updated", {"chart": PATH, "values": values}, "--server-side")

        assert charts.get("updated")["spec"]["values"] == values


def test_client_side_apply_drops_nulls_before_it_sends_them(charts: Charts) -> None:
    """kubectl's doing, which no schema can undo; docs/fields.md tells the ways around it, which this test also holds."""
    spec = {
        "chart": PATH,
        "values": {"a": None},
        "yamlFilesContent": [{"filename": "nulls.yaml", "yamlContent": "a: null"}],
        "set": [{"key": "a", "value": "null"}],
    }
    charts.send("apply", "client-side", spec)

    stored = charts.get("client-side")["spec"]
    assert "a" not in stored.get("values", {})
    assert stored["yamlFilesContent"] == spec["yamlFilesContent"]
    assert stored["set"] == spec["set"]


# -- what cannot be changed


@pytest.mark.parametrize("field", ["releaseName", "targetNamespace"])
@pytest.mark.parametrize(
    ("how", "before", "after"),
    [("changed", "one", "two"), ("added", None, "two"), ("removed", "one", None)],
)
def test_where_the_release_lives_is_for_good(
    charts: Charts, field: str, how: str, before: str | None, after: str | None
) -> None:
    """Else the old release would be left behind without an owner."""
    name = f"{field.lower()}-{how}"
    charts.create(name, {"chart": PATH, field: before})

    assert IMMUTABLE.format(field) in charts.refusal_of_patch(name, {"spec": {field: after}})


def test_everything_else_can_be_changed(charts: Charts) -> None:
    charts.create("changes", {"chart": PATH, "releaseName": "one", "targetNamespace": "apps"})

    charts.patch("changes", {"spec": {"chart": {"path": None, "oci": "oci://host/podinfo"}, "action": "Destroy"}})

    stored = charts.get("changes")
    assert stored["spec"]["chart"] == {"oci": "oci://host/podinfo"}
    assert stored["metadata"]["generation"] == 2


# -- bounds that are newer than a stored object


class CopiedKind:
    """The kind ManagedChart in another API group, whose CRD a test may replace: no operator looks at it."""

    group = "bounds.example.org"

    def __init__(self, cluster: Cluster, charts: Charts) -> None:
        self._cluster, self._charts = cluster, charts
        self.name = f"managedcharts.{self.group}"

    def serve(self, *, bounds: bool) -> None:
        """Apply the CRD, with the bounds of durations or without, and return when the API server uses it."""
        body = managedchart()
        body["metadata"] = {"name": self.name}
        body["spec"] |= {"group": self.group}
        body["spec"]["names"] = {"kind": "Copied", "plural": "managedcharts"}
        fields = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        retry = fields["retry"]["properties"]
        for field in (fields["timeout"], fields["failFastGrace"], retry["backoff"], retry["maxBackoff"]):
            del field["x-kubernetes-validations"][2 if bounds else 1 :]
        self._cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(body))
        wait_established(self._cluster, self.name)
        deadline = time.monotonic() + 30
        # Nothing tells when the API server validates by another schema.
        while (TIMEOUT in self.tried({"chart": PATH, "timeout": "48h"})) is not bounds:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def tried(self, spec: dict[str, Any]) -> str:
        """What the API server says to such an object, without storing it; "" if it accepts it."""
        try:
            self.create("tried", spec, "--dry-run=server")
        except subprocess.CalledProcessError as error:
            # While the kind is not served, or not yet again.
            return str(error.stderr) if "Invalid value" in error.stderr else f"{TIMEOUT} is not known yet"
        return ""

    def create(self, name: str, spec: dict[str, Any], *options: str) -> None:
        body = manifest(name, spec) | {"apiVersion": f"{self.group}/v1alpha1", "kind": "Copied"}
        self._charts.kubectl("create", "-f", "-", *options, body=body)

    def patch(self, name: str, patch: dict[str, Any], *options: str) -> None:
        self._charts.kubectl("patch", self.name, name, "--type=merge", "-p", json.dumps(patch), *options)

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._charts.kubectl("get", self.name, name, "-o", "json"))
        return found


def test_a_stored_object_beyond_new_bounds_can_still_be_changed(cluster: Cluster, charts: Charts) -> None:
    """S21: only a changed value is refused, since validation ratchets (KEP-4008, on by default since Kubernetes 1.30)."""
    copied = CopiedKind(cluster, charts)
    try:
        copied.serve(bounds=False)
        copied.create("before", {"chart": PATH, "timeout": "48h", "retry": {"backoff": "100ms"}})
        copied.serve(bounds=True)
        copied.patch("before", {"metadata": {"labels": {"a": "b"}}})
        copied.patch("before", {"status": {"phase": "Ready"}}, "--subresource=status")
        copied.patch("before", {"spec": {"wait": False, "retry": {"limit": 3}}})
        for patch, says in (({"timeout": "47h"}, TIMEOUT), ({"retry": {"backoff": "200ms"}}, BACKOFF)):
            with pytest.raises(subprocess.CalledProcessError) as refused:
                copied.patch("before", {"spec": patch})
            assert says in refused.value.stderr
        stored = copied.get("before")["spec"]
        assert (stored["timeout"], stored["retry"]["backoff"], stored["retry"]["limit"]) == ("48h", "100ms", 3)
        copied.patch("before", {"spec": {"timeout": "24h", "retry": {"backoff": "1s"}}})
    finally:
        cluster.kubectl("delete", "crd", copied.name, "--ignore-not-found", "--wait=false")


# -- the status, and what kubectl shows of it

CONDITION = {
    "type": "Ready",
    "status": "False",
    "reason": "ImagePull",
    "message": "the image cannot be pulled",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def full_status() -> s.ManagedChartStatus:
    """A status with every field set."""
    now = "2026-01-01T00:00:00Z"
    return s.ManagedChartStatus(
        observed_generation=1,
        phase=s.Phase.FAILED,
        conditions=[s.Condition.model_validate({**CONDITION, "observedGeneration": 1})],
        summary="the image",
        phases=[
            PhaseStatus(
                name="Exec", state=PhaseState.FAILED, started_at=now, finished_at=now, duration_seconds=1.5, message="no",
                payload=["adopted"],
                actions=[
                    ActionStatus(
                        name="nodes", verb="exists", origin="spec", state=ActionState.FAILED, attempts=1,
                        duration_seconds=0.5, message="no",
                    )
                ],
            )
        ],
        release=s.ReleaseStatus(
            name="podinfo", namespace="apps", revision=3, status="failed", chart="podinfo", chart_version="6.14.1",
            app_version="6.14.1", digest="sha256:0", last_deployed=now,
        ),
        last_failure=s.LastFailure(
            phase="Exec", reason="ImagePull", message="no", helm_error="timed out", hint="look", incomplete="logs",
            revision=3, time=now,
            events=[
                s.FailureEvent(type="Warning", reason="Failed", object="Pod/a", message="no", count=2, last_seen=now)
            ],
        ),
        attempt=s.AttemptStatus(
            id="one", digest="2-0", generation=1, operation="Upgrade", phase="Exec", started_at=now, ended_at=now,
            revision=2, proven=True, failed_revision=3, failures=2, reason="ImagePull", outlook=s.Outlook.RETRY,
            next_retry_at=now, handled_requests={"managedchart.dev/retry": "1"}, chart="podinfo", chart_version="6.14.1",
            inputs={"values": "01234567"},
            missing_permission=s.PermissionStatus(verb="get", group="apps", resource="deployments", namespace="apps"),
        ),
        lifecycle=EffectiveLifecycle(
            name="default", profiles=["checks"],
            actions=[EffectiveAction(name="nodes", phase="CheckPrerequisites", verb="exists", origin="profile/checks")],
        ),
        validation=s.ValidationStatus(failures=1, action="nodes", message="no", since=now),
        blockers=[s.ObjectReference(api_version="v1", kind="ConfigMap", namespace="apps", name="a")],
        failures=2,
        attempted_digest="sha256:0",
        next_retry_at=now,
        handled_requests={"managedchart.dev/retry": "1"},
        blocked_by=["v1|ConfigMap|apps|a"],
    )  # fmt: skip


def test_every_field_of_the_status_is_stored(charts: Charts) -> None:
    charts.create("full-status", {"chart": PATH})
    status = full_status()

    charts.patch_status("full-status", status.model_dump(mode="json", by_alias=True))

    assert s.ManagedChartStatus.model_validate(charts.get("full-status")["status"]) == status


def test_columns(charts: Charts) -> None:
    charts.create("columns", {"chart": PATH})
    charts.patch_status("columns", full_status().model_dump(mode="json", by_alias=True))

    header, row = charts.kubectl("get", "mc", "columns").splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "CHART", "VERSION", "REVISION", "AGE"]
    assert row.split()[:-1] == ["columns", "False", "ImagePull", "podinfo", "6.14.1", "3"]

    header, row = charts.kubectl("get", "mc", "columns", "-o", "wide").splitlines()
    assert header.split()[-2:] == ["PHASE", "STATUS"]
    assert row.endswith("the image")


def test_columns_show_what_was_to_be_deployed_where_nothing_is(charts: Charts) -> None:
    """The chart of the attempt, that of the release if both are there, and an earlier operator noted none."""
    whole = full_status().model_dump(mode="json", by_alias=True)
    attempt = {**whole["attempt"], "chart": "tried", "chartVersion": "7.x"}
    earlier = {key: value for key, value in whole["attempt"].items() if not key.startswith("chart")}
    for name, parts in {
        "failed": {"attempt": attempt},
        "both": {"attempt": attempt, "release": whole["release"]},
        "earlier": {"attempt": earlier, "release": whole["release"]},
    }.items():
        charts.create(name, {"chart": PATH})
        charts.patch_status(name, {"conditions": whole["conditions"], **parts})

    _, *rows = charts.kubectl("get", "mc", "failed", "both", "earlier").splitlines()
    assert [row.split()[3:-1] for row in rows] == [
        ["tried", "7.x"],
        ["podinfo", "6.14.1", "3"],
        ["podinfo", "6.14.1", "3"],
    ]


def test_failed_ones_can_be_selected(charts: Charts) -> None:
    for name, phase in (("selected", "Failed"), ("not-selected", "Ready")):
        charts.create(name, {"chart": PATH})
        charts.patch_status(name, {"phase": phase})

    found = charts.kubectl("get", "mc", "--field-selector=status.phase=Failed", "-o", "name").split()
    assert "managedchart.managedchart.dev/selected" in found
    assert "managedchart.managedchart.dev/not-selected" not in found


@pytest.mark.parametrize("word", ["mc", "helm", "managedchart", "managedcharts", CRD])
def test_kubectl_knows_it_as(charts: Charts, word: str) -> None:
    """Short name, category, singular, plural and full name."""
    charts.send("apply", "by-any-name", {"chart": PATH})

    assert "by-any-name" in charts.kubectl("get", word, "-o", "name")


def test_kubectl_wait_understands_ready(charts: Charts) -> None:
    """Also that a condition speaks of an older spec, or of none: then it waits on."""
    charts.create("waited-for", {"chart": PATH})
    ready = {**CONDITION, "status": "True", "reason": "Deployed"}

    charts.patch_status("waited-for", {"conditions": [ready]})
    with pytest.raises(subprocess.CalledProcessError) as waited:
        charts.kubectl("wait", "--for=condition=Ready", "--timeout=1s", "mc/waited-for")
    assert "timed out waiting" in waited.value.stderr

    charts.patch_status("waited-for", {"conditions": [{**ready, "observedGeneration": 1}]})
    assert "condition met" in charts.kubectl("wait", "--for=condition=Ready", "--timeout=10s", "mc/waited-for")


def test_the_status_in_a_manifest_is_ignored(charts: Charts) -> None:
    charts.send("create", "status-in-manifest", {"chart": PATH}, status={"phase": "Ready"})

    assert charts.get("status-in-manifest").get("status", {}).get("phase") != "Ready"


def test_writing_the_status_changes_no_spec_and_no_generation(charts: Charts) -> None:
    charts.create("status-alone", {"chart": PATH})

    charts.patch("status-alone", {"status": {"phase": "Ready"}, "spec": {"wait": False}}, "--subresource=status")

    stored = charts.get("status-alone")
    assert stored["status"]["phase"] == "Ready"
    assert stored["spec"]["wait"] is True
    assert stored["metadata"]["generation"] == 1


def test_a_condition_exists_once(charts: Charts) -> None:
    charts.create("conditions", {"chart": PATH})

    said = charts.refusal_of_patch("conditions", {"status": {"conditions": [CONDITION] * 2}}, "--subresource=status")

    assert "Duplicate value" in said
