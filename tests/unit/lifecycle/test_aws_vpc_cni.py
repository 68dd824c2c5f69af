"""The lifecycle of the AWS VPC CNI: adoption of the objects that EKS installed."""

from copy import deepcopy
from typing import Any

import pytest

from managedchart_operator.api.spec import Action
from managedchart_operator.errors import HelmError, KubeError, LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.aws_vpc_cni import AwsVpcCni
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from unit.lifecycle.fakes import Bench, FakeCluster, FakeRelease, bench

NODE = ObjectRef("apps/v1", "DaemonSet", "aws-node", "kube-system")
ROLE = ObjectRef("rbac.authorization.k8s.io/v1", "ClusterRole", "aws-node")
CONFIG = ObjectRef("v1", "ConfigMap", "cni", "apps")

RENDERED = [
    {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "aws-node", "namespace": "kube-system"}},
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "aws-node"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cni"}},
]
OURS = {
    "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "apps"},
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
}


def owned(name: str, namespace: str) -> dict[str, Any]:
    marks = {"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace}
    return {"annotations": marks, "labels": {"app.kubernetes.io/managed-by": "Helm"}}


def with_objects(objects: dict[ObjectRef, dict[str, Any]], **more: Any) -> Bench:
    cluster = FakeCluster({ref: {"metadata": {"name": ref.name, **deepcopy(meta)}} for ref, meta in objects.items()})
    return bench(release=FakeRelease(objects=RENDERED), cluster=cluster, **more)


async def test_existing_objects_of_the_chart_get_helms_marks() -> None:
    """In the namespace of the manifest, else in the release's; cluster-wide ones too; missing ones are skipped."""
    b = with_objects({NODE: {}, ROLE: {"labels": {"eks.amazonaws.com/component": "vpc-cni"}}})
    payload = await AwsVpcCni().run(b.context)
    assert b.cluster.patched == [NODE, ROLE]
    assert b.cluster.objects[NODE]["metadata"] == {"name": "aws-node", **OURS}
    assert b.cluster.objects[ROLE]["metadata"]["labels"] == {
        "eks.amazonaws.com/component": "vpc-cni",
        **OURS["labels"],
    }
    assert payload["adopted"] == ["DaemonSet kube-system/aws-node", "ClusterRole aws-node"]
    assert b.release.upgrade_options == {"take_ownership": False}


@pytest.mark.parametrize("operation", [Operation.DRY_RUN, Operation.INSTALL])
async def test_only_a_dry_run_passes_kinds_that_are_still_to_come(operation: Operation) -> None:
    """Their CRDs come with the chart, and no such object can exist yet. A deployment has applied them before."""

    class Unserved(FakeCluster):
        async def namespaced(self, api_version: str, kind: str) -> bool:
            raise KubeError("no kind", reason=Reason.KIND_MISSING, transient=True, status=404)

        async def served_version(self, *_: str) -> None:
            return None

    config = {"apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": {"name": "a"}}
    b = bench(release=FakeRelease(objects=[config]), cluster=Unserved(), operation=operation)
    if operation is Operation.DRY_RUN:
        await AwsVpcCni().run(b.context)
        return
    with pytest.raises(KubeError, match="ENIConfig"):
        await AwsVpcCni().run(b.context)


async def test_objects_without_a_namespace_are_in_the_releases() -> None:
    b = with_objects({CONFIG: {}, ObjectRef("v1", "ConfigMap", "cni", "kube-system"): {}})
    await AwsVpcCni().run(b.context)
    assert b.cluster.patched == [CONFIG]


async def test_adopted_objects_are_not_marked_again() -> None:
    b = with_objects({NODE: OURS, ROLE: OURS})
    payload = await AwsVpcCni().run(b.context)
    assert b.cluster.patched == []
    assert payload["adopted"] == []


@pytest.mark.parametrize(
    "meta",
    [{"annotations": OURS["annotations"]}, {"annotations": {"meta.helm.sh/release-name": "web"}}],
    ids=["label missing", "annotation missing"],
)
async def test_an_interrupted_adoption_is_completed(meta: dict[str, Any]) -> None:
    b = with_objects({NODE: meta})
    await AwsVpcCni().run(b.context)
    assert b.cluster.objects[NODE]["metadata"] == {"name": "aws-node", **OURS}


@pytest.mark.parametrize("operation", [Operation.UPGRADE, Operation.DRY_RUN])
@pytest.mark.parametrize("owner", [("cni", "apps"), ("web", "kube-system")], ids=["name", "namespace"])
async def test_an_object_of_another_release_is_refused(owner: tuple[str, str], operation: Operation) -> None:
    """Objects before it in the manifest are not marked either: a refusal leaves the cluster unchanged."""
    b = with_objects({NODE: {}, ROLE: owned(*owner)}, operation=operation)
    with pytest.raises(LifecycleError) as raised:
        await AwsVpcCni().run(b.context)
    assert raised.value.message == f"ClusterRole aws-node belongs to the release {owner[1]}/{owner[0]}"
    assert raised.value.reason is Reason.OBJECT_OWNED
    assert not raised.value.transient
    assert b.cluster.patched == []
    assert "upgrade" not in b.release.calls


def refusal(answer: str, reason: Reason = Reason.IMMUTABLE_FIELD) -> KubeError:
    return KubeError(f"PATCH … {answer}", reason=reason, transient=False, status=422, answer=answer)


SELECTOR = 'DaemonSet.apps "aws-node" is invalid: spec.selector: Invalid value: {"a":"b"}: field is immutable'
ROLE_REF = 'ClusterRole.rbac.authorization.k8s.io "aws-node" is invalid: rules: Required value: missing'


async def test_existing_objects_are_validated_as_helm_sends_them() -> None:
    b = with_objects({NODE: {}, CONFIG: OURS})
    await AwsVpcCni().run(b.context)
    meta = {"name": "aws-node", "namespace": "kube-system", **OURS}
    assert b.cluster.tried == {NODE: {**RENDERED[0], "metadata": meta}}, "neither what is missing nor what is marked"


@pytest.mark.parametrize("operation", [Operation.INSTALL, Operation.DRY_RUN])
async def test_a_refused_change_leaves_all_objects_unmarked(operation: Operation) -> None:
    b = with_objects({ROLE: {}, CONFIG: {}, NODE: {}}, operation=operation)
    b.cluster.refuses = {NODE: refusal(SELECTOR)}
    with pytest.raises(HelmError) as raised:
        await AwsVpcCni().run(b.context)
    assert raised.value.message == (
        "DaemonSet kube-system/aws-node: spec.selector: field is immutable; no object was adopted"
    )
    assert (raised.value.reason, raised.value.transient) == (Reason.IMMUTABLE_FIELD, False)
    assert raised.value.hint is not None
    assert raised.value.hint.endswith("kubectl delete DaemonSet aws-node --namespace kube-system")
    assert b.cluster.patched == []
    assert "upgrade" not in b.release.calls


async def test_all_refusals_are_reported_without_secrets() -> None:
    b = with_objects({NODE: {}, ROLE: {}})
    b.release.objects = [
        *RENDERED,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": "horse battery"}},
    ]
    b.cluster.refuses = {NODE: refusal(SELECTOR), ROLE: refusal(f"{ROLE_REF} horse battery", Reason.OBJECT_INVALID)}
    with pytest.raises(HelmError) as raised:
        await AwsVpcCni().run(b.context)
    assert set(b.cluster.tried) == {NODE, ROLE}
    assert "(1 more refused" in raised.value.message
    assert "DaemonSet" in raised.value.text
    assert "ClusterRole" in raised.value.text
    assert "horse" not in raised.value.text
    assert b.cluster.patched == []


async def test_a_silent_api_server_is_not_a_refusal() -> None:
    b = with_objects({NODE: {}})
    silent = KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
    b.cluster.refuses = {NODE: silent}
    with pytest.raises(KubeError) as raised:
        await AwsVpcCni().run(b.context)
    assert raised.value is silent
    assert b.cluster.patched == []


async def test_force_upgrade_ignores_refusals_of_an_apply() -> None:
    """It replaces the objects; an immutable field is refused then too."""
    b = with_objects({NODE: {}, ROLE: {}}, force_upgrade=True)
    b.cluster.refuses = {ROLE: refusal(ROLE_REF, Reason.OBJECT_INVALID)}
    await AwsVpcCni().run(b.context)
    assert b.cluster.patched == [NODE, ROLE]
    b = with_objects({NODE: {}, ROLE: {}}, force_upgrade=True)
    b.cluster.refuses = {NODE: refusal(SELECTOR)}
    with pytest.raises(HelmError):
        await AwsVpcCni().run(b.context)
    assert b.cluster.patched == []


async def test_a_dry_run_marks_nothing() -> None:
    b = with_objects({NODE: {}, ROLE: {}}, operation=Operation.DRY_RUN)
    await AwsVpcCni().run(b.context)
    assert b.cluster.patched == []
    assert b.release.upgrade_options == {"take_ownership": True}


@pytest.mark.parametrize(
    ("action", "operation", "calls"),
    [
        (Action.DEPLOY, Operation.RESUME, ["check_inputs", "check_namespace", "resume"]),
        (Action.DESTROY, Operation.UNINSTALL, ["uninstall"]),
        (Action.SKIP, Operation.SKIP, []),
    ],
)
async def test_without_an_upgrade_nothing_is_adopted(action: Action, operation: Operation, calls: list[str]) -> None:
    b = with_objects({NODE: {}}, action=action, operation=operation)
    await AwsVpcCni().run(b.context)
    assert b.cluster.patched == []
    assert b.release.calls == calls


async def test_a_breaking_version_is_uninstalled_before_the_upgrade() -> None:
    b = with_objects({}, last_breaking_version_requiring_restart="2.0.0")
    b.release.installed_version = "1.0.0"
    await AwsVpcCni().run(b.context)
    assert b.release.calls[-2:] == ["uninstall", "upgrade"]
