"""The lifecycle of the Prometheus operator."""

import pytest

from managedchart_operator.api.spec import Action
from managedchart_operator.errors import HelmError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.lifecycle.prometheus_operator import PrometheusOperator
from managedchart_operator.reasons import Reason
from unit.lifecycle.fakes import FakeCluster, FakeRelease, bench

BLOCKED = HelmError("objects are still there", reason=Reason.UNINSTALL_BLOCKED, transient=True)
CRDS = [
    ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.monitoring.coreos.com")
    for plural in ("prometheuses", "prometheusrules", "servicemonitors", "podmonitors", "alertmanagers", "thanosrulers")
]
OTHER = ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", "certificates.cert-manager.io")


def cluster_with(*refs: ObjectRef) -> FakeCluster:
    return FakeCluster(objects={ref: {"metadata": {"name": ref.name}} for ref in refs})


async def test_a_breaking_version_is_uninstalled_first() -> None:
    b = bench(release=FakeRelease(installed_version="1.0.0"), last_breaking_version_requiring_restart="2.0.0")
    await PrometheusOperator().run(b.context)
    assert b.release.calls[-2:] == ["uninstall", "upgrade"]
    assert b.recorder.warnings == []


async def test_a_failing_uninstall_before_the_upgrade_is_only_a_warning() -> None:
    release = FakeRelease(installed_version="1.0.0", raises={"uninstall": BLOCKED})
    b = bench(release=release, last_breaking_version_requiring_restart="2.0.0")
    await PrometheusOperator().run(b.context)
    assert release.calls[-2:] == ["uninstall", "upgrade"]
    ((reason, message),) = b.recorder.warnings
    assert reason == "UninstallBlocked"
    assert "objects are still there" in message


async def test_destroy_uninstalls_and_then_deletes_its_crds_and_no_others() -> None:
    b = bench(cluster=cluster_with(*CRDS, OTHER), action=Action.DESTROY, operation=Operation.UNINSTALL)
    await PrometheusOperator().run(b.context)
    assert b.release.calls == ["uninstall"]
    assert b.cluster.deleted == CRDS
    assert list(b.cluster.objects) == [OTHER]


async def test_destroy_does_not_mind_crds_that_are_gone() -> None:
    b = bench(cluster=cluster_with(CRDS[0]), action=Action.DESTROY, operation=Operation.UNINSTALL)
    await PrometheusOperator().run(b.context)
    assert b.cluster.deleted == [CRDS[0]]


async def test_the_crds_stay_while_the_release_cannot_be_uninstalled() -> None:
    """Deleting them would take away the objects that the operator still has to clean up after."""
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
