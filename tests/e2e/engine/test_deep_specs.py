"""Values of any nesting, which the API server stores and no parser of Python's reads: they are their own resource's failure.

kubectl waits and deletes here, since the tests' own client cannot read such a resource either.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import CHARTS
from harness.cluster import Cluster, managedchart, namespace
from harness.operator_process import OperatorProcess

WEB = {"path": str(CHARTS / "web")}
JSON_LEVELS = 2000
"""More than Python's json reads; about twelve KB."""


def deep(levels: int) -> str:
    """Write a mapping of so many levels as JSON."""
    return '{"a":' * levels + "1" + "}" * levels


@contextmanager
def deep_chart(cluster: Cluster, where: str, folder: Path, *, levels: int, name: str = "deep") -> Iterator[None]:
    """Create a ManagedChart whose values have so many levels; it is deleted at the end, by whoever operates."""
    body = json.dumps(managedchart(name, WEB, values="VALUES")).replace('"VALUES"', deep(levels))
    file = folder / f"{name}.json"
    file.write_text(body)
    path = f"/apis/managedchart.dev/v1alpha1/namespaces/{where}/managedcharts"
    cluster.kubectl("create", "--raw", path, "-f", str(file))
    try:
        yield
    finally:
        delete(cluster, where, name)


def delete(cluster: Cluster, where: str, name: str) -> None:
    """`kubectl delete` a ManagedChart and wait for its end."""
    cluster.kubectl("delete", "managedchart", name, f"--namespace={where}", "--ignore-not-found", "--timeout=60s")


def make_deep(cluster: Cluster, where: str, name: str) -> None:
    """Give a ManagedChart that is there values that are nested too deep."""
    patch = f'{{"spec": {{"values": {deep(JSON_LEVELS)}}}}}'
    cluster.kubectl("patch", "managedchart", name, f"--namespace={where}", "--type=merge", f"--patch={patch}")


def wait_refused(cluster: Cluster, where: str, name: str = "deep") -> None:
    """Wait until status and Event say why a resource is not carried out."""
    chart = ["managedchart", name, f"--namespace={where}"]
    reason = '--for=jsonpath={.status.conditions[?(@.type=="Stalled")].reason}=InvalidSpec'
    cluster.kubectl("wait", *chart, reason, "--timeout=60s")
    message = cluster.kubectl("get", *chart, '-o=jsonpath={.status.conditions[?(@.type=="Ready")].message}')
    assert message.startswith("spec.values.a.a.")
    assert "nested deeper than 100 levels" in message
    event = cluster.wait_event(where, name, "InvalidSpec")[0]
    assert event["message"].startswith(message)
    assert "Flatten" in event["message"]


@pytest.fixture
def other_ns(own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str) -> Iterator[str]:
    """A namespace of somebody else."""
    with namespace(own_cluster, f"{own_ns}-other") as made:
        yield made
        own_cluster.kubectl("delete", "managedcharts", "--all", f"--namespace={made}", "--timeout=60s")


@pytest.mark.parametrize("levels", [101, 300, JSON_LEVELS, 9_990])
def test_a_spec_nested_too_deep_fails_alone(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str, other_ns: str, tmp_path: Path, *, levels: int
) -> None:
    """While the operator runs: it says so in the resource, goes on with all others, and lets the resource be deleted."""
    with deep_chart(own_cluster, own_ns, tmp_path, levels=levels):
        wait_refused(own_cluster, own_ns)
        own_cluster.apply(managedchart("web", WEB), namespace=other_ns)
        own_cluster.wait_ready(other_ns, "web")
    assert own_operator.running
    assert "Traceback" not in own_operator.log


def test_the_operator_starts_with_a_deep_spec(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str, other_ns: str, tmp_path: Path
) -> None:
    """At the start all resources are listed, a page at a time: the others of that page are carried out too."""
    own_operator.stop()
    with deep_chart(own_cluster, own_ns, tmp_path, levels=JSON_LEVELS):
        own_cluster.apply(managedchart("a", WEB), managedchart("z", WEB), namespace=other_ns)
        own_operator.start()
        for name in ("a", "z"):
            own_cluster.wait_ready(other_ns, name)
        wait_refused(own_cluster, own_ns)
    assert own_operator.running
    assert "Traceback" not in own_operator.log


@pytest.mark.parametrize("policy", ["Uninstall", "Orphan"])
def test_deletion_of_a_deep_spec_follows_its_policy(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str, policy: str
) -> None:
    """The release was deployed before the values became unreadable; its name and namespace are still read."""
    spec = {"deletionPolicy": policy, "releaseName": "blue", "targetNamespace": own_ns}
    own_cluster.apply(managedchart("web", WEB, **spec), namespace=own_ns)
    own_cluster.wait_ready(own_ns, "web")
    make_deep(own_cluster, own_ns, "web")
    wait_refused(own_cluster, own_ns, "web")
    assert own_cluster.revisions(own_ns, "blue") == [(1, "deployed")]
    delete(own_cluster, own_ns, "web")
    kept = [(1, "deployed")] if policy == "Orphan" else []
    assert own_cluster.revisions(own_ns, "blue") == kept


def test_a_corrected_deep_spec_is_deployed(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str, tmp_path: Path
) -> None:
    """It waits for nothing but a spec that can be read."""
    with deep_chart(own_cluster, own_ns, tmp_path, levels=JSON_LEVELS):
        wait_refused(own_cluster, own_ns)
        own_cluster.kubectl(
            "patch",
            "managedchart",
            "deep",
            f"--namespace={own_ns}",
            "--type=merge",
            '--patch={"spec": {"values": null}}',
        )
        own_cluster.wait_ready(own_ns, "deep")
