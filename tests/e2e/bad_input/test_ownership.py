"""Releases and objects that belong to somebody else: refused, never fought over, and taken over when they are free."""

from typing import Any

import pytest

from e2e.bad_input.reading import read_failure, told
from harness.chart_files import chart_files, contents, package_chart
from harness.cluster import MANAGEDCHARTS, Cluster, managedchart

pytestmark = pytest.mark.usefixtures("operator")

SMALL = contents(package_chart())
_FIXED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {from: chart}\n"
FIXED = contents(package_chart(chart_files(shared=_FIXED)))


def _config_map(cluster: Cluster, ns: str, name: str) -> dict[str, Any]:
    found = cluster.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")
    assert found is not None
    return found


def _owned_release(cluster: Cluster, ns: str, **first: Any) -> None:
    """A ManagedChart `first` that has deployed the release `shared`, and a `second` that names the same one."""
    cluster.apply(
        managedchart("first", SMALL, releaseName="shared", values={"message": "first"}, **first), namespace=ns
    )
    cluster.wait_ready(ns, "first")
    cluster.apply(managedchart("second", SMALL, releaseName="shared", values={"message": "second"}), namespace=ns)


def test_a_release_of_another_managedchart_names_its_owner(cluster: Cluster, ns: str) -> None:
    _owned_release(cluster, ns)
    chart = read_failure(cluster, ns, "second", "ReleaseOwned", transient=False)
    failure = chart["status"]["lastFailure"]
    assert f"The release {ns}/shared belongs to ManagedChart {ns}/first" in failure["message"]
    assert "create it with another spec.releaseName or spec.targetNamespace" in failure["hint"]
    # The owner goes on as if nothing had happened, and is not disturbed by the other one's deletion either.
    cluster.apply(
        managedchart("first", SMALL, releaseName="shared", values={"message": "still the first"}), namespace=ns
    )
    cluster.wait_ready(ns, "first")
    cluster.kubectl("delete", "managedchart", "second", f"--namespace={ns}")
    assert cluster.revisions(ns, "shared")[-1] == (2, "deployed")
    assert _config_map(cluster, ns, "shared")["data"] == {"message": "still the first"}


def test_an_orphaned_release_is_taken_over_in_place(cluster: Cluster, ns: str) -> None:
    _owned_release(cluster, ns, deletionPolicy="Orphan")
    read_failure(cluster, ns, "second", "ReleaseOwned", transient=False)
    before = _config_map(cluster, ns, "shared")
    cluster.kubectl("delete", "managedchart", "first", f"--namespace={ns}")
    ready = cluster.wait_ready(ns, "second")
    after = _config_map(cluster, ns, "shared")
    assert after["metadata"]["uid"] == before["metadata"]["uid"], "the object was made anew"
    assert after["data"] == {"message": "second"}
    assert ready["status"]["release"]["revision"] == 2
    assert "lastFailure" not in ready["status"]
    [event] = cluster.wait_event(ns, "second", "ReleaseTakenOver")
    assert f"{ns}/shared, revision 1" in event["message"]
    assert event["message"].endswith("no longer apply: message")


def test_an_uninstalled_release_frees_its_name(cluster: Cluster, ns: str) -> None:
    _owned_release(cluster, ns)
    read_failure(cluster, ns, "second", "ReleaseOwned", transient=False)
    cluster.kubectl("delete", "managedchart", "first", f"--namespace={ns}")
    ready = cluster.wait_ready(ns, "second")
    assert ready["status"]["release"]["revision"] == 1
    assert _config_map(cluster, ns, "shared")["data"] == {"message": "second"}


def test_the_hint_makes_an_unowned_object_adoptable(cluster: Cluster, ns: str) -> None:
    """The advice is carried out to the letter, and works."""
    cluster.kubectl("create", "configmap", "shared", "--from-literal=from=hand", f"--namespace={ns}")
    before = _config_map(cluster, ns, "shared")
    cluster.apply(managedchart("adopter", FIXED), namespace=ns)
    chart = read_failure(cluster, ns, "adopter", "ObjectOwned", transient=False)
    failure = chart["status"]["lastFailure"]
    assert "ConfigMap" in failure["message"]
    assert "shared" in failure["message"]
    assert _config_map(cluster, ns, "shared")["data"] == {"from": "hand"}

    for command in failure["hint"].rpartition(": kubectl ")[2].split(" && kubectl "):
        cluster.kubectl(*command.split())
    cluster.kubectl("annotate", "managedchart", "adopter", "managedchart.dev/retry=1", f"--namespace={ns}")
    cluster.wait_ready(ns, "adopter")
    after = _config_map(cluster, ns, "shared")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["data"] == {"from": "chart"}


def test_an_object_of_another_release_names_it(cluster: Cluster, ns: str) -> None:
    cluster.apply(managedchart("first", FIXED), namespace=ns)
    cluster.wait_ready(ns, "first")
    cluster.apply(managedchart("second", FIXED), namespace=ns)
    chart = read_failure(cluster, ns, "second", "ObjectOwned", transient=False)
    message = chart["status"]["lastFailure"]["message"]
    assert "ConfigMap" in message
    assert "shared" in message
    assert "first" in message, "the release that has it is not named"
    assert cluster.revisions(ns, "first") == [(1, "deployed")]
    owner = _config_map(cluster, ns, "shared")["metadata"]["annotations"]["meta.helm.sh/release-name"]
    assert owner == "first"
    assert cluster.get(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts/second") is not None
    assert "second" in told(chart) or chart["status"]["lastFailure"]["hint"]
