"""A lifecycle that a package brings ends a run: by its decision, or by a defect of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS
from e2e.diagnosis.conftest import OwnCluster
from harness.cluster import condition_of, managedchart, namespace
from managedchart_operator.lifecycle.registry import ENTRY_POINT_GROUP

WEB = {"path": str(CHARTS / "web")}
PLUGIN = Path(__file__).parent / "plugin"
_ENTRY_POINTS = f"""[{ENTRY_POINT_GROUP}]
smoke-test = refusing_lifecycles:SmokeTest
quota = refusing_lifecycles:Quota
"""
RETRY = {"limit": 20, "backoff": "1s", "maxBackoff": "1s"}


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment in which the plug-ins are found: what pip writes when it installs a package, and its code."""
    described = tmp_path / "refusing_lifecycles-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: refusing-lifecycles\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(_ENTRY_POINTS)
    return {"PYTHONPATH": f"{PLUGIN}:{tmp_path}"}


@pytest.fixture
def own_ns(own: OwnCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    with namespace(own.cluster, f"lifecycle-{abs(hash(request.node.name)) % 10**8}") as made:
        yield made


def test_an_error_of_a_lifecycle_keeps_its_message(own: OwnCluster, own_ns: str, installed: dict[str, str]) -> None:
    """Without atomic the release is deployed and stays; only Validated and Ready say that it is not good."""
    cluster, lifecycle = own.cluster, {"name": "smoke-test"}
    with own.operator(**installed):
        cluster.apply(managedchart("web", WEB, lifecycle=lifecycle, retry=RETRY, atomic=False), namespace=own_ns)
        chart = cluster.wait_failed(own_ns, "web", "LifecycleFailed")
        failure = chart["status"]["lastFailure"]
        assert failure["phase"] == "Validate"
        assert failure["message"] == condition_of(chart, "Ready")["message"] == "the page does not say good"
        assert failure["hint"] == "set values.message"
        assert condition_of(chart, "Validated")["status"] == "False"
        assert condition_of(chart, "Released")["status"] == "True"
        assert cluster.revisions(own_ns, "web") == [(1, "deployed")]

        good = managedchart("web", WEB, lifecycle=lifecycle, retry=RETRY, values={"message": "good"})
        cluster.apply(good, namespace=own_ns)
        chart = cluster.wait_ready(own_ns, "web")
        assert condition_of(chart, "Validated")["status"] == "True"


def test_a_failed_validation_is_rolled_back_like_exec(own: OwnCluster, own_ns: str, installed: dict[str, str]) -> None:
    """atomic covers the whole run: a first install is uninstalled, an upgrade rolled back, with the evidence taken before."""
    cluster, options = own.cluster, {"lifecycle": {"name": "smoke-test"}, "retry": {"limit": 0}}

    def stalled(start: str) -> dict[str, Any]:
        return cluster.wait_chart(
            own_ns, "web", lambda found: condition_of(found, "Stalled").get("message", "").startswith(start), what=start
        )

    with own.operator(**installed):
        cluster.apply(managedchart("web", WEB, **options), namespace=own_ns)
        chart = stalled("The failed first install was uninstalled")
        assert cluster.revisions(own_ns, "web") == []
        assert [phase["name"] for phase in chart["status"]["phases"]][-2:] == ["Validate", "OnDeployFailure"]
        assert chart["status"]["lastFailure"]["revision"] == 1
        assert [(record["revision"], record["action"]) for record in chart["status"]["history"]] == [(1, "Install")]
        assert condition_of(chart, "Released")["status"] == "False"

        cluster.apply(managedchart("web", WEB, **options, values={"message": "good"}), namespace=own_ns)
        cluster.wait_ready(own_ns, "web")
        cluster.apply(managedchart("web", WEB, **options, values={"message": "bad"}), namespace=own_ns)
        chart = stalled("Rolled back to revision 1")
        assert cluster.revisions(own_ns, "web") == [(1, "superseded"), (2, "failed"), (3, "deployed")]
        assert condition_of(chart, "Ready")["reason"] == "LifecycleFailed"
        assert "spec.retry.afterRollback" in condition_of(chart, "Stalled")["message"]
        history = [(record["revision"], record["action"], record["outcome"]) for record in chart["status"]["history"]]
        assert history[:2] == [(3, "Rollback", "deployed"), (2, "Upgrade", "failed")]
        found = cluster.get(f"/api/v1/namespaces/{own_ns}/configmaps/web")
        assert found is not None
        assert found["data"]["MESSAGE"] == "good"


def test_a_defect_of_a_lifecycle_is_reported_and_heals(own: OwnCluster, own_ns: str, installed: dict[str, str]) -> None:
    """Neither the chart nor the operator is to blame. With the corrected package nobody has to touch the resource."""
    cluster = own.cluster
    with own.operator(**installed) as operator:
        cluster.apply(managedchart("web", WEB, lifecycle={"name": "quota"}, retry=RETRY), namespace=own_ns)
        chart = cluster.wait_failed(own_ns, "web", "InternalError")
        failure = chart["status"]["lastFailure"]
        assert failure["phase"] == "CheckPrerequisites"
        assert failure["message"] == "Unhandled error in phase CheckPrerequisites: KeyError: 'nodes'"
        assert "plug-in" in failure["hint"]
        assert "refusing_lifecycles.py" in operator.log, "the traceback is for whoever corrects it"
        cluster.apply(managedchart("other", WEB), namespace=own_ns)
        cluster.wait_ready(own_ns, "other")
    with own.operator(**installed, PLUGIN_QUOTA_CORRECTED="yes"):
        cluster.wait_ready(own_ns, "web")
