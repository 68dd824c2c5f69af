"""Autoscalers by their target: whatever has a scaleTargetRef."""

import re
from collections.abc import Mapping
from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.autoscalers import HPA, autoscalers_in, horizontal_autoscalers, other_autoscalers

WEB = ("apps", "Deployment", "web", "apps")


class FakeObjects:
    """Lists by kind, of any namespace, and the kinds that there are."""

    def __init__(self, **lists: list[dict[str, Any]] | KubeError) -> None:
        self.lists = lists
        self.asked: list[tuple[str, str]] = []
        self.discovery = self

    async def namespaced_kinds(self, named: re.Pattern[str]) -> list[tuple[str, str]]:
        return [("x.example.com/v1", kind) for kind in self.lists if named.search(kind)]

    async def list(self, _version: str, kind: str, *, namespace: str, **_: Any) -> list[dict[str, Any]]:
        self.asked.append((kind, namespace))
        found = self.lists.get(kind, [])
        if isinstance(found, KubeError):
            raise found
        return found


def scaler(ref: Mapping[str, Any] | None, name: str = "web") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"scaleTargetRef": ref} if ref is not None else {}}


def objects(fake: FakeObjects) -> Objects:
    return cast("Objects", fake)


async def test_targets_are_known_in_every_version() -> None:
    ref = {"apiVersion": "apps/v1beta2", "kind": "Deployment", "name": "web"}
    fake = FakeObjects(HorizontalPodAutoscaler=[scaler(ref), scaler(None, "none")])
    assert await horizontal_autoscalers(objects(fake), ["apps", "apps"]) == {WEB: [ObjectRef(*HPA, "web", "apps")]}
    assert fake.asked == [("HorizontalPodAutoscaler", "apps")]


async def test_other_kinds_default_to_deployments() -> None:
    """As KEDA's."""
    fake = FakeObjects(
        HorizontalPodAutoscaler=[], ScaledObject=[scaler({"name": "web"}, "keda")], Widget=[scaler({"name": "x"})]
    )
    found = await other_autoscalers(objects(fake), ["apps"])
    assert found == {WEB: [ObjectRef("x.example.com/v1", "ScaledObject", "keda", "apps")]}
    assert fake.asked == [("ScaledObject", "apps")]


@pytest.mark.parametrize("reason", [Reason.FORBIDDEN, Reason.KIND_MISSING])
async def test_a_kind_that_may_not_be_listed_is_logged(reason: Reason, caplog: pytest.LogCaptureFixture) -> None:
    refusal = KubeError("may not list", reason=reason, transient=True, status=403)
    assert await horizontal_autoscalers(objects(FakeObjects(HorizontalPodAutoscaler=refusal)), ["apps"]) == {}
    assert "may not list" in caplog.text


async def test_without_an_answer_nothing_is_assumed() -> None:
    outage = KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
    with pytest.raises(KubeError):
        await horizontal_autoscalers(objects(FakeObjects(HorizontalPodAutoscaler=outage)), ["apps"])


def test_autoscalers_of_a_manifest() -> None:
    """Those that a rollback to its revision makes again."""
    manifest = """---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: db, namespace: other}
spec: {scaleTargetRef: {name: db}}
---
apiVersion: x.example.com/v1
kind: Binding
metadata: {name: x}
spec: {scaleTargetRef: {name: x}}
"""
    assert autoscalers_in(manifest, "apps") == {
        WEB: [ObjectRef(*HPA, "web", "apps")],
        ("apps", "Deployment", "db", "other"): [ObjectRef("keda.sh/v1alpha1", "ScaledObject", "db", "other")],
    }
    assert autoscalers_in("kind: [", "apps") == {}
