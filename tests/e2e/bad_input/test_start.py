"""An operator that cannot start ends immediately, with one line that says what to do, and no traceback.

More reasons, without a process and a cluster for each, stand in tests/unit/app.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytest_kind import KindCluster

from conftest import CHARTS, REPOSITORY
from e2e.bad_input.reading import read_failure, told
from harness.chart_files import contents, package_chart
from harness.cluster import MANAGEDCHARTS, Cluster, cluster_beside, managedchart, namespace, wait_established
from harness.operator_process import OperatorProcess, service_account_kubeconfig

SMALL = contents(package_chart())


class Starts:
    """Makes operators that are about to be refused."""

    def __init__(self, kubeconfig: Path, folder: Path, helm: str) -> None:
        self._kubeconfig, self._folder, self._helm = kubeconfig, folder, helm

    def operator(self, *, kubeconfig: Path | None = None, helm: str | None = None, **settings: str) -> OperatorProcess:
        return OperatorProcess(
            kubeconfig=kubeconfig or self._kubeconfig,
            folder=self._folder,
            helm=helm or self._helm,
            chart_roots=[CHARTS],
            **settings,
        )


@pytest.fixture
def starts(operator_kubeconfig: Path, helm_binary: str, tmp_path: Path) -> Starts:
    return Starts(operator_kubeconfig, tmp_path, helm_binary)


def test_a_helm_that_is_too_old_is_refused(starts: Starts, tmp_path: Path) -> None:
    old = tmp_path / "helm"
    old.write_text("#!/bin/sh\necho v3.19.0\n")
    old.chmod(0o755)
    said = starts.operator(helm=str(old)).refusal()
    assert f"Cannot start: Helm v3.19.0 is too old ({old}): this operator needs 4.3.0 or newer" in said


def test_a_missing_permission_is_named(cluster: Cluster, starts: Starts, ns: str, tmp_path: Path) -> None:
    """First with none at all, then with a part of what deploy/ gives."""
    cluster.kubectl("create", "serviceaccount", "nobody", f"--namespace={ns}")
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    token = cluster.kubectl("create", "token", "nobody", f"--namespace={ns}").strip()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    kubeconfig = tmp_path / "nobody"
    kubeconfig.write_text(yaml.safe_dump(config))

    said = starts.operator(kubeconfig=kubeconfig).refusal()
    assert "Cannot start: Cannot list managedcharts" in said
    assert f'User "system:serviceaccount:{ns}:nobody" cannot list resource "managedcharts"' in said
    assert "deploy/rbac.yaml" in said

    role = f"{ns}-reader"
    cluster.kubectl(
        "create", "clusterrole", role, "--verb=get,list,watch,patch", "--resource=managedcharts.managedchart.dev"
    )
    cluster.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", f"--serviceaccount={ns}:nobody")
    try:
        said = starts.operator(kubeconfig=kubeconfig).refusal()
    finally:
        cluster.kubectl("delete", f"clusterrolebinding/{role}", f"clusterrole/{role}")
    assert "Cannot start: Cannot list Helm's release Secrets" in said
    assert 'cannot list resource "secrets"' in said


def test_a_second_operator_with_the_same_cache_is_refused(
    operator: OperatorProcess, starts: Starts, operator_folder: Path
) -> None:
    """And the first one is not disturbed."""
    folder = operator_folder / "cache"
    said = starts.operator(MANAGEDCHART_CACHE_DIR=str(folder)).refusal()
    assert f"Cannot start: Another operator uses the cache folder {folder}" in said
    assert "MANAGEDCHART_CACHE_DIR" in said
    assert operator.metric("managedchart_resources") >= 0


def test_a_taken_port_is_named_with_its_setting(operator: OperatorProcess, starts: Starts) -> None:
    said = starts.operator(MANAGEDCHART_HTTP_PORT=str(operator.port)).refusal()
    assert f"Cannot start: Cannot listen on 127.0.0.1:{operator.port}: Address already in use" in said
    assert "MANAGEDCHART_HTTP_PORT" in said


CRD = "managedcharts.managedchart.dev"
STATUS_FIELDS = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties"


@pytest.fixture
def changed_crd(cluster: Cluster) -> Iterator[Callable[..., None]]:
    """Changes the CRD of the cluster by a JSON patch; at the end it is again as it was."""

    def change(*operations: dict[str, Any]) -> None:
        cluster.kubectl("patch", "crd", CRD, "--type=json", f"--patch={json.dumps(operations)}")

    yield change
    cluster.kubectl("replace", "-f", str(REPOSITORY / "crds" / "managedchart.yaml"))


def test_a_crd_without_a_status_field_is_refused(changed_crd: Callable[..., None], starts: Starts) -> None:
    """The API server would drop the field without an error."""
    changed_crd({"op": "remove", "path": f"{STATUS_FIELDS}/lastFailure"})
    said = starts.operator().refusal()
    assert f"Cannot start: The CRD {CRD} is older than this operator or was edited" in said
    assert "it has no field status.lastFailure" in said
    assert "kubectl apply --server-side -k crds/" in said


def test_a_crd_with_another_field_is_accepted(changed_crd: Callable[..., None], starts: Starts) -> None:
    """As a newer one has it: the CRD is upgraded before the operator."""
    changed_crd(
        {"op": "add", "path": f"{STATUS_FIELDS}/newer", "value": {"type": "string"}},
        {"op": "replace", "path": "/metadata/annotations/managedchart.dev~1schema-digest", "value": "sha256:0"},
    )
    with starts.operator() as operator:
        assert f"the CRD {CRD} is of another version, but has every field that this operator needs" in operator.log


@pytest.fixture
def bare_cluster(kind_cluster: KindCluster, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of its own with the operator's identity and without the CRD."""
    with cluster_beside(kind_cluster, "bare", tmp_path) as bare:
        found = Cluster(bare)
        for name in ("namespace.yaml", "serviceaccount.yaml", "rbac.yaml"):
            found.kubectl("apply", "-f", str(REPOSITORY / "deploy" / name))
        yield found


def test_a_missing_crd_and_objects_of_a_looser_one(bare_cluster: Cluster, helm_binary: str, tmp_path: Path) -> None:
    """Without the CRD the operator does not start.

    An object that today's rules refuse is reported by field, and can be corrected and removed.
    """
    kubeconfig = service_account_kubeconfig(bare_cluster, tmp_path / "kubeconfig")
    starts = Starts(kubeconfig, tmp_path, helm_binary)
    said = starts.operator().refusal()
    assert "Cannot start: The API server does not serve managedcharts of managedchart.dev/v1alpha1" in said
    assert "kubectl apply --server-side -k crds/" in said

    crd = REPOSITORY / "crds" / "managedchart.yaml"
    loose = yaml.safe_load(crd.read_text())
    schema = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    del schema["x-kubernetes-validations"]
    bare_cluster.apply(loose)
    wait_established(bare_cluster, CRD)
    with namespace(bare_cluster, "before") as ns:
        bare_cluster.apply(
            managedchart("sources", {**SMALL, "path": "/charts/podinfo"}),
            managedchart("none", {}),
            managedchart("timeout", SMALL, timeout="soon"),
            namespace=ns,
        )
        bare_cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crd))
        wait_established(bare_cluster, CRD)
        with starts.operator():
            chart = read_failure(bare_cluster, ns, "sources", "InvalidSpec", transient=False)
            assert "spec.chart: set exactly one of path, repository, oci and contents" in told(chart)
            assert "docs/fields.md" in chart["status"]["lastFailure"]["hint"]
            chart = read_failure(bare_cluster, ns, "none", "InvalidSpec", transient=False)
            assert "spec.chart: set exactly one of" in told(chart)
            chart = read_failure(bare_cluster, ns, "timeout", "InvalidSpec", transient=False)
            assert 'spec.timeout: "soon" is not a duration; write it like 180s, 5m or 1h30m' in told(chart)

            bare_cluster.apply(managedchart("sources", SMALL), namespace=ns)
            bare_cluster.wait_ready(ns, "sources")
            bare_cluster.kubectl("delete", "managedcharts", "none", f"--namespace={ns}", "--wait=false")
            bare_cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts", "none")
