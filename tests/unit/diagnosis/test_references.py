"""Which Secret or ConfigMap is missing, and whether only a late hook makes it."""

from typing import Any

import pytest

from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.references import late_hooks, missing


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ('secret "a" not found', "Secret", "a"),
        ('configmap "a.b" not found', "ConfigMap", "a.b"),
        ('MountVolume.SetUp failed for volume "v" : secret "a" not found', "Secret", "a"),
    ],
)
def test_the_missing_object_is_read_from_the_kubelets_words(text: str, kind: str, name: str) -> None:
    assert missing(text, namespace="apps") == Identity("", kind, "apps", name)


@pytest.mark.parametrize("text", ["", "couldn't find key a in Secret apps/b", 'persistentvolumeclaim "a" not found'])
def test_other_words_name_none(text: str) -> None:
    assert missing(text, namespace="apps") is None


def hook(phases: str, kind: str = "Secret", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": "a", "annotations": {"helm.sh/hook": phases}, **meta},
    }


@pytest.mark.parametrize(
    ("body", "late"),
    [
        (hook("post-install"), "post-install"),
        (hook("post-install, post-upgrade", "ConfigMap"), "post-install"),
        (hook("post-upgrade"), "post-upgrade"),
        (hook("pre-install"), None),
        (hook("pre-install,post-upgrade"), None),
        (hook("post-delete"), None),
        (hook("post-install", "Job"), None),
        ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, None),
    ],
)
def test_only_a_hook_after_the_wait_is_late(body: dict[str, Any], late: str | None) -> None:
    found = late_hooks([body], namespace="apps")
    assert list(found.values()) == ([late] if late else [])
    assert all(each == Identity("", body["kind"], "apps", "a") for each in found)


def test_a_late_hook_may_be_in_another_namespace() -> None:
    assert list(late_hooks([hook("post-install", namespace="b")], namespace="apps")) == [
        Identity("", "Secret", "b", "a")
    ]
