"""What a ManagedChart does, and does not do, to a release of its name that others made."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import CHARTS, WEB, config, delete, deploy, helm, refused, small, uid
from harness.cluster import Cluster, condition_of, managedchart, namespace

pytestmark = pytest.mark.usefixtures("operator")

BROKEN = {"path": str(CHARTS / "broken-template")}
NO_RETRY: dict[str, Any] = {"retry": {"limit": 0}}
BAD_IMAGE = {"podAnnotations": {"devcluster.managedchart.dev/fail": "image"}}
NEVER_DEPLOYED: dict[str, dict[str, Any]] = {
    "values refused": {"chart": BROKEN},
    "no such chart": {"chart": {"path": str(CHARTS / "not-there")}},
    "dry run": {"chart": WEB, "dryRun": True},
    "failed dry run": {"chart": BROKEN, "dryRun": True},
    "skip": {"chart": WEB, "action": "Skip"},
    "failed take-over": {"chart": WEB, "values": BAD_IMAGE},
}


@pytest.fixture
def elsewhere(cluster: Cluster, ns: str) -> Iterator[str]:
    """A second namespace."""
    with namespace(cluster, f"{ns}-b") as made:
        yield made


def installed_by_hand(cluster: Cluster, binary: str, where: str, *arguments: str) -> str:
    """Install the release web as a user of the cluster would; return the UID of its Deployment."""
    helm(cluster, binary, "install", "web", WEB["path"], f"--namespace={where}", *arguments)
    return uid(cluster, f"/apis/apps/v1/namespaces/{where}/deployments/web")


def settled(chart: dict[str, Any]) -> bool:
    """Whether the run of the present generation has ended."""
    seen = (chart.get("status") or {}).get("observedGeneration") == chart["metadata"]["generation"]
    ready, going = condition_of(chart, "Ready"), condition_of(chart, "Reconciling")
    return seen and ready.get("status") in ("True", "False") and going.get("reason") != "Progressing"


@pytest.mark.parametrize("place", ["own namespace", "other namespace"])
@pytest.mark.parametrize("state", NEVER_DEPLOYED)
def test_deletion_without_a_deployment_leaves_the_release(
    cluster: Cluster, ns: str, elsewhere: str, helm_binary: str, *, state: str, place: str
) -> None:
    """Whatever ended before it: only a release that this resource deployed is uninstalled with it."""
    where = ns if place == "own namespace" else elsewhere
    before = installed_by_hand(cluster, helm_binary, where)
    spec = dict(NEVER_DEPLOYED[state])
    cluster.apply(managedchart("web", spec.pop("chart"), targetNamespace=where, **NO_RETRY, **spec), namespace=ns)
    cluster.wait_chart(ns, "web", settled, what="settled")
    delete(cluster, ns, "web")
    assert (1, "deployed") in cluster.revisions(where, "web")
    assert uid(cluster, f"/apis/apps/v1/namespaces/{where}/deployments/web") == before
    [event] = cluster.wait_event(ns, "web", "ReleaseLeft")[-1:]
    assert f"The release {where}/web (revision " in event["message"]
    assert "this resource did not deploy it" in event["message"]


@pytest.mark.parametrize("lifecycle", ["default", "prometheus-operator"])
def test_destroy_leaves_a_release_of_others(cluster: Cluster, ns: str, helm_binary: str, lifecycle: str) -> None:
    before = installed_by_hand(cluster, helm_binary, ns)
    found = deploy(cluster, ns, "web", WEB, action="Destroy", lifecycle={"name": lifecycle})
    assert "stays in the cluster, because this resource did not deploy it" in condition_of(found, "Ready")["message"]
    assert cluster.revisions(ns, "web") == [(1, "deployed")]
    assert uid(cluster, f"/apis/apps/v1/namespaces/{ns}/deployments/web") == before
    cluster.wait_event(ns, "web", "ReleaseLeft")


def test_a_breaking_version_spares_a_release_of_others(
    cluster: Cluster, ns: str, chart_root: Path, helm_binary: str
) -> None:
    old = small(chart_root, "1.0.0", name="taken")
    helm(cluster, helm_binary, "install", "a", old["path"], f"--namespace={ns}")
    before = uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a")
    new = small(chart_root, "2.0.0", name="taken")
    deploy(cluster, ns, "a", new, lastBreakingVersionRequiringRestart="2.0.0")
    assert uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a") == before
    assert cluster.revisions(ns, "a") == [(1, "superseded"), (2, "deployed")]
    [event] = cluster.wait_event(ns, "a", "ReleaseLeft")
    assert "breaking version 2.0.0" in event["message"]


def test_a_failed_run_spares_a_release_of_others(cluster: Cluster, ns: str, helm_binary: str) -> None:
    """Somebody else's operation made its newest, failed revision; the operator's run ended before it made one."""
    installed_by_hand(cluster, helm_binary, ns)
    annotations = f"--set-json=podAnnotations={json.dumps(BAD_IMAGE['podAnnotations'])}"
    with pytest.raises(subprocess.CalledProcessError):
        helm(
            cluster,
            helm_binary,
            "upgrade",
            "web",
            WEB["path"],
            f"--namespace={ns}",
            "--wait",
            "--timeout=1s",
            annotations,
        )
    theirs = [(1, "deployed"), (2, "failed")]
    assert cluster.revisions(ns, "web") == theirs
    failure = refused(cluster, ns, "web", BROKEN, **NO_RETRY)
    assert failure["reason"] == "TemplateError"
    assert "revision" not in failure
    found = cluster.wait_chart(ns, "web", settled, what="settled")
    assert "release" not in found["status"], "who may read this resource may not read that release"
    assert cluster.revisions(ns, "web") == theirs


def test_a_failed_takeover_is_not_rolled_back(cluster: Cluster, ns: str, helm_binary: str) -> None:
    """Which of the two is wanted then is for a person to decide; the next good spec is deployed over both."""
    installed_by_hand(cluster, helm_binary, ns, "--set=message=theirs")
    cluster.apply(managedchart("web", WEB, values=BAD_IMAGE, **NO_RETRY), namespace=ns)
    left = "The failed release is left as it is: revision 1, the last good one, was not made by this resource"
    found = cluster.wait_chart(
        ns, "web", lambda chart: condition_of(chart, "Stalled").get("message", "").startswith(left), what="left"
    )
    assert found["status"]["lastFailure"]["revision"] == 2
    assert cluster.revisions(ns, "web") == [(1, "deployed"), (2, "failed")]
    deploy(cluster, ns, "web", WEB, values={"message": "ours"})
    assert config(cluster, ns, "web") == {"MESSAGE": "ours"}
    delete(cluster, ns, "web")
    assert cluster.revisions(ns, "web") == [], "what it has deployed since is its own"
