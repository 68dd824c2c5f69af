"""The lifecycle of the Prometheus operator."""

from collections.abc import Mapping
from typing import Any

import pytest

from managedchart_operator.api.spec import Action
from managedchart_operator.errors import HelmError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.context import ChartCrds, Operation
from managedchart_operator.lifecycle.prometheus_operator import PrometheusOperator
from managedchart_operator.reasons import Reason
from unit.lifecycle.fakes import Bench, FakeCluster, FakeRelease, bench

BLOCKED = HelmError("objects are still there", reason=Reason.UNINSTALL_BLOCKED, transient=True)
SIX = ("prometheuses", "prometheusrules", "servicemonitors", "podmonitors", "alertmanagers", "thanosrulers")


def crd(plural: str, group: str = "monitoring.coreos.com") -> ObjectRef:
    return ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}")


CRDS = [crd(plural) for plural in SIX]
PROBES = crd("probes")
OTHER = crd("certificates", "cert-manager.io")


def cluster_with(*refs: ObjectRef, meta: Mapping[ObjectRef, dict[str, Any]] | None = None) -> FakeCluster:
    return FakeCluster(objects={ref: {"metadata": {"name": ref.name, **(meta or {}).get(ref, {})}} for ref in refs})


async def destroyed(cluster: FakeCluster, **release: Any) -> Bench:
    b = bench(release=FakeRelease(**release), cluster=cluster, action=Action.DESTROY, operation=Operation.UNINSTALL)
    await PrometheusOperator().run(b.context)
    return b


async def test_a_breaking_version_is_uninstalled_first() -> None:
    b = bench(release=FakeRelease(installed_version="1.0.0"), last_breaking_version_requiring_restart="2.0.0")
    await PrometheusOperator().run(b.context)
    assert b.release.calls[-2:] == ["uninstall", "upgrade"]
    assert b.recorder.warnings == []


async def test_a_failed_uninstall_before_the_upgrade_is_a_warning() -> None:
    release = FakeRelease(installed_version="1.0.0", raises={"uninstall": BLOCKED})
    b = bench(release=release, last_breaking_version_requiring_restart="2.0.0")
    await PrometheusOperator().run(b.context)
    assert release.calls[-2:] == ["uninstall", "upgrade"]
    ((reason, message),) = b.recorder.warnings
    assert reason == "UninstallBlocked"
    assert "objects are still there" in message


async def test_destroy_deletes_the_six_crds_after_the_uninstall() -> None:
    """All CRDs of the group are known, so the chart is not fetched; other groups are ignored."""
    b = await destroyed(cluster_with(*CRDS, OTHER))
    assert b.release.calls == ["deployed_here", "uninstall"]
    assert set(b.cluster.deleted) == set(CRDS)
    assert list(b.cluster.objects) == [OTHER]
    assert b.recorder.warnings == []


async def test_destroy_ignores_deleted_crds() -> None:
    b = await destroyed(cluster_with(CRDS[0]))
    assert b.cluster.deleted == [CRDS[0]]
    assert b.recorder.warnings == []


async def test_crds_being_deleted_are_ignored() -> None:
    going = {CRDS[0]: {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    b = await destroyed(cluster_with(*CRDS[:2], meta=going))
    assert b.cluster.deleted == [CRDS[1]]


async def test_all_crds_of_the_chart_are_deleted() -> None:
    b = await destroyed(
        cluster_with(*CRDS, PROBES, crd("scrapeconfigs"), OTHER),
        crds=ChartCrds(frozenset({PROBES.name, OTHER.name})),
    )
    assert b.release.calls == ["deployed_here", "chart_crds", "uninstall"], "the uninstall forgets what was installed"
    assert set(b.cluster.deleted) == {*CRDS, PROBES}
    assert b.recorder.warnings == []


async def test_crds_of_a_release_never_deployed_here_are_kept() -> None:
    b = await destroyed(cluster_with(*CRDS, PROBES, OTHER), deployed=False)
    assert b.cluster.deleted == []
    ((reason, message),) = b.recorder.warnings
    assert reason == "CRDsLeft"
    assert "this ManagedChart has not deployed the release" in message
    assert all(ref.name in message for ref in (*CRDS, PROBES))
    assert OTHER.name not in message


async def test_without_crds_there_is_no_warning() -> None:
    b = await destroyed(cluster_with(OTHER), deployed=False)
    assert b.recorder.warnings == []


async def test_a_crd_of_another_release_is_kept_and_named() -> None:
    marks = {"meta.helm.sh/release-name": "theirs", "meta.helm.sh/release-namespace": "apps"}
    b = await destroyed(cluster_with(*CRDS, meta={CRDS[2]: {"annotations": marks}}))
    assert set(b.cluster.deleted) == {*CRDS} - {CRDS[2]}
    ((_, message),) = b.recorder.warnings
    assert message == (
        "CRDs kept because their ownership metadata names the release apps/theirs: servicemonitors.monitoring.coreos.com; "
        "to delete one that nobody uses: kubectl delete crd servicemonitors.monitoring.coreos.com"
    )


async def test_an_unavailable_chart_does_not_block_the_removal() -> None:
    """Known CRDs are deleted, unknown ones are kept and named."""
    b = await destroyed(
        cluster_with(*CRDS, PROBES, crd("scrapeconfigs")),
        crds=ChartCrds(frozenset({PROBES.name}), incomplete="the registry does not answer"),
    )
    assert set(b.cluster.deleted) == {*CRDS, PROBES}
    ((_, message),) = b.recorder.warnings
    assert "scrapeconfigs.monitoring.coreos.com" in message
    assert "the registry does not answer" in message


async def test_crds_with_the_releases_marks_need_no_chart() -> None:
    """helm deletes it; one that exists afterwards belongs to the release by its marks."""
    marks = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "apps"}
    ours = {"annotations": marks, "labels": {"app.kubernetes.io/managed-by": "Helm"}}
    b = await destroyed(cluster_with(*CRDS, PROBES, meta={PROBES: ours}))
    assert b.release.calls == ["deployed_here", "uninstall"]
    assert PROBES in b.cluster.deleted


async def test_crds_are_kept_while_the_uninstall_fails() -> None:
    """Deleting them would delete the objects that the operator still has to clean up after."""
    b = bench(
        release=FakeRelease(raises={"uninstall": BLOCKED}),
        cluster=cluster_with(*CRDS),
        action=Action.DESTROY,
        operation=Operation.UNINSTALL,
    )
    with pytest.raises(HelmError):
        await PrometheusOperator().run(b.context)
    assert b.cluster.deleted == []


async def test_deploying_deletes_no_crd() -> None:
    b = bench(
        release=FakeRelease(installed_version="1.0.0"),
        cluster=cluster_with(*CRDS),
        last_breaking_version_requiring_restart="2.0.0",
    )
    await PrometheusOperator().run(b.context)
    assert b.cluster.deleted == []
