"""What a dry run makes of the API server's answers; the answers themselves are those of tests/e2e/fields/test_dry_run.py."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from managedchart_operator.errors import HelmError, KubeError, LifecycleError
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.dry_run import Trial, rendered_objects


class FakeObjects:
    """Refuses objects by name, with the API server's sentences; an empty sentence means that it does not answer."""

    locate, resolve = Objects.locate, Objects.resolve

    def __init__(self, **refusals: str) -> None:
        self._refusals = refusals
        self.tried: list[ObjectRef] = []

    async def namespaced(self, api_version: str, kind: str) -> bool:
        return kind not in ("Namespace", "ClusterRole")

    async def try_apply(self, ref: ObjectRef, body: Mapping[str, Any]) -> None:
        self.tried.append(ref)
        if (answer := self._refusals.get(ref.name)) is not None:
            raise KubeError("refused", reason=Reason.API_UNAVAILABLE, transient=True, status=422, answer=answer)


def item(kind: str, name: str, *, api_version: str = "v1", **meta: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **meta}}


def trial(objects: FakeObjects) -> Trial:
    return Trial(objects, "apps")  # type: ignore[arg-type]


async def test_each_object_is_tried_where_it_would_be_applied() -> None:
    objects = FakeObjects()
    rendered = [
        item("ConfigMap", "a"),
        item("ConfigMap", "b", namespace="other"),
        item("ClusterRole", "c", namespace="x"),
    ]
    assert await trial(objects).judge(rendered) == "3 objects rendered and validated, nothing changed"
    assert [ref.namespace for ref in objects.tried] == ["apps", "other", ""]


async def test_objects_of_a_namespace_that_the_chart_or_helm_will_make_are_counted_as_untried() -> None:
    objects = FakeObjects(a='namespaces "apps" not found', b='namespaces "made" not found')
    rendered = [item("Namespace", "made"), item("ConfigMap", "a"), item("ConfigMap", "b", namespace="made")]
    found = await trial(objects).judge(rendered)
    assert found == "3 objects rendered, 2 not validated since their namespace does not exist yet"


async def test_a_namespace_that_nobody_will_make_is_a_refusal() -> None:
    """Not even a kind of that name in another group."""
    objects = FakeObjects(a='namespaces "gone" not found')
    with pytest.raises(HelmError):
        await trial(objects).judge(
            [item("Namespace", "gone", api_version="example.com/v1"), item("ConfigMap", "a", namespace="gone")]
        )


async def test_all_refusals_are_told_in_one_error_and_no_secret_in_it() -> None:
    objects = FakeObjects(
        a='ConfigMap "a" is invalid: data: Invalid value: too long',
        b='Secret "b" is invalid: data: Invalid value: correct horse',
    )
    secret = {**item("Secret", "b"), "stringData": {"password": "correct horse"}}
    with pytest.raises(HelmError) as raised:
        await trial(objects).judge([item("ConfigMap", "a"), secret, item("ConfigMap", "c")])
    assert raised.value.reason is Reason.OBJECT_INVALID
    assert 'ConfigMap "a" is invalid' in raised.value.text
    assert '"b" is invalid' in raised.value.text
    assert "correct horse" not in raised.value.text + raised.value.message
    assert len(objects.tried) == 3


async def test_an_api_server_that_does_not_answer_is_no_refusal() -> None:
    with pytest.raises(KubeError):
        await trial(FakeObjects(a="")).judge([item("ConfigMap", "a")])


async def test_an_object_without_a_name_is_told() -> None:
    nameless = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "job-"}}
    with pytest.raises(LifecycleError, match="A Job of the chart has no name") as raised:
        await trial(FakeObjects()).judge([nameless])
    assert not raised.value.transient


async def test_an_object_without_metadata_is_told_too() -> None:
    with pytest.raises(LifecycleError, match="has no name"):
        await trial(FakeObjects()).judge([{"apiVersion": "v1", "kind": "Namespace"}])


def printed(manifest: str) -> HelmOutput:
    """What `helm upgrade --dry-run --output=json` prints of a manifest."""
    return HelmOutput(json.dumps({"manifest": manifest}).encode(), "", 0)


def test_what_is_tried_is_what_helm_would_send() -> None:
    """As JSON: PyYAML's dates cannot be sent, and its numbers are others."""
    manifest = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
        "data: {date: 2026-01-01, none: 0000-00-00, ports: 22:22}\n---\n"
        "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: b}\nvalue: 1e+06\ny: 0o644\n"
    )
    first, second = json.loads(json.dumps(rendered_objects(printed(manifest))))
    assert first["data"] == {"date": "2026-01-01", "none": "0000-00-00", "ports": "22:22"}
    assert (second["value"], type(second["value"]), second["true"]) == (1_000_000, int, 420)


@pytest.mark.parametrize(
    "output",
    [
        printed("kind: ["),
        printed("x: [" + "[]," * 500_001 + "]"),
        HelmOutput(b"no JSON", "", 0),
        HelmOutput(b"[]", "", 0),
        HelmOutput(b'{"manifest": 7}', "", 0),
        HelmOutput(b'{"config": [' + b"[]," * 200_000 + b"[]]}", "", 0),
    ],
    ids=["no YAML", "too many objects", "no JSON", "a list", "no text", "too many values"],
)
def test_a_dry_run_that_cannot_be_read_is_told(output: HelmOutput) -> None:
    with pytest.raises(HelmError, match="The output of helm's dry run cannot be read") as raised:
        rendered_objects(output)
    assert not raised.value.transient
