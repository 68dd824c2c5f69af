"""Every file of examples/ does what its comment says, with the charts of examples/charts in the place of unreachable ones."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from e2e.lifecycles.test_profiles import accepted
from harness.cluster import CRDS, Cluster, condition_of
from harness.operator_process import OperatorProcess
from peers import ChartRepository, OciRegistry

sys.path.append(str(REPOSITORY / "hack" / "demo"))

import examples

CLOUD = REPOSITORY / "hack" / "demo" / "cloud.yaml"
CHARTS = [chart.parent for chart in sorted((REPOSITORY / "examples" / "charts").glob("*/Chart.yaml"))]
KUBE_SYSTEM = "/apis/apps/v1/namespaces/kube-system/daemonsets/aws-node"
# Reason, and what the message must say; 08 has a test of its own.
FAILURES = {
    "09-failing-crash.yaml": ("CrashLoop", ["Container hello", "exit code 3"]),
    "10-failing-hook.yaml": ("HookFailed", ["broken-hook-migration", "exit code 4"]),
    "11-failing-unschedulable.yaml": ("Unschedulable", ["Insufficient cpu"]),
    "12-failing-values.yaml": ("ValuesRefused", ["replicas", "integer"]),
}

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture(scope="session")
def repository(helm_binary: str) -> Iterator[ChartRepository]:
    with ChartRepository(helm=Path(helm_binary)) as made:
        for chart in CHARTS:
            made.add_chart(chart)
        yield made


@pytest.fixture(scope="session")
def registry(helm_binary: str) -> Iterator[OciRegistry]:
    with OciRegistry(helm=Path(helm_binary)) as made:
        for chart in CHARTS:
            made.add_chart(chart)
        yield made


@pytest.fixture
def local(chart_root: Path, repository: ChartRepository, registry: OciRegistry) -> examples.Local:
    """What /charts and the two addresses in the examples stand for."""
    charts = chart_root / "examples"
    if not charts.exists():
        shutil.copytree(REPOSITORY / "examples" / "charts", charts)
    return examples.Local(charts, repository.url, registry.url)


def _apply(cluster: Cluster, ns: str, file: str, local: examples.Local) -> dict[str, Any]:
    document = examples.load(examples.FOLDER / file, local)
    cluster.apply(document, namespace=ns)
    return document


def _ready(cluster: Cluster, ns: str, file: str, local: examples.Local) -> dict[str, Any]:
    document = _apply(cluster, ns, file, local)
    return cluster.wait_ready(ns, document["metadata"]["name"])


def _greeting(cluster: Cluster, ns: str, name: str) -> str:
    found = cluster.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")
    assert found is not None, f"there is no ConfigMap {ns}/{name}"
    text: str = found["data"]["greeting"]
    return text


def _deleted(found: dict[str, Any] | None) -> bool:
    return found is None or "deletionTimestamp" in found["metadata"]


def _actions(chart: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the actions of the last run have done, by their names."""
    return {each["name"]: each for phase in chart["status"]["phases"] for each in phase.get("actions") or ()}


def test_every_example_has_a_test() -> None:
    source = Path(__file__).read_text()

    assert [file.name for file in examples.files() if f'"{file.name}"' not in source] == []


@pytest.mark.parametrize("file", [file.name for file in examples.files()])
def test_an_example_is_one_object_that_can_be_applied_as_it_is(cluster: Cluster, file: str) -> None:
    """Nothing but the addresses has to be replaced: the API server takes the file itself."""
    answer = cluster.kubectl("apply", "--dry-run=server", "--output=name", f"--filename={examples.FOLDER / file}")

    assert answer.startswith(("managedchart.managedchart.dev/", "lifecycleprofile.managedchart.dev/"))
    assert len(answer.splitlines()) == 1


def test_a_chart_from_a_path(cluster: Cluster, ns: str, local: examples.Local) -> None:
    chart = _ready(cluster, ns, "01-path.yaml", local)

    assert chart["status"]["release"]["chart"] == "hello"
    assert _greeting(cluster, ns, "hello-from-path") == "from a folder"


def test_a_chart_from_a_repository_by_a_constraint_into_another_namespace(
    cluster: Cluster, ns: str, local: examples.Local
) -> None:
    chart = _ready(cluster, ns, "02-repository.yaml", local)

    assert chart["status"]["release"]["chartVersion"] == "1.0.0"
    assert _greeting(cluster, "hello", "hello-from-repository") == "Hello"


def test_a_chart_from_a_registry_under_another_release_name(cluster: Cluster, ns: str, local: examples.Local) -> None:
    chart = _ready(cluster, ns, "03-oci.yaml", local)

    assert chart["status"]["release"]["name"] == "hello"
    assert _greeting(cluster, ns, "hello") == "Hello"


def test_values_from_four_places_in_their_order(cluster: Cluster, ns: str, local: examples.Local) -> None:
    _ready(cluster, ns, "04-values.yaml", local)
    deployment = cluster.get(f"/apis/apps/v1/namespaces/{ns}/deployments/hello-with-values")

    assert deployment is not None
    # The values file says 2 replicas and another greeting.
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["template"]["metadata"]["annotations"]["example.com/team"] == "platform"
    assert _greeting(cluster, ns, "hello-with-values") == "from the resource"


def test_the_prometheus_operators_crds_go_with_destroy(
    cluster: Cluster, ns: str, local: examples.Local, request: pytest.FixtureRequest
) -> None:
    """helm itself would leave them, because they stand in crds/. The profile of deploy/lifecycles checks them."""
    profile = yaml.safe_load((REPOSITORY / "deploy" / "lifecycles" / "prometheus-operator.yaml").read_text())
    profile["spec"]["match"]["namespaces"] = {"names": [ns]}
    cluster.apply(profile)
    accepted(cluster, "prometheus-operator", "True")
    request.addfinalizer(lambda: cluster.kubectl("delete", "lifecycleprofile", "prometheus-operator"))
    chart = _ready(cluster, ns, "05-prometheus-operator-crds.yaml", local)
    assert [each["message"] for each in _actions(chart).values()] == [
        "condition Established: 1 CustomResourceDefinition"
    ] * 6
    there = [crd["metadata"]["name"] for crd in cluster.items(CRDS) if crd["spec"]["group"] == "monitoring.coreos.com"]
    assert len(there) == 6

    cluster.kubectl(
        "patch", "managedchart", "prometheus-operator-crds", f"--namespace={ns}", "--type=merge",
        '--patch={"spec": {"action": "Destroy"}}',
    )  # fmt: skip
    chart = cluster.wait_ready(ns, "prometheus-operator-crds")

    assert condition_of(chart, "Ready")["reason"] == "Destroyed"
    for name in there:
        # When one that is deleted is gone is the API server's business, which may take minutes if it is busy.
        cluster.wait(CRDS, name, _deleted, what="deleted")


@pytest.fixture
def cloud(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """The CNI's DaemonSet as EKS installs it."""
    cluster.kubectl("apply", "--server-side", "--field-manager=eks", f"--filename={CLOUD}")
    found = cluster.get(KUBE_SYSTEM)
    assert found is not None
    yield found
    cluster.kubectl("delete", f"--filename={CLOUD}", "--ignore-not-found")
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", "aws-node", "--ignore-not-found")
    cluster.kubectl("delete", "secrets", "--namespace=kube-system", "--selector=owner=helm,name=aws-vpc-cni")


def test_what_the_cloud_installed_is_adopted_in_place(
    cluster: Cluster, ns: str, local: examples.Local, cloud: dict[str, Any]
) -> None:
    _ready(cluster, ns, "06-aws-vpc-cni.yaml", local)
    adopted = cluster.get(KUBE_SYSTEM)

    assert adopted is not None
    assert adopted["metadata"]["uid"] == cloud["metadata"]["uid"]
    assert adopted["metadata"]["annotations"]["meta.helm.sh/release-name"] == "aws-vpc-cni"
    container = adopted["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "ENABLE_PREFIX_DELEGATION", "value": "true"}]


def test_a_dry_run_changes_nothing(cluster: Cluster, ns: str, local: examples.Local) -> None:
    chart = _ready(cluster, ns, "07-dry-run.yaml", local)

    assert condition_of(chart, "Ready")["reason"] == "DryRunSucceeded"
    assert cluster.items(f"/apis/apps/v1/namespaces/{ns}/deployments") == []
    assert cluster.revisions(ns, "hello-dry-run") == []


def test_a_prerequisite_holds_a_deployment_back(cluster: Cluster, ns: str, local: examples.Local) -> None:
    document = examples.load(examples.FOLDER / "13-prerequisite.yaml", local)
    document["spec"]["retry"] = {"limit": 20, "backoff": "1s", "maxBackoff": "1s"}
    (node,) = cluster.items("/api/v1/nodes", labelSelector="kubernetes.io/os=linux")
    cluster.kubectl("cordon", node["metadata"]["name"])
    try:
        cluster.apply(document, namespace=ns)
        chart = cluster.wait_failed(ns, "hello-prerequisite", "LifecycleFailed")
    finally:
        cluster.kubectl("uncordon", node["metadata"]["name"])

    assert chart["status"]["lastFailure"]["message"].startswith("Action nodes (expect) failed: objects.exists(")
    assert cluster.revisions(ns, "hello-prerequisite") == []
    cluster.wait_ready(ns, "hello-prerequisite")


def test_a_job_runs_before_an_upgrade(cluster: Cluster, ns: str, local: examples.Local) -> None:
    first = _ready(cluster, ns, "14-job-before-upgrade.yaml", local)
    document = examples.load(examples.FOLDER / "14-job-before-upgrade.yaml", local)
    document["spec"]["values"] = {"greeting": "of version 2"}
    cluster.apply(document, namespace=ns)
    second = cluster.wait_ready(ns, "hello-migrated")

    assert _actions(first)["migrate"]["state"] == "Skipped"
    assert _actions(second)["migrate"]["message"].endswith(" succeeded")
    assert len(cluster.items(f"/apis/batch/v1/namespaces/{ns}/jobs")) == 1


def test_new_pods_only_for_a_changed_config_map(cluster: Cluster, ns: str, local: examples.Local) -> None:
    document = examples.load(examples.FOLDER / "15-restart.yaml", local)

    def run(number: str, **settings: str) -> str:
        settings_of_the_team = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "team-settings"}}
        document["spec"]["values"] = {"replicas": int(number)}
        cluster.apply({**settings_of_the_team, "data": settings}, document, namespace=ns)
        chart = cluster.wait_ready(ns, "hello-restarted")
        return str(_actions(chart)["new-pods"]["message"])

    assert run("1", color="blue") == f"Restarted Deployment {ns}/hello-restarted"
    assert run("2", color="blue") == f"Deployment {ns}/hello-restarted was restarted for this change already"
    assert run("1", color="green") == f"Restarted Deployment {ns}/hello-restarted"


def test_checks_run_again_also_those_of_an_attached_profile(cluster: Cluster, ns: str, local: examples.Local) -> None:
    """The profile comes first, and it cannot be left out."""
    _apply(cluster, ns, "17-profile.yaml", local)
    try:
        accepted(cluster, "example-production", "True")
        chart = _ready(cluster, ns, "16-checked-again.yaml", local)
        listed = [(each["origin"], each["name"]) for each in chart["status"]["lifecycle"]["actions"]]
        assert listed == [("profile/example-production", "no-crash-loops"), ("spec", "ready")]
        assert _actions(chart)["no-crash-loops"]["message"] == "True for 1 Pod"
        assert _actions(chart)["ready"]["message"] == "True for 1 Deployment"
        assert condition_of(chart, "Validated")["status"] == "True"
    finally:
        cluster.kubectl("delete", "lifecycleprofile", "example-production")


def test_every_failing_example_is_expected_to_fail(local: examples.Local) -> None:
    """So that the demo takes any other failure for what it is."""
    failing = [file for file in examples.files() if "-failing-" in file.name]

    assert [examples.load(file, local)["metadata"]["name"] for file in failing] == list(examples.FAIL_ON_PURPOSE)


def test_a_failure_is_told_in_the_resource_and_cleaned_up(
    cluster: Cluster, ns: str, local: examples.Local, operator: OperatorProcess
) -> None:
    """The events outlive the pods that they are about."""
    _apply(cluster, ns, "08-failing-image.yaml", local)
    chart = cluster.wait_failed(ns, "broken-image", "ImagePull")

    events = chart["status"]["lastFailure"]["events"]
    assert any("there-is-no-such-image:1.0" in event["message"] for event in events)
    cluster.wait_chart(ns, "broken-image", lambda found: "release" not in found["status"], what="without a release")
    assert cluster.revisions(ns, "broken-image") == []
    assert condition_of(cluster.managedchart(ns, "broken-image"), "Stalled")["status"] == "True"
    assert "there-is-no-such-image" not in "".join(line for line in operator.log.splitlines() if "ERROR" in line)


@pytest.mark.parametrize("file", FAILURES)
def test_each_kind_of_failure_is_told_by_its_reason_and_in_words(
    cluster: Cluster, ns: str, local: examples.Local, file: str
) -> None:
    """The reason is the one that the file's comment names; nothing is tried again, since each says so."""
    reason, says = FAILURES[file]
    document = _apply(cluster, ns, file, local)
    chart = cluster.wait_failed(ns, document["metadata"]["name"], reason)

    assert f"with the reason {reason}:" in (examples.FOLDER / file).read_text()
    message = chart["status"]["lastFailure"]["message"]
    assert [word for word in says if word not in message] == []
    assert condition_of(chart, "Stalled")["status"] == "True"


def test_kubectl_get_alone_shows_why(cluster: Cluster, ns: str, local: examples.Local) -> None:
    """In its wide column, under the short name."""
    _apply(cluster, ns, "12-failing-values.yaml", local)
    chart = cluster.wait_failed(ns, "broken-values", "ValuesRefused")

    row = cluster.kubectl("get", "mc", "broken-values", f"--namespace={ns}", "--output=wide", "--no-headers").split()

    assert row[:3] == ["broken-values", "False", "ValuesRefused"]
    summary = chart["status"]["summary"]
    assert len(summary) <= 120
    assert condition_of(chart, "Ready")["message"].startswith(summary.removesuffix("…"))
    assert " ".join(row).endswith(" ".join(summary.split()))
