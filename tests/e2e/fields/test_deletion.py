"""deletionPolicy: what `kubectl delete` of the resource does to the release, whatever the action."""

from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import config, delete, deploy, helm, is_there, message, refused, small
from harness.cluster import Cluster, managedchart

pytestmark = pytest.mark.usefixtures("operator")

STATES: dict[str, dict[str, Any]] = {
    "deploy": {},
    "skip": {"action": "Skip"},
    "dry-run": {"dryRun": True},
    "destroy": {"action": "Destroy"},
}


@pytest.mark.parametrize("policy", ["Uninstall", "Orphan"])
def test_the_policy_decides_whatever_the_action(cluster: Cluster, ns: str, chart_root: Path, policy: str) -> None:
    """Each release is deployed first, then its resource gets another action, then it is deleted."""
    chart = small(chart_root)
    cluster.apply(*[managedchart(name, chart, deletionPolicy=policy) for name in STATES], namespace=ns)
    for name in STATES:
        cluster.wait_ready(ns, name)
    cluster.apply(
        *[managedchart(name, chart, deletionPolicy=policy, **state) for name, state in STATES.items()], namespace=ns
    )
    for name in STATES:
        cluster.wait_ready(ns, name)
    delete(cluster, ns, *STATES)
    kept = {name for name in STATES if cluster.revisions(ns, name) == [(1, "deployed")]}
    there = {name for name in STATES if message(cluster, ns, name) == "hello"}
    assert kept == there == (set() if policy == "Uninstall" else set(STATES) - {"destroy"})


def test_deletion_uninstalls_the_release_by_default(cluster: Cluster, ns: str, chart_root: Path) -> None:
    deploy(cluster, ns, "a", small(chart_root))
    delete(cluster, ns, "a")
    assert cluster.revisions(ns, "a") == []
    assert message(cluster, ns, "a") is None
    assert not is_there(cluster, ns, "a")


def test_deletion_removes_what_a_refused_upgrade_left(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """helm uninstalls what the newest revision renders, and would forget the rest."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {a: VALUE}\n"
    extra = text.replace("NAME", "extra").replace("VALUE", "b")
    kept = extra.replace("name: extra", "name: kept, annotations: {helm.sh/resource-policy: keep}")
    deploy(cluster, ns, "a", small(chart_root, name="left", extra=extra, kept=kept))
    wrong = text.replace("NAME", "wrong").replace("VALUE", "[]")
    refused(cluster, ns, "a", small(chart_root, "2.0.0", name="left", wrong=wrong), atomic=False, retry={"limit": 0})
    assert cluster.revisions(ns, "a") == [(1, "deployed"), (2, "failed")]
    assert config(cluster, ns, "extra") == {"a": "b"}
    delete(cluster, ns, "a")
    assert cluster.revisions(ns, "a") == []
    assert config(cluster, ns, "extra") is None
    assert config(cluster, ns, "kept") == {"a": "b"}


def test_a_new_resource_takes_over_an_orphaned_release(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """So a release can be moved to another name of the resource without a gap."""
    deploy(cluster, ns, "a", small(chart_root), deletionPolicy="Orphan")
    delete(cluster, ns, "a")
    found = deploy(cluster, ns, "b", small(chart_root), releaseName="a", values={"message": "taken up"})
    assert found["status"]["release"]["revision"] == 2
    assert message(cluster, ns, "a") == "taken up"


@pytest.mark.parametrize("state", [{"action": "Skip"}, {"dryRun": True}], ids=["skip", "dry run"])
def test_deletion_leaves_a_release_that_it_never_deployed(
    cluster: Cluster, ns: str, chart_root: Path, helm_binary: str, state: dict[str, Any]
) -> None:
    """A release of the same name that somebody else made is not uninstalled."""
    chart = small(chart_root)
    helm(cluster, helm_binary, "install", "a", chart["path"], f"--namespace={ns}")
    deploy(cluster, ns, "a", chart, **state)
    delete(cluster, ns, "a")
    assert cluster.revisions(ns, "a") == [(1, "deployed")]
    assert message(cluster, ns, "a") == "hello"
