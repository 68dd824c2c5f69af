"""The Helm chart in deploy/chart on a real API server, by the commands in docs/install.md."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pytest_kind import KindCluster

from conftest import CHARTS, REPOSITORY
from e2e.removal.platform import CRD, CRDS, deploy, workloads
from e2e.removal.test_removal_page import Shell, blocks
from harness.cluster import MANAGEDCHARTS, Cluster, cluster_beside, managedchart, wait_established
from harness.operator_process import SYSTEM_NAMESPACE, OperatorProcess, service_account_kubeconfig

PAGE = "docs/install.md"
NAME = "managedchart-operator"
STARTED = "managedchart_helm_processes_started_total"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
SYSTEM = f"namespaces/{SYSTEM_NAMESPACE}"
DEPLOYMENTS = f"/apis/apps/v1/{SYSTEM}/deployments"
OBJECTS = (
    f"{CRDS}/{CRD}",
    f"{DEPLOYMENTS}/{NAME}",
    f"/api/v1/{SYSTEM}/serviceaccounts/{NAME}",
    f"/api/v1/{SYSTEM}/services/{NAME}",
    f"{RBAC}/clusterroles/{NAME}",
    f"{RBAC}/clusterroles/{NAME}-charts",
    f"{RBAC}/clusterrolebindings/{NAME}",
    f"{RBAC}/clusterrolebindings/{NAME}-charts",
)
CHANGED = "A later version of the CRD"


@pytest.fixture(scope="module")
def chart_cluster(kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on which no other operator works."""
    with cluster_beside(kind_cluster, "chart", tmp_path_factory.mktemp("chart-cluster")) as own:
        yield Cluster(own)


@pytest.fixture
def shell(chart_cluster: Cluster, tools: Path, tmp_path: Path) -> Iterator[Shell]:
    """A folder with crds/, deploy/ and my-operator/, and afterwards a cluster without the operator and its CRD."""
    folder = tmp_path / "repository"
    for name in ("crds", "deploy"):
        shutil.copytree(REPOSITORY / name, folder / name)
    (folder / "my-operator").mkdir()
    image = {"name": NAME, "newName": f"registry.example.com/{NAME}"}
    kustomization = {"resources": ["../deploy"], "images": [image]}
    (folder / "my-operator" / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    shell = Shell(chart_cluster, tools, folder)
    yield shell
    for chart in chart_cluster.items(f"{MANAGEDCHARTS}/managedcharts"):
        name, namespace = chart["metadata"]["name"], chart["metadata"]["namespace"]
        shell.run(
            f'kubectl patch mc {name} --namespace={namespace} --type=merge --patch=\'{{"metadata":{{"finalizers":null}}}}\''
        )
    shell.run(f"""
        helm uninstall {NAME} --namespace {SYSTEM_NAMESPACE} --ignore-not-found
        kubectl delete crd {CRD} --ignore-not-found
        """)


@pytest.fixture
def apps(chart_cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own; it ends with the cluster."""
    name = "apps-" + "".join(filter(str.isalnum, request.node.name.lower()))[-20:]
    chart_cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def _operator(kubeconfig: Path, helm: str, folder: Path, *chart_roots: Path) -> OperatorProcess:
    return OperatorProcess(kubeconfig=kubeconfig, folder=folder, helm=helm, chart_roots=list(chart_roots))


def _uids(cluster: Cluster, *paths: str) -> list[str | None]:
    found = [cluster.get(path) for path in paths]
    return [item and item["metadata"]["uid"] for item in found]


def _later_version(folder: Path) -> None:
    """Change the CRD in the chart, and let a variable of the container go."""
    crd_file = folder / "deploy" / "chart" / "files" / "crd.yaml"
    crd = yaml.safe_load(crd_file.read_text())
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = CHANGED
    crd_file.write_text(yaml.safe_dump(crd))
    values_file = folder / "deploy" / "chart" / "values.yaml"
    values_file.write_text(yaml.safe_dump({**yaml.safe_load(values_file.read_text()), "settings": {}}))


def _has_later_version(cluster: Cluster) -> None:
    crd, deployment = cluster.get(f"{CRDS}/{CRD}"), cluster.get(f"{DEPLOYMENTS}/{NAME}")
    assert crd is not None
    assert deployment is not None
    assert crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] == CHANGED
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert "MANAGEDCHART_CHART_ROOTS" not in [variable["name"] for variable in container["env"]]


@pytest.mark.parametrize("crd_exists", [False, True], ids=["emptycluster", "crdexists"])
def test_chart_upgrades_the_crd_and_never_deletes_it(
    chart_cluster: Cluster, shell: Shell, apps: str, crd_exists: bool
) -> None:
    """Installed, tested, upgraded, uninstalled and installed again, as the page does it."""
    [install] = blocks(PAGE, "Install")
    _, _, give_up_crd = blocks(PAGE, "From kustomize to the chart")
    if crd_exists:
        shell.run("kubectl apply --server-side -k crds/")
        with pytest.raises(AssertionError, match="cannot be imported into the current release"):
            shell.run(install)
        shell.run(install.replace(" --wait\n", " --wait --take-ownership --force-conflicts\n"))
        shell.run(give_up_crd)
    else:
        shell.run(install)
    wait_established(chart_cluster, CRD)
    chart_cluster.apply(managedchart("web", {"path": "/charts/web"}), namespace=apps)
    kept = (f"{CRDS}/{CRD}", f"{MANAGEDCHARTS}/namespaces/{apps}/managedcharts/web")
    before = _uids(chart_cluster, *kept)

    _later_version(shell.folder)
    [upgrade] = blocks(PAGE, "Upgrade")
    shell.run(upgrade)
    _has_later_version(chart_cluster)
    assert _uids(chart_cluster, *kept) == before

    [uninstall] = blocks(PAGE, "Uninstall")
    shell.run(uninstall)
    assert chart_cluster.get(f"{DEPLOYMENTS}/{NAME}") is None
    assert _uids(chart_cluster, *kept) == before

    shell.run(install.replace("kubectl label", "kubectl label --overwrite"))
    assert _uids(chart_cluster, *kept) == before


def test_kustomize_installation_becomes_a_helm_release(
    chart_cluster: Cluster, shell: Shell, apps: str, helm_binary: str, tmp_path: Path
) -> None:
    """While the operator runs: it keeps its identity, and no ManagedChart or release notices anything."""
    shell.run(f"""
        kubectl apply --server-side -k crds/
        kubectl wait --for=jsonpath='{{.status.acceptedNames.kind}}'=ManagedChart crd/{CRD}
        kubectl wait --for=condition=Established crd/{CRD}
        kubectl apply -k my-operator/
        """)
    (tmp_path / "operator").mkdir()
    kubeconfig = service_account_kubeconfig(chart_cluster, tmp_path / "operator" / "kubeconfig")
    names = ("web-1", "web-2")
    charts = [f"{MANAGEDCHARTS}/namespaces/{apps}/managedcharts/{name}" for name in names]
    with _operator(kubeconfig, helm_binary, tmp_path / "operator", CHARTS) as operator:
        deploy(chart_cluster, apps, *names)
        objects, resources = _uids(chart_cluster, *OBJECTS), _uids(chart_cluster, *charts)
        running, started = workloads(chart_cluster, apps), operator.metric(STARTED)

        for block in blocks(PAGE, "From kustomize to the chart"):
            shell.run(block)
        _later_version(shell.folder)
        [upgrade] = blocks(PAGE, "Upgrade")
        shell.run(upgrade)
        _has_later_version(chart_cluster)
        assert _uids(chart_cluster, *OBJECTS) == objects
        assert None not in objects
        assert operator.metric(STARTED) == started

        deploy(chart_cluster, apps, "web-3")
    assert "Traceback" not in operator.log, operator.log

    [uninstall] = blocks(PAGE, "Uninstall")
    shell.run(uninstall)
    assert _uids(chart_cluster, *OBJECTS) == [objects[0], *[None] * (len(OBJECTS) - 1)]
    assert _uids(chart_cluster, *charts) == resources
    assert [chart_cluster.revisions(apps, name) for name in names] == [[(1, "deployed")]] * 2
    assert running.items() <= workloads(chart_cluster, apps).items()


def test_an_operator_installs_the_chart_as_a_managedchart(
    chart_cluster: Cluster, shell: Shell, apps: str, helm_binary: str, tmp_path: Path
) -> None:
    """With the CRD that is there already; it outlives the release."""
    shell.run(f"""
        kubectl apply --server-side -k crds/
        kubectl wait --for=jsonpath='{{.status.acceptedNames.kind}}'=ManagedChart crd/{CRD}
        kubectl wait --for=condition=Established crd/{CRD}
        kubectl apply -f deploy/namespace.yaml
        """)
    [mark] = blocks(PAGE, "Install the operator as a ManagedChart")
    shell.run(mark)
    before = _uids(chart_cluster, OBJECTS[0])
    chart = managedchart(NAME, {"path": str(shell.folder / "deploy" / "chart")})
    with _operator(chart_cluster.kubeconfig, helm_binary, tmp_path / "operator", CHARTS, shell.folder) as operator:
        deploy(chart_cluster, apps, "web")
        chart_cluster.apply(chart, namespace=SYSTEM_NAMESPACE)
        chart_cluster.wait_ready(SYSTEM_NAMESPACE, NAME)
        assert None not in _uids(chart_cluster, *OBJECTS)

        _later_version(shell.folder)
        chart["spec"]["values"] = {"podAnnotations": {"example.com/revision": "2"}}
        chart_cluster.apply(chart, namespace=SYSTEM_NAMESPACE)
        chart_cluster.wait_ready(SYSTEM_NAMESPACE, NAME)
        _has_later_version(chart_cluster)
        assert chart_cluster.revisions(SYSTEM_NAMESPACE, NAME) == [(1, "superseded"), (2, "deployed")]

        chart_cluster.delete(f"{MANAGEDCHARTS}/{SYSTEM}/managedcharts/{NAME}")
        chart_cluster.wait_gone(f"{MANAGEDCHARTS}/{SYSTEM}/managedcharts", NAME)
        assert _uids(chart_cluster, *OBJECTS) == [*before, *[None] * (len(OBJECTS) - 1)]
        chart_cluster.wait_ready(apps, "web")
    assert "Traceback" not in operator.log, operator.log


def test_every_command_of_the_page_is_run_by_a_test() -> None:
    """Except those that build and push the image."""
    counts = {
        "Install": 1,
        "Upgrade": 1,
        "Uninstall": 1,
        "From kustomize to the chart": 3,
        "Install the operator as a ManagedChart": 1,
    }
    text = (REPOSITORY / PAGE).read_text()
    assert {heading: len(blocks(PAGE, heading)) for heading in counts} == counts
    assert text.count("```sh\n") == sum(counts.values()) + 1
