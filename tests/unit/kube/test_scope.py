"""In which namespaces the operator works, and what it reads there."""

import pytest

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.errors import SpecError, StartupError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.kube.scope import Scope
from managedchart_operator.reasons import Reason

ROOT = "/apis/managedchart.dev/v1alpha1"
TEAMS = Scope(("team-a", "team-b"))
FORBIDDEN = (403, refusal("is forbidden", 403))


def test_without_a_list_it_works_everywhere() -> None:
    assert "kube-system" in Scope()
    assert list(Scope().collections("/api/v1", "secrets")) == [(None, "/api/v1/secrets")]
    Scope().check_target("kube-system")


def test_with_a_list_it_works_there_only() -> None:
    assert list(TEAMS.collections("/api/v1", "secrets")) == [
        ("team-a", "/api/v1/namespaces/team-a/secrets"),
        ("team-b", "/api/v1/namespaces/team-b/secrets"),
    ]
    TEAMS.check_target("team-b")
    with pytest.raises(SpecError) as refused:
        TEAMS.check_target("kube-system")
    assert refused.value.reason is Reason.FORBIDDEN
    assert refused.value.message == (
        "The operator does not work in namespace kube-system, in which spec.targetNamespace puts the release"
    )


async def test_nothing_of_the_whole_cluster_is_read(client: KubeClient, api: FakeApiServer) -> None:
    """And a namespace that refuses stops neither the start nor the others."""
    meta = {"namespace": "team-b", "name": "web", "uid": "u", "resourceVersion": "1"}
    api.answers["GET", ROOT] = (200, {"resources": [{"name": "managedcharts", "verbs": ["get"]}]})
    api.answers["GET", f"{ROOT}/namespaces/team-a/managedcharts"] = FORBIDDEN
    api.answers["GET", f"{ROOT}/namespaces/team-b/managedcharts"] = (
        200,
        {"metadata": {}, "items": [{"metadata": meta}]},
    )
    api.answers["GET", "/api/v1/namespaces/team-a/secrets"] = FORBIDDEN
    api.answers["GET", "/api/v1/namespaces/team-b/secrets"] = (200, {"metadata": {}, "items": []})
    charts = ManagedCharts(client, TEAMS)
    await charts.check_installed()
    await ReleaseSecrets(client).check_permissions(TEAMS)
    assert [chart.key.namespace async for chart in charts.list_all()] == ["team-b"]
    assert not {path for _, path, _, _ in api.asked} & {"/api/v1/secrets", f"{ROOT}/managedcharts"}


@pytest.mark.parametrize("answer", [(404, "404 page not found"), (200, {"resources": []})], ids=["no group", "others"])
async def test_a_missing_crd_is_found_by_discovery(client: KubeClient, api: FakeApiServer, answer: object) -> None:
    api.answers["GET", ROOT] = answer  # type: ignore[assignment]
    with pytest.raises(StartupError) as refused:
        await ManagedCharts(client, TEAMS).check_installed()
    assert refused.value.message == "The API server does not serve managedcharts of managedchart.dev/v1alpha1"


async def test_a_cluster_wide_refusal_names_the_setting(client: KubeClient, api: FakeApiServer) -> None:
    """The operator was installed with permissions in a few namespaces, and without the list of them."""
    api.answers["GET", f"{ROOT}/managedcharts"] = FORBIDDEN
    with pytest.raises(StartupError) as refused:
        await ManagedCharts(client).check_installed()
    assert "MANAGEDCHART_NAMESPACES" in str(refused.value.hint)


@pytest.mark.parametrize("status", [401, 503])
async def test_any_other_refusal_ends_the_start(client: KubeClient, api: FakeApiServer, status: int) -> None:
    api.answers["GET", "/api/v1/namespaces/team-a/secrets"] = (status, refusal("no", status))
    with pytest.raises(StartupError, match="Cannot list Helm's release Secrets"):
        await ReleaseSecrets(client).check_permissions(TEAMS)
