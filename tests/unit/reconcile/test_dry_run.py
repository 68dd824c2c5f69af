"""What a dry run makes of the API server's answers; the answers themselves are those of tests/e2e/fields/test_dry_run.py."""

import json
from collections.abc import Container, Mapping
from functools import partial
from typing import Any

import pytest

from managedchart_operator.errors import HelmError, KubeError, LifecycleError
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.yaml_reader import Budget
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.crds import Preview
from managedchart_operator.reconcile.operations.dry_run import rendered_objects, try_render, validate
from managedchart_operator.redaction import Redactor, secrets_in_manifest
from unit.reconcile.world import World


class FakeObjects:
    """Refuses objects by name, with the API server's sentences; an empty sentence means that it does not answer."""

    locate, resolve = Objects.locate, Objects.resolve

    def __init__(self, **refusals: str) -> None:
        self._refusals = refusals
        self.tried: list[ObjectRef] = []

    async def namespaced(self, api_version: str, kind: str) -> bool:
        return kind not in ("Namespace", "ClusterRole")

    async def try_apply(self, ref: ObjectRef, body: Mapping[str, Any], *, force: bool) -> None:
        self.tried.append(ref)
        if (answer := self._refusals.get(ref.name)) is not None:
            raise KubeError("refused", reason=Reason.API_UNAVAILABLE, transient=True, status=422, answer=answer)


def item(kind: str, name: str, *, api_version: str = "v1", **meta: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **meta}}


async def validated(
    objects: FakeObjects, *rendered: dict[str, Any], coming: Container[tuple[str, str]] = frozenset()
) -> str:
    return await validate(
        rendered,
        objects,  # type: ignore[arg-type]
        namespace="apps",
        coming=coming,
        redactor=lambda rendered: Redactor(secrets_in_manifest(rendered)),
    )


async def test_each_object_is_validated_in_its_namespace() -> None:
    objects = FakeObjects()
    rendered = [
        item("ConfigMap", "a"),
        item("ConfigMap", "b", namespace="other"),
        item("ClusterRole", "c", namespace="x"),
    ]
    assert await validated(objects, *rendered) == "3 objects rendered and validated, nothing changed"
    assert [ref.namespace for ref in objects.tried] == ["apps", "other", ""]


async def test_objects_in_future_namespaces_are_counted() -> None:
    objects = FakeObjects(a='namespaces "apps" not found', b='namespaces "made" not found')
    rendered = [item("Namespace", "made"), item("ConfigMap", "a"), item("ConfigMap", "b", namespace="made")]
    found = await validated(objects, *rendered)
    assert found == "3 objects rendered, 2 not validated because their namespace does not exist yet"


async def test_a_missing_namespace_is_a_refusal() -> None:
    """Not even a kind of that name in another group."""
    objects = FakeObjects(a='namespaces "gone" not found')
    with pytest.raises(HelmError):
        await validated(
            objects, item("Namespace", "gone", api_version="example.com/v1"), item("ConfigMap", "a", namespace="gone")
        )


async def test_all_refusals_are_one_redacted_error() -> None:
    objects = FakeObjects(
        a='ConfigMap "a" is invalid: data: Invalid value: too long',
        b='Secret "b" is invalid: data: Invalid value: correct horse',
    )
    secret = {**item("Secret", "b"), "stringData": {"password": "correct horse"}}
    with pytest.raises(HelmError) as raised:
        await validated(objects, item("ConfigMap", "a"), secret, item("ConfigMap", "c"))
    assert raised.value.reason is Reason.OBJECT_INVALID
    assert 'ConfigMap "a" is invalid' in raised.value.text
    assert '"b" is invalid' in raised.value.text
    assert "correct horse" not in raised.value.text + raised.value.message
    assert len(objects.tried) == 3


async def test_an_unanswered_request_is_not_a_refusal() -> None:
    with pytest.raises(KubeError):
        await validated(FakeObjects(a=""), item("ConfigMap", "a"))


async def test_an_object_without_a_name_is_reported() -> None:
    nameless = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "job-"}}
    with pytest.raises(LifecycleError, match="The chart renders a Job without a name") as raised:
        await validated(FakeObjects(), nameless)
    assert not raised.value.transient


async def test_an_object_without_metadata_is_reported() -> None:
    with pytest.raises(LifecycleError, match="without a name"):
        await validated(FakeObjects(), {"apiVersion": "v1", "kind": "Namespace"})


def printed(manifest: str) -> HelmOutput:
    """What `helm upgrade --dry-run --output=json` prints of a manifest."""
    return HelmOutput(json.dumps({"manifest": manifest}).encode(), "", 0)


def test_objects_are_validated_as_helm_sends_them() -> None:
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
        printed("x: [" + "[]," * 1001 + "]"),
        HelmOutput(b"no JSON", "", 0),
        HelmOutput(b"[]", "", 0),
        HelmOutput(b'{"manifest": 7}', "", 0),
        HelmOutput(b'{"config": [' + b"[]," * 200_000 + b"[]]}", "", 0),
    ],
    ids=["no YAML", "too many objects", "no JSON", "a list", "no text", "too many values"],
)
def test_an_unreadable_dry_run_is_an_error(output: HelmOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("managedchart_operator.helm.manifest.Budget", partial(Budget, nodes=1000))
    with pytest.raises(HelmError, match="The output of Helm's dry run cannot be read") as raised:
        rendered_objects(output)
    assert not raised.value.transient


async def test_objects_whose_crds_come_with_the_chart_are_counted() -> None:
    """Of kinds that are not served yet, and of kinds whose CRD is about to change if the API server refuses them."""

    class Served(FakeObjects):
        async def namespaced(self, api_version: str, kind: str) -> bool:
            if kind == "Widget":
                raise KubeError("no kind", reason=Reason.KIND_MISSING, transient=True, status=404)
            return True

        async def served_version(self, *_: str) -> None:
            return None

        async def try_apply(self, ref: ObjectRef, body: Mapping[str, Any], *, force: bool) -> None:
            try:
                await super().try_apply(ref, body, force=force)
            except KubeError as error:
                error.reason = Reason.OBJECT_INVALID
                raise

    objects = Served(newer="field not declared in schema")
    rendered = [
        item("ConfigMap", "a"),
        item("Widget", "w", api_version="example.com/v1"),
        item("Gadget", "newer", api_version="example.com/v1"),
        item("Gadget", "same", api_version="example.com/v1"),
    ]
    coming = {("example.com", "Widget"), ("example.com", "Gadget")}
    found = await validated(objects, *rendered, coming=coming)
    assert found == "4 objects rendered, 2 not validated because their CRDs are not applied yet"
    with pytest.raises(KubeError, match=r"no kind|does not serve"):
        await validated(objects, *rendered, coming={("other", "Widget")})


async def test_a_crd_that_was_deleted_a_moment_ago_comes_again() -> None:
    """The kind is still remembered, so that only the request itself finds that it is no longer served."""
    answer = "the server could not find the requested resource"

    class Remembered(FakeObjects):
        async def try_apply(self, ref: ObjectRef, body: Mapping[str, Any], *, force: bool) -> None:
            raise KubeError(answer, reason=Reason.INTERNAL_ERROR, transient=False, status=404, answer=answer)

    widget = item("Widget", "w", api_version="example.com/v1")
    coming = {("example.com", "Widget")}
    found = await validated(Remembered(), widget, coming=coming)
    assert found == "1 objects rendered, 1 not validated because their CRDs are not applied yet"

    async def get(ref: ObjectRef) -> None:
        if ref.kind == "Widget":
            raise KubeError("no kind", reason=Reason.KIND_MISSING, transient=True, status=404)

    rendering = Rendering(BOTH)
    rendering.world.cluster.get = get  # type: ignore[method-assign, assignment]
    assert len(await try_render(await rendering.world.release_run(), PREVIEW, take_ownership=False)) == 2


async def test_a_failed_look_up_is_no_refusal_of_an_object() -> None:
    """Although the API server says something: it is an outage, and not about the object."""

    class Busy(FakeObjects):
        async def namespaced(self, api_version: str, kind: str) -> bool:
            raise KubeError("busy", reason=Reason.API_UNAVAILABLE, transient=True, status=503, answer="overloaded")

    with pytest.raises(KubeError, match="busy"):
        await validated(Busy(), item("ConfigMap", "a"))


async def test_an_outage_is_not_taken_for_a_missing_crd() -> None:
    objects = FakeObjects(w="")
    widget = item("Widget", "w", api_version="example.com/v1")
    with pytest.raises(KubeError):
        await validated(objects, widget, coming={("example.com", "Widget")})


NO_WIDGET = (
    'Error: unable to build kubernetes objects from release manifest: resource mapping not found for name: "web" namespace: "" '
    'from "": no matches for kind "Widget" in version "example.com/v1"\n'
)


class Rendering:
    """A world in which helm's dry run knows no Widget, and `helm template` prints what it was given."""

    def __init__(self, text: str) -> None:
        self.world = World()
        self.world.helm.refusals["upgrade"] = [NO_WIDGET]
        self.world.cluster.crds = self  # type: ignore[attr-defined]
        self._text, self._run = text, self.world.helm.run
        self.world.helm.run = self.run  # type: ignore[method-assign]

    async def run(self, arguments: list[str], **options: Any) -> HelmOutput:
        if arguments[0] != "template":
            return await self._run(arguments, **options)
        self.world.helm.ran.append(arguments)
        return HelmOutput(self._text.encode(), "", 0)

    async def api_versions(self) -> set[str]:
        return {"v1", "v1/ConfigMap"}

    async def kube_version(self) -> str:
        return "v1.37.2"


BOTH = (
    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
    "---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n"
)
PREVIEW = Preview(frozenset({("example.com", "Widget")}), frozenset({"example.com/v1", "example.com/v1/Widget"}))


async def test_a_chart_is_rendered_although_its_kinds_are_still_to_come() -> None:
    """With what the cluster would serve then."""
    rendering = Rendering(BOTH)
    found = await try_render(await rendering.world.release_run(), PREVIEW, take_ownership=False)
    assert [each["metadata"]["name"] for each in found] == ["c", "w"]
    template = rendering.world.helm.ran[-1]
    assert template[:2] == ["template", "web"]
    assert "--api-versions=example.com/v1,example.com/v1/Widget,v1,v1/ConfigMap" in template
    assert "--kube-version=v1.37.2" in template


async def test_a_kind_that_does_not_come_is_still_missing() -> None:
    rendering = Rendering(BOTH)
    with pytest.raises(HelmError) as raised:
        await try_render(await rendering.world.release_run(), Preview(), take_ownership=False)
    assert raised.value.reason is Reason.KIND_MISSING
    assert rendering.world.helm.commands == ["upgrade"]


@pytest.mark.parametrize("take_ownership", [False, True], ids=["install", "adoption"])
async def test_an_object_of_others_is_found_as_helm_would(*, take_ownership: bool) -> None:
    rendering = Rendering(BOTH)
    marks = {"meta.helm.sh/release-name": "other", "meta.helm.sh/release-namespace": "apps"}
    rendering.world.cluster.objects["c"] = {"metadata": {"name": "c", "annotations": marks}}
    run = await rendering.world.release_run()
    if take_ownership:
        assert len(await try_render(run, PREVIEW, take_ownership=True)) == 2
        return
    with pytest.raises(
        HelmError, match="ConfigMap apps/c already exists and belongs to the release apps/other"
    ) as raised:
        await try_render(run, PREVIEW, take_ownership=False)
    assert raised.value.reason is Reason.OBJECT_OWNED
