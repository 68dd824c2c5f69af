"""A lifecycle that a package brings ends a run: by its decision, or by a defect of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import REPOSITORY
from e2e.diagnosis.conftest import OwnCluster
from harness.cluster import condition_of, managedchart, namespace
from managedchart_operator.lifecycle.registry import ENTRY_POINT_GROUP

WEB = {"path": str(REPOSITORY / "tests" / "charts" / "web")}
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


def test_what_a_lifecycle_finds_wrong_is_told_in_its_own_words(
    own: OwnCluster, own_ns: str, installed: dict[str, str]
) -> None:
    """The release is deployed and stays; only Validated and Ready say that it is not good."""
    cluster, lifecycle = own.cluster, {"name": "smoke-test"}
    with own.operator(**installed):
        cluster.apply(managedchart("web", WEB, lifecycle=lifecycle, retry=RETRY), namespace=own_ns)
        chart = cluster.wait_failed(own_ns, "web", "LifecycleFailed")
        failure = chart["status"]["lastFailure"]
        assert failure["phase"] == "Validate"
        assert failure["message"] == condition_of(chart, "Ready")["message"] == "the page does not say good"
        assert failure["hint"] == "set values.message"
        assert condition_of(chart, "Validated")["status"] == "False"
        assert cluster.revisions(own_ns, "web") == [(1, "deployed")]

        good = managedchart("web", WEB, lifecycle=lifecycle, retry=RETRY, values={"message": "good"})
        cluster.apply(good, namespace=own_ns)
        chart = cluster.wait_ready(own_ns, "web")
        assert condition_of(chart, "Validated")["status"] == "True"


def test_a_defect_of_a_lifecycle_is_told_as_such_and_its_correction_heals(
    own: OwnCluster, own_ns: str, installed: dict[str, str]
) -> None:
    """Neither the chart nor the operator is to blame. With the corrected package nobody has to touch the resource."""
    cluster = own.cluster
    with own.operator(**installed) as operator:
        cluster.apply(managedchart("web", WEB, lifecycle={"name": "quota"}, retry=RETRY), namespace=own_ns)
        chart = cluster.wait_failed(own_ns, "web", "InternalError")
        failure = chart["status"]["lastFailure"]
        assert failure["phase"] == "CheckPrerequisites"
        assert failure["message"] == "the lifecycle's CheckPrerequisites broke: KeyError: 'nodes'"
        assert "plug-in" in failure["hint"]
        assert "refusing_lifecycles.py" in operator.log, "the traceback is for whoever corrects it"
        cluster.apply(managedchart("other", WEB), namespace=own_ns)
        cluster.wait_ready(own_ns, "other")
    with own.operator(**installed, QUOTA_CORRECTED="yes"):
        cluster.wait_ready(own_ns, "web")
